"""What the bridges to LangChain's and LlamaIndex's LLMs keep to alike, over the wire, with much going wrong."""

import asyncio
import logging
import pickle
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from llama_index.core.base.llms.types import ChatMessage

from embedtune import QADataset, TextChunk
from embedtune.errors import LLMRequestError
from embedtune.framework_llm import FrameworkLLM, finish_of, tokens_of
from embedtune.llm_failures import failure_kind
from embedtune.protocols import AsyncLLM, LLMAnswer, LLMRequest
from fault_server import Faults, FaultServer, fault_server
from framework_models import AsyncChat, AsyncLlama
from langchain_embedtune import LangChainLLM
from llama_index.embeddings.embedtune import LlamaIndexLLM

KEY = "sk-of-the-model-0123456789"
Make = Callable[..., Any]


@pytest.fixture(params=[AsyncChat, AsyncLlama], ids=["LangChain", "LlamaIndex"])
def make(request: pytest.FixtureRequest) -> Make:
    """Makes a model of one framework for a server."""
    return lambda server, **settings: request.param(base_url=server.url, **settings)


def bridged(model: object) -> FrameworkLLM:
    return LangChainLLM(model) if isinstance(model, AsyncChat) else LlamaIndexLLM(model)


def complete(llm: FrameworkLLM, number: int = 7) -> LLMAnswer:
    return asyncio.run(llm.acomplete(LLMRequest(prompt=f"This is chunk-number-{number}. Write 2 questions.")))


def failure(make: Make, faults: Faults, **settings: Any) -> LLMRequestError:
    with fault_server(faults) as server, pytest.raises(LLMRequestError) as caught:
        complete(bridged(make(server, **settings)))
    return caught.value


