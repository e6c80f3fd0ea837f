"""The server's batches: submitted once, collected whenever, over crashes, expiry and refusals."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from embedtune import BaseLLM, GenerationReport, LLMAnswer, LLMRequest, Prices, QADataset, QuestionQuality
from embedtune.errors import BatchPendingError, BudgetExceededError, GenerationError, LLMRequestError
from embedtune.generation.options import Delivery
from embedtune.generation.task import make_task
from embedtune.generation.writing import write_questions
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from embedtune.protocols import BatchState
from fault_server import Faults, FaultServer, fault_server
from question_runs import answers, openai_at, own_questions, pages, shape, unaccounted, write

QUICK = {"batch_polls": 1}
"""A batch is over when it is first looked at: polls wait a second."""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


def lines_done(server: FaultServer) -> Counter[str]:
    return Counter(entry.done for entry in server.log if entry.path == "/v1/batches#line")


def in_batches(server: FaultServer, n_chunks: int, journal: Path, **options: Any) -> QADataset:
    return write(server, n_chunks, openai_at(server.url, max_retries=0), batch=True, journal=journal, **options)


def test_a_batch_gives_what_single_requests_give(journal: Path) -> None:
    with fault_server(Faults(**QUICK)) as server:
        dataset = in_batches(server, 40, journal)
        assert server.done() == [], "nothing was asked alone"
        assert lines_done(server) == {"answered": 40}
        assert shape(dataset) == shape(write(server, 40))
    assert len(answers(journal)) == 40


def test_half_the_price_is_reckoned_and_told(journal: Path) -> None:
    with fault_server(Faults(**QUICK)) as server:
        report = report_of(in_batches(server, 10, journal, prices=Prices(prompt=1, completion=4)))
    spend = report.stages["questions"]
    assert report.cost == pytest.approx((spend.prompt_tokens + 4 * spend.completion_tokens) / 2e6)


def test_a_bad_day_in_batches(journal: Path) -> None:
    faults = Faults(**QUICK, rate_limited=0.1, server_error=0.1, prose=0.1, cut=0.05, refused=0.05, seed=1)
    with fault_server(faults) as server:
        dataset = in_batches(server, 80, journal)
        done = lines_done(server)
    assert own_questions(dataset) == []
    assert unaccounted(dataset) == set()
    paid = sum(done[name] for name in ("answered", "prose", "cut", "refused"))
    assert len(answers(journal)) == len({record["key"] for record in answers(journal)}) == paid
    spend = report_of(dataset).stages["questions"]
    assert (spend.requests, spend.repeats) == (sum(done.values()), done["rate_limited"] + done["server_error"])
    assert (spend.cut, spend.refused) == (done["cut"], done["refused"])


def test_a_batch_needs_a_journal_and_an_llm_with_batches(tmp_path: Path) -> None:
    with fault_server() as server:
        with pytest.raises(GenerationError, match=r"batch=True needs journal=\.\.\., a file that remembers"):
            write(server, 2, batch=True)
        assert server.log == []

    class Plain(BaseLLM):
        def chat_completion(self, prompt: str) -> str:
            raise AssertionError

    with pytest.raises(GenerationError, match=r"whose server takes batches; Plain has none"):
        QADataset.from_llm(pages(1), Plain(), batch=True, journal=tmp_path / "j", progress=False)


def test_what_an_expired_batch_did_not_do_goes_into_the_next(journal: Path) -> None:
    with fault_server(Faults(**QUICK, batch_expires=0.5)) as server:
        dataset = in_batches(server, 16, journal)
        assert lines_done(server) == {"answered": 16}
        assert len(server.batches.batches) > 1
    assert len(dataset) == 32
    assert len(answers(journal)) == 16


def test_a_batch_that_fails_as_a_whole_says_why_and_the_next_call_submits_anew(journal: Path) -> None:
    with fault_server(Faults(**QUICK, batch_fails=True)) as server:
        with pytest.raises(GenerationError, match=r"batch_\d+ is failed: token_limit_exceeded: Enqueued token limit"):
            in_batches(server, 8, journal)
        assert len(server.batches.batches) == 1
        server.faults = Faults(**QUICK)
        assert len(in_batches(server, 8, journal)) == 16
        assert len(server.batches.batches) == 2


@pytest.mark.parametrize("refused", [{"refuses_schema": True}, {"refuses_schema": True, "refuses_json_object": True}])
def test_a_refused_format_steps_down_for_the_next_batch(journal: Path, refused: dict[str, bool]) -> None:
    with fault_server(Faults(**QUICK, **refused)) as server:
        dataset = in_batches(server, 8, journal)
        assert lines_done(server) == {"refused_format": 8 * len(refused), "answered": 8}
    assert (len(dataset), own_questions(dataset)) == (16, [])


def test_a_chunk_that_always_fails_has_its_reason(journal: Path) -> None:
    with fault_server(Faults(**QUICK, always_fails=frozenset({3}))) as server:
        dataset = in_batches(server, 8, journal, retries=1)
    assert list(report_of(dataset).failures) == ["c3"]
    assert "The server had an error" in report_of(dataset).failures["c3"]


def without_waiting(server: FaultServer, n_chunks: int, journal: Path) -> QADataset:
    delivery = Delivery(batch=True, wait=False, journal=journal, progress=False)
    asked = (pages(n_chunks), openai_at(server.url, max_retries=0), DEFAULT_PROMPT_TMPL, 2)
    return write_questions(make_task(*asked, delivery, QuestionQuality(), None))


def test_whoever_does_not_wait_is_told_and_collects_later_without_submitting_again(journal: Path) -> None:
    with fault_server(Faults(batch_polls=3)) as server:
        for _ in range(2):
            with pytest.raises(BatchPendingError, match=r"The batch batch_\d+ is \w+: 0 of 6 .* collects them when"):
                without_waiting(server, 6, journal)
        assert len(without_waiting(server, 6, journal)) == 12
        assert len(server.batches.batches) == 1
        assert lines_done(server) == {"answered": 6}


def test_what_was_collected_is_not_collected_again(journal: Path) -> None:
    with fault_server(Faults(**QUICK)) as server:
        first = in_batches(server, 6, journal)
        before = journal.read_bytes()
        assert shape(in_batches(server, 6, journal)) == shape(first)
        assert len(server.batches.batches) == 1
    assert journal.read_bytes() == before


DIES = """
import os, sys
from embedtune import QADataset
from embedtune_openai import Openai
from question_runs import pages

