"""`Openai.acomplete` against real servers: one request, one answer, and what it cost."""

import asyncio
import dataclasses
import gc
import logging
from collections import Counter
from collections.abc import Coroutine
from typing import Any, TypeVar

import pytest

from embedtune.errors import LLMRequestError
from embedtune.llm_failures import failure_kind
from embedtune.protocols import AsyncLLM, BatchLLM, LLMAnswer, LLMRequest
from embedtune_openai import Openai
from fault_server import ROUGH, Faults, fault_server
from servers import Reply, Request, chat_answer, scripted_server

T = TypeVar("T")
SCHEMA = {
    "type": "object",
    "properties": {"questions": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
    "required": ["questions"],
    "additionalProperties": False,
}


async def closing(llm: Openai, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, then close the loop's client as the engine does."""
    try:
        return await work
    finally:
        await llm.aclose()


def complete(base_url: str, request: LLMRequest | None = None, **options: Any) -> LLMAnswer:
    llm = Openai("m", base_url=base_url, **{"timeout": 60, **options})
    return asyncio.run(closing(llm, llm.acomplete(request or LLMRequest(prompt="Hello?"))))


def answered(reply: Reply, request: LLMRequest | None = None, **options: Any) -> tuple[LLMAnswer, Request]:
    """The answer of a server that always gives this reply, and the only request it got."""
    with scripted_server(lambda _: reply) as server:
        answer = complete(server.base_url, request, **options)
        (asked,) = server.requests
        return answer, asked


def failed(reply: Reply, **options: Any) -> LLMRequestError:
    with pytest.raises(LLMRequestError) as caught:
        answered(reply, **options)
    return caught.value


def test_it_is_an_async_llm_and_a_batch_llm() -> None:
    llm = Openai(api_key="k")
    assert isinstance(llm, AsyncLLM)
    assert isinstance(llm, BatchLLM)


def test_text_tokens_and_finish_come_back() -> None:
    answer, asked = answered(Reply(chat_answer("Hi.")))
    assert answer == LLMAnswer(text="Hi.", prompt_tokens=3, completion_tokens=5, finish="stop")
    assert asked.body == {"model": "m", "messages": [{"role": "user", "content": "Hello?"}]}


def test_a_schema_is_sent_as_a_strict_one() -> None:
    _, asked = answered(Reply(chat_answer("{}")), LLMRequest(prompt="Hello?", schema=SCHEMA))
    shape = {"name": "answer", "strict": True, "schema": SCHEMA}
    assert asked.body["response_format"] == {"type": "json_schema", "json_schema": shape}


def test_some_json_object_can_be_asked_for() -> None:
    _, asked = answered(Reply(chat_answer("{}")), LLMRequest(prompt="Hello?", json_object=True))
    assert asked.body["response_format"] == {"type": "json_object"}


def test_a_requests_settings_go_before_the_llms_own() -> None:
    request = LLMRequest(prompt="Hello?", max_tokens=7, temperature=0.0, seed=3)
    _, asked = answered(Reply(chat_answer("Hi.")), request, max_tokens=64, temperature=1.0, reasoning_effort="low")
    sent = {name: asked.body[name] for name in ("max_tokens", "temperature", "seed", "reasoning_effort")}
    assert sent == {"max_tokens": 7, "temperature": 0.0, "seed": 3, "reasoning_effort": "low"}


def test_the_llms_own_settings_hold_where_a_request_has_none() -> None:
    _, asked = answered(Reply(chat_answer("Hi.")), max_tokens=64, temperature=0.5)
    assert (asked.body["max_tokens"], asked.body["temperature"]) == (64, 0.5)


@pytest.mark.parametrize("text", ['{"questions": ["Wha', "", None])
def test_trap_14_a_cut_answer_is_an_answer_with_its_tokens(text: str | None) -> None:
    answer, _ = answered(Reply(chat_answer(text, "length")), LLMRequest(prompt="Hello?", schema=SCHEMA))
    assert answer == LLMAnswer(text=text or "", prompt_tokens=3, completion_tokens=5, finish="length")


@pytest.mark.parametrize(
    "message",
    [chat_answer(None, refusal="I cannot."), chat_answer("Half an ans", "content_filter")],
    ids=["refusal", "filter"],
)
def test_a_refusal_is_an_empty_answer_with_its_tokens(message: dict[str, object]) -> None:
    answer, _ = answered(Reply(message))
    assert answer == LLMAnswer(text="", prompt_tokens=3, completion_tokens=5, finish="content_filter")


def test_an_answer_in_parts_gives_its_text() -> None:
    parts: Any = [{"type": "text", "text": "Why"}, {"type": "thinking", "text": None}, {"type": "text", "text": "?"}]
    assert answered(Reply(chat_answer(parts)))[0].text == "Why?"


def test_a_server_that_counts_nothing_is_answered_with_none() -> None:
    answer, _ = answered(Reply({**chat_answer("Hi."), "usage": None}))
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, None)


def test_rate_headers_tell_how_long_to_pause() -> None:
    headers = {"X-RateLimit-Remaining-Requests": "0", "X-RateLimit-Reset-Requests": "1m2.5s"}
    assert answered(Reply(chat_answer("Hi."), headers=headers))[0].pause_seconds == 62.5


def test_nothing_is_repeated_here() -> None:
    """Whoever calls counts each request, and what it may cost."""
    with scripted_server(lambda _: Reply({}, 500)) as server:
        with pytest.raises(LLMRequestError):
            complete(server.base_url, max_retries=5)
        assert len(server.requests) == 1


def test_status_code_and_retry_after_are_told() -> None:
    body = {"error": {"message": "slow down", "code": "rate_limit_exceeded"}}
    error = failed(Reply(body, 429, headers={"retry-after": "1.5"}))
    assert (error.status, error.code, error.retry_after) == (429, "rate_limit_exceeded", 1.5)
    assert failure_kind(error) == "heals"
    assert "slow down" in str(error)


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (429, "insufficient_quota", "stop"),
        (401, "invalid_api_key", "stop"),
        (403, None, "stop"),
        (404, "model_not_found", "stop"),
        (400, "context_length_exceeded", "chunk"),
        (400, "content_filter", "chunk"),
        (400, None, "stop"),
        (503, None, "heals"),
        (408, None, "heals"),
    ],
)
def test_trap_13_each_refusal_means_what_it_means(status: int, code: str | None, kind: str) -> None:
    assert failure_kind(failed(Reply({"error": {"message": "no", "code": code}}, status))) == kind