def test_text_tokens_and_finish_come_back(make: Make) -> None:
    with fault_server() as server:
        llm = bridged(make(server))
        answer = complete(llm)
    assert isinstance(llm, AsyncLLM)
    assert llm.is_async
    assert answer.text.count("item 7 ") == 2
    assert (answer.prompt_tokens, answer.completion_tokens, answer.finish) == (10, len(answer.text) // 4, "stop")


def test_a_dict_as_raw_answer_is_read_like_an_object() -> None:
    with fault_server() as server:
        as_object, as_dict = (complete(bridged(AsyncLlama(base_url=server.url, raw_as_dict=x))) for x in (False, True))
    assert as_object == as_dict
    assert as_dict.prompt_tokens


def test_trap_14_a_cut_answer_is_an_answer(make: Make) -> None:
    with fault_server(Faults(cut=1.0)) as server:
        answer = complete(bridged(make(server)))
    assert answer.finish == "length"
    assert answer.text
    assert answer.completion_tokens


def test_a_refusal_is_an_empty_answer_with_its_tokens(make: Make) -> None:
    with fault_server(Faults(refused=1.0)) as server:
        answer = complete(bridged(make(server)))
    assert (answer.text, answer.finish) == ("", "content_filter")
    assert answer.completion_tokens


@pytest.mark.parametrize(
    ("faults", "kind", "attributes"),
    [
        (
            Faults(rate_limited=1.0, rate_limited_share_with_retry_after=1.0),
            "heals",
            (429, "rate_limit_exceeded", 0.05),
        ),
        (Faults(quota_after=0), "stop", (429, "insufficient_quota", None)),
        (Faults(api_key="another"), "stop", (401, "invalid_api_key", None)),
        (Faults(server_error=1.0), "heals", (500, None, None)),
        (Faults(dropped=1.0), "heals", (None, None, None)),
        (Faults(hung=1.0), "heals", (None, None, None)),
    ],
    ids=["rate limit", "quota", "wrong key", "server error", "dropped", "hung"],
)
def test_trap_13_each_failure_means_what_it_means(
    make: Make, faults: Faults, kind: str, attributes: tuple[object, ...]
) -> None:
    error = failure(make, faults, timeout=0.3 if faults.hung else 60)
    assert failure_kind(error) == kind
    assert (error.status, error.code, error.retry_after) == attributes


def test_a_dead_server_is_unreachable(make: Make) -> None:
    with fault_server() as server:
        llm = bridged(make(server))
    with pytest.raises(LLMRequestError, match="ConnectionRefusedError") as caught:
        complete(llm)
    assert caught.value.unreachable


def test_the_models_key_is_in_no_error_log_or_fingerprint(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG, logger="embedtune"):
        error = failure(make, Faults(api_key="another"))
    shown = "".join(traceback.format_exception(error)) + repr(vars(error)) + caplog.text
    assert "Incorrect API key provided: [the key]" in shown
    assert KEY not in shown
    assert KEY.encode() not in pickle.dumps(error)
    assert (error.__cause__, error.__context__) == (None, None)
    with fault_server() as server:
        llm = bridged(make(server))
    assert KEY not in repr(llm) + llm.fingerprint


def test_the_fingerprint_names_class_model_and_settings(make: Make) -> None:
    with fault_server() as server:
        short, long = (bridged(make(server, max_tokens=n)).fingerprint for n in (50, 60))
    assert re.search(r"framework_models\.Async(Chat|Llama)\('(m|llama)'.*max_tokens=50", short)
    assert short != long


def test_the_models_own_bound_on_tokens_is_known(make: Make) -> None:
    with fault_server() as server:
        assert bridged(make(server)).max_tokens == 100
        assert bridged(make(server, max_tokens=None)).max_tokens is None


def test_trap_16_one_model_serves_many_event_loops(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """Its client keeps connections open, and those of a closed loop raise: "Event loop is closed"."""
    with fault_server() as server:
        llm = bridged(make(server))
        assert all(f"item {number} " in complete(llm, number).text for number in range(4))
    assert "Event loop is closed" not in caplog.text


def test_a_client_of_a_closed_loop_heals(make: Make) -> None:
    """Whoever used the model before in a loop of his own has left such connections in it."""

    async def used_by_its_owner(model: Any) -> None:
        messages = [ChatMessage(role="user", content="Hi.")]
        await (model.ainvoke("Hi.") if isinstance(model, AsyncChat) else model.achat(messages))

    with fault_server() as server:
        model = make(server)
        asyncio.run(used_by_its_owner(model))
        with pytest.raises(LLMRequestError, match="Event loop is closed") as caught:
            complete(bridged(model))
        assert failure_kind(caught.value) == "heals"
        assert "item 7 " in complete(bridged(model)).text


def test_a_cancelled_request_is_given_up_at_the_server_too(make: Make) -> None:
    async def cancelled(llm: FrameworkLLM, server: FaultServer) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(llm.acomplete(LLMRequest(prompt="chunk-number-7")), 0.3)
        while not server.done("hung"):
            await asyncio.sleep(0.01)

    with fault_server(Faults(hung=1.0)) as server:
        asyncio.run(asyncio.wait_for(cancelled(bridged(make(server)), server), 30))


def test_many_requests_wait_at_the_same_time(make: Make) -> None:
    async def all_at_once(llm: FrameworkLLM) -> list[LLMAnswer]:
        requests = [LLMRequest(prompt=f"chunk-number-{number}") for number in range(24)]
        return await asyncio.gather(*map(llm.acomplete, requests))

    with fault_server(Faults(latency=0.5)) as server:
        answers = asyncio.run(all_at_once(bridged(make(server))))
        assert max(entry.n_open for entry in server.log) > 16
    assert all(f"item {number} " in answer.text for number, answer in enumerate(answers))


def chunks(n_chunks: int) -> list[TextChunk]:
    return [TextChunk.from_chunk(f"Item {n} is described in chunk-number-{n} of the manual.") for n in range(n_chunks)]


def numbers_of(dataset: QADataset) -> dict[int, set[int]]:
    """For each chunk's number the numbers that its questions are about."""
    found: dict[int, set[int]] = {}
    for query, text in dataset.queries.items():
        (chunk,) = dataset.relevant_docs[query]
        number = int(re.findall(r"chunk-number-(\d+)", dataset.corpus[chunk])[0])
        found.setdefault(number, set()).update(map(int, re.findall(r"\d+", text)))
    return found


def n_asked(server: FaultServer, number: int) -> int:
    return sum(entry.chunk == number for entry in server.done())


def test_trap_9_no_question_stands_on_a_wrong_chunk(make: Make) -> None:
    """One chunk fails once, another always: the acceptance test of langchain-core's ``with_retry`` and ``batch``."""
    faults = Faults(fails_once=frozenset({1}), always_fails=frozenset({2}))
    with fault_server(faults) as server:
        dataset = QADataset.from_llm(chunks(8), make(server), retries=1, progress=False)
        assert n_asked(server, 1) == 2
        assert n_asked(server, 2) == 2
    assert numbers_of(dataset) == {number: {number} for number in range(8) if number != 2}
    assert len(dataset.corpus) == 8


def test_a_journal_goes_on_with_a_model_that_was_made_anew(make: Make, tmp_path: Path) -> None:
    with fault_server() as server:
        for _ in range(2):
            QADataset.from_llm(chunks(4), make(server), journal=tmp_path / "journal", progress=False)
        assert len(server.done()) == 4


@pytest.mark.parametrize(
    ("told", "finish"),
    [
        ({"stop_reason": "end_turn"}, "stop"),
        ({"stop_reason": "max_tokens"}, "length"),
        ({"stop_reason": "refusal"}, "content_filter"),
        ({"finish_reason": "MAX_TOKENS"}, "length"),
        ({"finish_reason": "SAFETY"}, "content_filter"),
        ({"done_reason": "stop"}, "stop"),
        ({"finish_reason": "tool_calls"}, "tool_calls"),
        ({"finish_reason": None}, None),
        (None, None),
    ],
)
def test_each_makers_word_for_the_end_is_known(told: object, finish: str | None) -> None:
    assert finish_of(told) == finish


@pytest.mark.parametrize(
    "told",
    [
        {"input_tokens": 3, "output_tokens": 5},
        {"prompt_tokens": 3, "completion_tokens": 5},
        {"prompt_eval_count": 3, "eval_count": 5},
        {"prompt_token_count": 3, "candidates_token_count": 5},
    ],
)
def test_each_makers_count_of_tokens_is_known(told: dict[str, int]) -> None:
    holder = type("Usage", (), told)()
    assert tokens_of(None, {}, told) == tokens_of(holder) == (3, 5)


def test_tokens_that_nobody_tells_are_none() -> None:
    assert tokens_of(None, {}, object()) == (None, None)
