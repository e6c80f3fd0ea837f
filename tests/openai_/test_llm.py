"""`Openai` against real servers: what it sends, what it makes of every kind of answer."""

import asyncio
import re

import pytest

from embedtune import GenerationError, PluginManager, QADataset, TextChunk
from embedtune.protocols import LLMRequest
from embedtune.testing import LLMContract
from embedtune_openai import DEFAULT_MODEL, Openai
from servers import Reply, Request, chat_answer, scripted_server


def asked(reply: Reply, **options: object) -> tuple[str, Request]:
    """The answer to one prompt of a server that always gives this reply, and the last request."""
    with scripted_server(lambda _: reply) as server:
        llm = Openai("m", base_url=server.base_url, max_retries=0, **options)  # type: ignore[arg-type]
        return llm.chat_completion("Hello?"), server.requests[-1]


def refused(reply: Reply) -> str:
    """The error's message for a server that always gives this reply."""
    with pytest.raises(GenerationError) as caught:
        asked(reply)
    return str(caught.value)


class TestOpenaiContract(LLMContract):
    @pytest.fixture(autouse=True)
    def _server(self) -> object:
        with scripted_server(lambda _: Reply(chat_answer("Why are apples red?"))) as server:
            self.base_url = server.base_url
            yield

    def make(self) -> Openai:
        return Openai(base_url=self.base_url)


def test_one_user_message_is_sent_and_its_text_comes_back() -> None:
    text, request = asked(Reply(chat_answer("Hi.")))
    assert text == "Hi."
    assert request.path == "/v1/chat/completions"
    assert request.body == {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}


def test_options_are_sent_only_when_they_are_given() -> None:
    _, request = asked(Reply(chat_answer("Hi.")), max_tokens=64, reasoning_effort="none")
    assert request.body["max_tokens"] == 64
    assert request.body["reasoning_effort"] == "none"


def test_openai_itself_is_told_the_new_name_of_max_tokens() -> None:
    """Its reasoning models refuse ``max_tokens``; many local servers know only that."""
    llm = Openai(base_url="https://acme.openai.azure.com/openai/v1", api_key="k", max_tokens=64)
    body = llm.request_body(LLMRequest(prompt="Hello?"))
    assert body["max_completion_tokens"] == 64
    assert "max_tokens" not in body


def test_without_arguments_all_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with scripted_server(lambda _: Reply(chat_answer("Hi."))) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-from-environment")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        assert Openai().chat_completion("Hello?") == "Hi."
    assert server.requests[0].body["model"] == DEFAULT_MODEL
    assert server.requests[0].headers["authorization"] == "Bearer sk-from-environment"


def test_no_key_for_openai_is_refused_at_once_with_the_way_out() -> None:
    with pytest.raises(GenerationError, match=r"OPENAI_API_KEY.*base_url="):
        Openai()