def test_a_hung_server_ends_with_the_timeout_and_can_heal() -> None:
    with fault_server(Faults(hung=1.0)) as server, pytest.raises(LLMRequestError, match="timed out") as caught:
        complete(server.url, timeout=0.2)
    assert (caught.value.status, caught.value.heals, caught.value.unreachable) == (None, None, False)
    assert failure_kind(caught.value) == "heals"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_dropped_connection_can_heal(seed: int) -> None:
    """The two seeds: in the middle of the answer, and before its first byte."""
    with fault_server(Faults(dropped=1.0, seed=seed)) as server, pytest.raises(LLMRequestError) as caught:
        complete(server.url)
    assert {entry.done for entry in server.log} == {("dropped", "dropped_early")[seed]}
    assert (failure_kind(caught.value), caught.value.unreachable) == ("heals", False)


def test_a_dead_server_is_unreachable() -> None:
    with scripted_server(lambda _: Reply({})) as server:
        dead = server.base_url
    with pytest.raises(LLMRequestError, match=r"did not answer.*ConnectionRefusedError") as caught:
        complete(dead)
    assert caught.value.unreachable


def test_a_name_that_no_server_has_is_unreachable() -> None:
    with pytest.raises(LLMRequestError) as caught:
        complete("http://no-such-host.invalid/v1")
    assert caught.value.unreachable


def test_a_web_page_with_status_200_stops_the_run() -> None:
    """The address is wrong, and each further request would find the same page."""
    error = failed(Reply(b"<html>Welcome</html>", content_type="text/html"))
    assert failure_kind(error) == "stop"
    assert "check base_url" in str(error)


@pytest.mark.parametrize("content", [b'{"choices": [{"mess', b"", b"[1, 2]", b"{}", b'{"choices": [{}]}'])
def test_json_that_is_no_chat_completion_can_heal(content: bytes) -> None:
    assert failure_kind(failed(Reply(content))) == "heals"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"message": "overloaded"}, "heals"),
        ({"message": "no money", "code": "insufficient_quota"}, "stop"),
        ({"message": "upstream", "code": 502}, "heals"),
        ({"message": "wrong key", "code": 401}, "stop"),
        ("overloaded", "heals"),
    ],
)
def test_an_error_with_status_200_means_what_it_says(error: object, kind: str) -> None:
    found = failed(Reply({"error": error}))
    assert failure_kind(found) == kind
    assert (error["message"] if isinstance(error, dict) else str(error)) in str(found)


