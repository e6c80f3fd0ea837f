"""`Openai` through a client that the user made: Azure, and whatever else the arguments cannot say."""

import asyncio
import pickle
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from embedtune import GenerationError
from embedtune.errors import LLMRequestError
from embedtune.protocols import LLMAnswer, LLMRequest
from embedtune_openai import Openai
from fault_server import Faults, fault_server
from servers import Reply, ScriptedServer, chat_answer, scripted_server

KEY = "azure-key-0123456789"
REQUEST = LLMRequest(prompt="Hello?", max_tokens=9)


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server(lambda _: Reply(chat_answer("Hi."))) as running:
        yield running


def azure(server: ScriptedServer, **options: Any) -> Openai:
    endpoint = server.base_url.removesuffix("/v1")
    client = openai.AzureOpenAI(
        azure_endpoint=endpoint, api_key=KEY, api_version="2026-05-01", **{"max_retries": 0, "timeout": 60, **options}
    )
    return Openai("my-deployment", client=client)


def complete(llm: Openai, request: LLMRequest = REQUEST) -> LLMAnswer:
    async def run() -> LLMAnswer:
        try:
            return await llm.acomplete(request)
        finally:
            await llm.aclose()

    return asyncio.run(run())


def test_azure_is_asked_at_its_deployment_with_its_own_header(server: ScriptedServer) -> None:
    assert complete(azure(server)).text == "Hi."
    (asked,) = server.requests
    assert asked.path == "/openai/deployments/my-deployment/chat/completions?api-version=2026-05-01"
    assert asked.headers["api-key"] == KEY
    assert asked.body["max_tokens"] == 9


def test_azure_answers_one_message_too(server: ScriptedServer) -> None:
    assert azure(server).chat_completion("Hello?") == "Hi."


def test_azures_own_address_is_told_the_new_name_of_max_tokens() -> None:
    client = openai.AzureOpenAI(azure_endpoint="https://acme.openai.azure.com", api_key=KEY, api_version="2026-05-01")
    assert Openai("d", client=client).request_body(REQUEST)["max_completion_tokens"] == 9


def test_azure_with_its_version_1_address_needs_no_client() -> None:
    llm = Openai("my-deployment", base_url="https://acme.openai.azure.com/openai/v1/", api_key=KEY)
    assert llm.request_body(REQUEST)["max_completion_tokens"] == 9


def test_entra_tokens_are_asked_for_by_the_client(server: ScriptedServer) -> None:
    client = openai.AzureOpenAI(
        azure_endpoint=server.base_url.removesuffix("/v1"),
        azure_ad_token_provider=lambda: "token-of-today",
        api_version="2026-05-01",
    )
    complete(Openai("d", client=client))
    assert server.requests[0].headers["authorization"] == "Bearer token-of-today"


def test_acomplete_repeats_nothing_and_chat_completion_as_the_client_was_told() -> None:
    with scripted_server(lambda _: Reply({}, 500, headers={"retry-after-ms": "1"})) as server:
        llm = azure(server, max_retries=2)
        with pytest.raises(LLMRequestError):
            complete(llm)
        assert len(server.requests) == 1
        with pytest.raises(LLMRequestError):
            llm.chat_completion("Hello?")
        assert len(server.requests) == 4


def test_many_requests_wait_at_the_same_time() -> None:
    async def all_at_once(llm: Openai) -> list[LLMAnswer]:
        return await asyncio.gather(
            *(llm.acomplete(LLMRequest(prompt=f"chunk-number-{number}")) for number in range(24))
        )

    with fault_server(Faults(latency=0.5)) as server:
        llm = Openai("m", client=openai.OpenAI(base_url=server.url, api_key=KEY))
        answers = asyncio.run(all_at_once(llm))
    assert all(f"item {number} " in answer.text for number, answer in enumerate(answers))
    assert max(entry.n_open for entry in server.log) > 16


def test_it_can_be_asked_again_after_aclose(server: ScriptedServer) -> None:
    llm = azure(server)
    assert [complete(llm).text, complete(llm).text] == ["Hi.", "Hi."]


def test_the_key_is_in_no_repr_fingerprint_or_error() -> None:
    parrot = Reply({"error": {"message": f"bad key: {KEY}"}}, 401)
    with scripted_server(lambda _: parrot) as server:
        llm = azure(server)
        with pytest.raises(LLMRequestError, match=r"bad key: \[the key\]") as caught:
            complete(llm)
    assert KEY not in repr(llm) + llm.fingerprint + str(caught.value)
    assert caught.value.__context__ is None


def test_a_client_is_not_pickled(server: ScriptedServer) -> None:
    with pytest.raises(GenerationError, match=r"AzureOpenAI that was given as client=.* is not pickled"):
        pickle.dumps(azure(server))


@pytest.mark.parametrize("client", [openai.AsyncOpenAI(api_key="k"), "gpt", object()], ids=lambda c: type(c).__name__)
def test_what_is_no_synchronous_client_is_refused(client: Any) -> None:
    with pytest.raises(GenerationError, match=rf"client must be .*; got a {type(client).__name__}\. .*synchronous"):
        Openai("m", client=client)


@pytest.mark.parametrize("options", [{"api_key": "k"}, {"base_url": "http://localhost/v1"}])
def test_a_client_beside_an_address_or_a_key_is_refused(options: dict[str, str]) -> None:
    with pytest.raises(GenerationError, match="client brings its own address and key"):
        Openai("m", client=openai.OpenAI(api_key="k"), **options)  # type: ignore[arg-type]