class Dying(Openai):
    def {method}(self, *arguments):
        {body}

url, journal, n_chunks = sys.argv[1:]
llm = Dying("m", base_url=url, api_key="sk-engine-0123456789abcdef", max_retries=0)
QADataset.from_llm(pages(int(n_chunks)), llm, batch=True, journal=journal, progress=False)
"""
MOMENTS = {
    "before it is submitted": ("submit_batch", "os._exit(9)"),
    "after it is submitted, before that is noted": ("submit_batch", "super().submit_batch(*arguments); os._exit(9)"),
    "before it is fetched": ("fetch_batch", "os._exit(9)"),
}


@pytest.mark.parametrize(("method", "body"), MOMENTS.values(), ids=MOMENTS)
def test_a_crash_at_any_moment_neither_loses_a_batch_nor_pays_for_one_twice(
    journal: Path, method: str, body: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with fault_server(Faults(**QUICK)) as server:
        command = [sys.executable, "-c", DIES.format(method=method, body=body), server.url, str(journal), "6"]
        died = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert died.returncode == 9, died.stderr
        n_before = len(server.batches.batches)
        assert n_before == (body != "os._exit(9)" or method == "fetch_batch")
        dataset = in_batches(server, 6, journal)
        assert lines_done(server) == {"answered": 6}
        assert len(server.batches.batches) == 1
    assert len(dataset) == 12
    assert len(answers(journal)) == 6


class Torn(BaseLLM):
    """Its answers break off in the middle of the file, once."""

    def __init__(self) -> None:
        self.requests: dict[str, LLMRequest] = {}
        self.n_submitted = self.n_fetched = 0

    def chat_completion(self, prompt: str) -> str:
        raise AssertionError("it is asked in batches")

    def submit_batch(self, requests: Sequence[tuple[str, LLMRequest]], tag: str) -> tuple[str, int]:
        self.n_submitted += 1
        self.requests = dict(requests)
        return tag, len(requests)

    def find_batch(self, tag: str) -> str | None:
        return None

    def poll_batch(self, batch: str) -> BatchState:
        return BatchState(status="completed", is_over=True)

    def fetch_batch(self, batch: str) -> Iterator[tuple[str, LLMAnswer | LLMRequestError]]:
        self.n_fetched += 1
        for number, key in enumerate(self.requests):
            if number == 600 and self.n_fetched == 1:
                raise LLMRequestError("the line broke", heals=True)
            yield key, LLMAnswer(text=f"Why does item {number} leak?\nWho closes number {number}?", prompt_tokens=1)


def test_a_file_that_broke_off_is_fetched_again_and_no_answer_stands_in_the_journal_twice(journal: Path) -> None:
    llm = Torn()
    with pytest.raises(LLMRequestError, match="the line broke") as caught:
        QADataset.from_llm(pages(700), llm, batch=True, journal=journal, progress=False)
    assert caught.value.partial is not None
    assert len(answers(journal)) == 500
    assert len(QADataset.from_llm(pages(700), llm, batch=True, journal=journal, progress=False)) == 1400
    assert (llm.n_submitted, llm.n_fetched) == (1, 2)
    assert len(answers(journal)) == 700


def test_a_limit_holds_for_batches_too(journal: Path) -> None:
    with fault_server(Faults(**QUICK)) as server:
        limited = in_batches(server, 20, journal, max_requests=8)
        assert sum(lines_done(server).values()) == 8
        assert report_of(limited).stopped is not None
        with pytest.raises(BudgetExceededError):
            in_batches(server, 20, journal, max_requests=8, on_failure="raise")
        assert len(in_batches(server, 20, journal, max_requests=20)) == 40
        assert sum(lines_done(server).values()) == 20


def test_the_journal_tells_batches_by_their_tag_and_holds_no_prompt(journal: Path) -> None:
    with fault_server(Faults(**QUICK)) as server:
        in_batches(server, 3, journal)
    text = journal.read_text()
    tags = {record["tag"] for record in map(json.loads, text.splitlines()) if "tag" in record}
    assert len(tags) == 1
    assert "This page is on" not in text


def test_top_ups_and_a_judge_go_in_batches_of_their_own(journal: Path) -> None:
    with fault_server(Faults(**QUICK, prose=0.2)) as server:
        judged = QuestionQuality(judge=openai_at(server.url, max_retries=0))
        dataset = in_batches(server, 20, journal, quality=judged)
        assert server.done() == []
        assert len(server.batches.batches) == 3
    assert unaccounted(dataset) == set()
    assert {record["stage"] for record in answers(journal)} == {"questions", "judge"}