def test_half_a_surrogate_pair_is_not_asked_again() -> None:
    with scripted_server(lambda _: Reply(chat_answer("Hi."))) as server:
        with pytest.raises(LLMRequestError, match="surrogates") as caught:
            complete(server.base_url, LLMRequest(prompt="\ud800"))
        assert (failure_kind(caught.value), server.requests) == ("chunk", [])


def test_trap_16_each_event_loop_has_a_client_of_its_own() -> None:
    """Also where the loop before was closed without `aclose`, with connections left open."""
    with fault_server() as server:
        llm = Openai("m", base_url=server.url)
        for number in range(3):
            answer = asyncio.run(llm.acomplete(LLMRequest(prompt=f"chunk-number-{number}")))
            assert f"item {number} " in answer.text


def test_a_client_of_a_dead_loop_goes_without_noise(caplog: pytest.LogCaptureFixture) -> None:
    async def collect() -> None:
        gc.collect()
        await asyncio.sleep(0.01)

    with fault_server() as server:
        llm = Openai("m", base_url=server.url)
        with caplog.at_level(logging.WARNING):
            asyncio.run(llm.acomplete(LLMRequest(prompt="chunk-number-1")))
            asyncio.run(collect())
    assert caplog.text == ""


def test_after_aclose_the_same_loop_can_ask_again() -> None:
    async def twice(llm: Openai) -> list[str]:
        texts = []
        for number in range(2):
            texts.append((await llm.acomplete(LLMRequest(prompt=f"chunk-number-{number}"))).text)
            await llm.aclose()
        return texts

    with fault_server() as server:
        assert len(asyncio.run(twice(Openai("m", base_url=server.url)))) == 2


def test_aclose_before_any_request_leaves_it_able_to_ask() -> None:
    async def closed_first(llm: Openai) -> str:
        await llm.aclose()
        return (await llm.acomplete(LLMRequest(prompt="chunk-number-7"))).text

    with fault_server() as server:
        assert "7" in asyncio.run(closed_first(Openai("m", base_url=server.url)))


def test_many_requests_wait_at_the_same_time() -> None:
    async def all_at_once(llm: Openai) -> list[LLMAnswer]:
        requests = [LLMRequest(prompt=f"chunk-number-{number}") for number in range(32)]
        return await asyncio.gather(*map(llm.acomplete, requests))

    with fault_server(Faults(latency=0.5)) as server:
        llm = Openai("m", base_url=server.url)
        answers = asyncio.run(closing(llm, all_at_once(llm)))
    assert all(f"item {number} " in answer.text for number, answer in enumerate(answers))
    assert max(entry.n_open for entry in server.log) > 16


def test_on_a_bad_day_every_request_ends_in_an_answer_or_in_a_request_error() -> None:
    async def ask(llm: Openai, number: int, gate: asyncio.Semaphore) -> str:
        async with gate:
            try:
                return (await llm.acomplete(LLMRequest(prompt=f"chunk-number-{number}", schema=SCHEMA))).finish or "?"
            except LLMRequestError as error:
                return failure_kind(error)

    async def all_of(llm: Openai) -> list[str]:
        gate = asyncio.Semaphore(16)
        return await asyncio.gather(*(ask(llm, number, gate) for number in range(200)))

    # None hangs: a timeout short enough for that would end good answers too, on a machine that is busy.
    with fault_server(dataclasses.replace(ROUGH, hung=0.0)) as server:
        llm = Openai("m", base_url=server.url, timeout=60)
        ends = Counter(asyncio.run(closing(llm, all_of(llm))))
    done = Counter(entry.done for entry in server.done())
    assert ends["heals"] == sum(done[name] for name in ("rate_limited", "server_error", "dropped", "dropped_early"))
    assert (ends["length"], ends["content_filter"]) == (done["cut"], done["refused"])
    assert ends["stop"] == done["answered"] + done["prose"]
    assert len(done) >= 6


@pytest.mark.parametrize(
    "settings", [{"model": "other"}, {"max_tokens": 5}, {"temperature": 0.1}, {"reasoning_effort": "low"}]
)
def test_what_changes_an_answer_is_in_the_fingerprint(settings: dict[str, Any]) -> None:
    address = {"base_url": "http://user:hunter2@gateway.example/v1", "api_key": "k-0123456789"}
    plain = Openai(**{"model": "m", **address}).fingerprint
    assert Openai(**{"model": "m", **address, **settings}).fingerprint != plain
    assert "hunter2" not in plain
    assert "k-0123456789" not in plain
    assert "gateway.example/v1" in plain
