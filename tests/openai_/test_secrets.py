"""The key goes to the server, and nowhere else."""

import asyncio
import copy
import json
import logging
import pickle
import traceback
from collections.abc import Callable, Iterator

import pytest

from embedtune import EmbeddingError, EmbedtuneError, GenerationError
from embedtune.errors import LLMRequestError
from embedtune.protocols import LLMRequest
from embedtune_openai import Openai, OpenAIEmbedder
from fault_server import Faults, fault_server
from servers import Reply, Request, chat_answer, scripted_server

KEY = "sk-proj-0123456789abcdefSECRET"


@pytest.fixture
def parrot() -> Iterator[str]:
    """Base URL of a server that refuses and quotes the header, as careless gateways do."""
    with scripted_server(
        lambda request: Reply({"error": {"message": f"bad key: {request.headers['authorization']}"}}, 401)
    ) as server:
        yield server.base_url


def failure(base_url: str, kind: str) -> EmbedtuneError:
    llm = Openai("m", base_url=base_url, api_key=KEY, max_retries=0)
    embedder = OpenAIEmbedder("m", base_url=base_url, api_key=KEY, max_retries=0)
    request = LLMRequest(prompt="Hello?")
    ask: dict[str, Callable[[], object]] = {
        "llm": lambda: llm.chat_completion("Hello?"),
        "asynchronously": lambda: asyncio.run(llm.acomplete(request)),
        "batch": lambda: llm.submit_batch([("key", request)], "tag"),
        "batches": lambda: llm.find_batch("tag"),
        "embedder": lambda: embedder.embed_queries(["a"]),
    }
    with pytest.raises(EmbedtuneError) as caught:
        ask[kind]()
    return caught.value


@pytest.mark.parametrize("kind", ["llm", "asynchronously", "batch", "embedder"])
def test_the_key_is_not_in_errors_tracebacks_or_logs(parrot: str, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        error = failure(parrot, kind)
    assert "bad key: Bearer [the key]" in str(error)
    assert KEY not in "".join(traceback.format_exception(error)) + repr(error) + repr(vars(error))
    assert KEY.encode() not in pickle.dumps(error)
    assert KEY not in caplog.text
    assert error.__cause__ is None
    assert error.__context__ is None, "the client's error holds the request with its headers"


@pytest.mark.parametrize("kind", ["llm", "asynchronously", "batch", "batches"])
def test_a_wrong_key_is_told_without_the_key(kind: str) -> None:
    with fault_server(Faults(api_key="sk-the-right-one")) as server:
        error = failure(server.url, kind)
    assert "Incorrect API key provided: [the key]." in str(error)
    assert KEY not in "".join(traceback.format_exception(error))
    assert isinstance(error, LLMRequestError)
    assert (error.status, error.code) == (401, "invalid_api_key")


def test_an_error_with_status_200_is_told_without_the_key() -> None:
    with scripted_server(lambda request: Reply({"error": request.headers["authorization"]})) as server:
        for kind in ("llm", "asynchronously"):
            assert str(failure(server.base_url, kind)).endswith("Bearer [the key]")


def test_a_line_of_a_batch_is_told_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    with fault_server() as server:
        llm = Openai("m", base_url=server.url, api_key=KEY)
        name, _ = llm.submit_batch([("key", LLMRequest(prompt="Hello?"))], "tag")
        while not llm.poll_batch(name).is_over:
            pass
        (output,) = [file for file in server.batches.files if file != "file-1"]
        error = {"code": "odd", "message": f"key {KEY}"}
        line = json.dumps({"custom_id": "key", "response": None, "error": error})
        server.batches.files[output] = f"{line}\nno json {KEY}\n".encode()
        ((_, result),) = llm.fetch_batch(name)
    assert "key [the key]" in str(result)
    assert "no json [the key]" in caplog.text
    assert KEY not in str(result) + caplog.text


def test_the_key_is_in_neither_repr_nor_pickle() -> None:
    for thing in (Openai("m", api_key=KEY), OpenAIEmbedder("m", api_key=KEY)):
        assert KEY not in repr(thing) + repr(vars(thing))
        assert KEY.encode() not in pickle.dumps(thing)


def test_a_used_client_is_not_pickled_either() -> None:
    with scripted_server(lambda _: Reply(chat_answer("Hi."))) as server:
        llm = Openai("m", base_url=server.base_url, api_key=KEY)
        llm.chat_completion("Hello?")
        asyncio.run(llm.acomplete(LLMRequest(prompt="Hello?")))
        pickled = pickle.dumps(llm)
        assert KEY.encode() not in pickled
        assert pickle.loads(pickled).chat_completion("Hello?") == "Hi."


def test_an_unpickled_one_takes_the_key_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def tell(request: Request) -> Reply:
        return Reply(chat_answer(request.headers["authorization"]))

    with scripted_server(tell) as server:
        pickled = pickle.dumps(Openai("m", base_url=server.base_url, api_key=KEY))
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-process")
        assert pickle.loads(pickled).chat_completion("Hello?") == "Bearer sk-of-this-process"


def test_one_unpickled_without_a_key_says_so_and_sends_nothing() -> None:
    """OpenAI's own answer would speak of a wrong key."""
    with pytest.raises(GenerationError, match="OPENAI_API_KEY"):
        pickle.loads(pickle.dumps(Openai("m", api_key=KEY))).chat_completion("Hello?")
    with pytest.raises(EmbeddingError, match="OPENAI_API_KEY"):
        pickle.loads(pickle.dumps(OpenAIEmbedder("m", api_key=KEY))).embed_queries(["a"])


def test_a_copy_in_this_process_keeps_the_key() -> None:
    with scripted_server(lambda request: Reply(chat_answer(request.headers["authorization"]))) as server:
        llm = Openai("m", base_url=server.base_url, api_key=KEY)
        for copied in (copy.copy(llm), copy.deepcopy(llm)):
            assert copied.chat_completion("Hello?") == f"Bearer {KEY}"


def test_a_key_read_from_a_file_with_its_line_end_works() -> None:
    """The HTTP library would refuse the header and quote it in its message."""
    with scripted_server(lambda request: Reply(chat_answer(request.headers["authorization"]))) as server:
        llm = Openai("m", base_url=server.base_url, api_key=KEY + "\n")
        assert llm.chat_completion("Hello?") == f"Bearer {KEY}"


def test_a_password_in_the_address_is_not_shown() -> None:
    llm = Openai("m", base_url="http://user:hunter2@gateway.example/v1?token=abc")
    assert repr(llm) == "Openai(model='m', base_url='http://gateway.example/v1')"
    embedder = OpenAIEmbedder("m", base_url="http://user:hunter2@gateway.example/v1")
    assert "hunter2" not in repr(embedder)