def test_a_local_server_needs_no_key() -> None:
    _, request = asked(Reply(chat_answer("Hi.")))
    assert request.headers["authorization"] == "Bearer no-key"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"timeout": 0}, r"timeout must be .* above 0; got 0"),
        ({"timeout": "1m"}, r"timeout must be .*; got '1m'"),
        ({"timeout": float("nan")}, r"timeout must be .*; got nan"),
        ({"max_retries": -1}, r"max_retries must be .* at least 0; got -1"),
        ({"max_tokens": 0}, r"max_tokens must be at least 1; got 0"),
        ({"model": " "}, r"model must be a model's name; got ' '"),
        ({"base_url": "localhost:11434"}, r"must start with http:// or https://; got 'localhost:11434'"),
        ({"api_key": "sk a"}, r"holds characters that no key has"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(GenerationError, match=message):
        Openai(**{"api_key": "k", **options})  # type: ignore[arg-type]


def test_an_unknown_option_of_a_reference_is_an_error() -> None:
    with pytest.raises(TypeError, match="temprature"):
        PluginManager().llm("openai:gpt-6-luna", api_key="k", temprature=0)


def test_a_reference_names_the_model() -> None:
    llm = PluginManager().llm("openai:accounts/acme/models/writer-1", api_key="k")
    assert isinstance(llm, Openai)
    assert llm.model == "accounts/acme/models/writer-1"


@pytest.mark.parametrize("text", [None, "", " \n"])
@pytest.mark.parametrize("reason", ["content_filter", "length", "stop"])
def test_an_answer_without_text_names_its_finish_reason(text: str | None, reason: str) -> None:
    assert f"without text (finish_reason '{reason}')" in refused(Reply(chat_answer(text, reason)))


def test_a_refusal_is_quoted() -> None:
    assert "it refused: 'I cannot.'" in refused(Reply(chat_answer(None, refusal="I cannot.")))


def test_a_cut_answer_comes_back_as_far_as_it_went() -> None:
    """Trap 14: no `LengthFinishReasonError`; what is whole of it can be used."""
    assert asked(Reply(chat_answer("What is Lance?\nHow", "length")))[0] == "What is Lance?\nHow"


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html>Welcome</html>", content_type="text/html"),
        Reply(b"not json"),
        Reply(b"[1, 2]"),
        Reply({}),
        Reply({"choices": []}),
        Reply({"error": {"message": "overloaded"}}),
        Reply({"choices": None, "error": {"message": "overloaded"}}),
    ],
    ids=["web page", "no json", "a list", "empty object", "no choice", "error with status 200", "null choices"],
)
def test_trap_14_an_answer_of_another_shape_is_a_generation_error(reply: Reply) -> None:
    """A non-JSON answer raises neither pydantic's nor json's error here."""
    message = refused(reply)
    assert "127.0.0.1" in message
    assert "overloaded" not in str(reply.content) or "overloaded" in message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429, 500])
def test_a_refusal_by_status_gives_the_servers_reason(status: int) -> None:
    message = refused(Reply({"error": {"message": "the reason of the server"}}, status))
    assert str(status) in message
    assert "the reason of the server" in message


def test_a_dead_server_is_named_with_what_went_wrong() -> None:
    with scripted_server(lambda _: Reply({})) as server:
        dead = server.base_url
    with pytest.raises(GenerationError, match=rf"at {re.escape(dead)} did not answer.*refused"):
        Openai("m", base_url=dead, max_retries=0).chat_completion("Hello?")


def test_a_hung_server_ends_with_the_timeout() -> None:
    import threading

    release = threading.Event()

    def hang(_: Request) -> Reply:
        release.wait(10)
        return Reply(chat_answer("late"))

    with scripted_server(hang) as server:
        llm = Openai("m", base_url=server.base_url, timeout=0.2, max_retries=0)
        with pytest.raises(GenerationError, match="timed out"):
            llm.chat_completion("Hello?")
        release.set()


def test_what_can_heal_is_repeated() -> None:
    replies = iter([Reply({"error": {"message": "busy"}}, 500), Reply(chat_answer("Hi."))])
    with scripted_server(lambda _: next(replies)) as server:
        assert Openai("m", base_url=server.base_url, max_retries=1).chat_completion("Hello?") == "Hi."


def test_trap_16_it_works_inside_a_running_event_loop() -> None:
    """A notebook always has one."""

    async def cell() -> str:
        return asked(Reply(chat_answer("Hi.")))[0]

    assert asyncio.run(cell()) == "Hi."


def test_questions_land_on_their_own_chunks() -> None:
    def write(request: Request) -> Reply:
        number = re.search(r"number (\d+)", request.body["messages"][0]["content"])
        assert number
        return Reply(chat_answer(f"Here are two:\n1. What is number {number[1]}?\n2. Who counts to {number[1]}?"))

    chunks = [TextChunk.from_chunk(f"This is number {n}.") for n in range(5)]
    with scripted_server(write) as server:
        dataset = QADataset.from_llm(chunks, Openai("m", base_url=server.base_url), progress=False)
    assert len(dataset) == 10
    for query, text in dataset.queries.items():
        (chunk,) = dataset.relevant_docs[query]
        assert re.findall(r"\d+", text) == re.findall(r"\d+", dataset.corpus[chunk])


@pytest.mark.slow
def test_a_real_local_llm_answers(local_llm: str) -> None:
    assert Openai(base_url=local_llm).chat_completion("Write one question about apples.").strip()
