"""Bad days over real sockets: every chunk ends with its own questions or a reason, and nothing is paid for twice."""

import asyncio
import sys
import time
from collections import Counter

import pytest

from embedtune import BaseLLM, GenerationReport, LLMAnswer, LLMRequest, QADataset, TextChunk
from embedtune.errors import LLMRequestError
from fault_model import content_hash
from fault_server import ROUGH, Faults, fault_server
from fault_texts import answer_text, chunk_number
from question_runs import openai_at, own_questions, pages, paid_twice, shape, unaccounted, write

BAD = Faults(
    rate_limited=0.06, retry_after=0.02, server_error=0.03, dropped=0.03, prose=0.06, cut=0.04, refused=0.04, seed=3
)
"""As rough, but without requests that hang, which take their time."""


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


@pytest.mark.slow
def test_on_a_rough_day_each_of_a_thousand_chunks_gets_its_own_questions_or_a_reason() -> None:
    start = time.monotonic()
    with fault_server(ROUGH) as server:
        dataset = write(server, 1000, openai_at(server.url, timeout=1.0), concurrency=16)
        done = Counter(entry.done for entry in server.done())
        twice = paid_twice(server)
    report = report_of(dataset)
    assert own_questions(dataset) == []
    assert unaccounted(dataset) == set()
    assert twice == []
    assert min(done[name] for name in ("rate_limited", "server_error", "hung", "prose", "cut", "refused")) >= 5
    spend = report.stages["questions"]
    assert spend.requests == sum(done.values())
    assert spend.answers == sum(done[name] for name in ("answered", "prose", "cut", "refused"))
    assert (spend.cut, spend.refused) == (done["cut"], done["refused"])
    sys.stdout.write(f"{time.monotonic() - start:.1f} s, {len(dataset)} questions; {dict(done)}\n{report}\n")


def test_on_a_bad_day_each_chunk_gets_its_own_questions_or_a_reason() -> None:
    with fault_server(BAD) as server:
        dataset = write(server, 100, concurrency=16)
        done = Counter(entry.done for entry in server.done())
        assert paid_twice(server) == []
    report = report_of(dataset)
    assert own_questions(dataset) == []
    assert unaccounted(dataset) == set()
    assert set(report.failures.values()) <= {"the LLM refused"} | {
        reason for reason in report.failures.values() if reason.startswith(("the answer was cut", "the answer held"))
    }
    spend = report.stages["questions"]
    assert spend.requests == sum(done.values())
    assert (spend.cut, spend.refused) == (done["cut"], done["refused"])
    assert spend.repeats == sum(done[name] for name in ("rate_limited", "server_error", "dropped", "dropped_early"))


ODD = Faults(prose=0.15, cut=0.1, refused=0.1, dropped=0.02, seed=5)
"""Answers of every kind, and hardly one that has to be waited for again."""


@pytest.mark.parametrize("faults", [Faults(), ODD], ids=["good day", "bad day"])
def test_the_order_of_the_answers_changes_nothing(faults: Faults) -> None:
    """With 1, 3 and 16 requests in flight they come in another order each time; faults hang on the prompt alone."""
    runs = []
    for concurrency in (1, 3, 16):
        with fault_server(faults) as server:
            dataset = write(server, 40, concurrency=concurrency)
            runs.append((shape(dataset), list(dataset.queries), report_of(dataset).failures))
    assert runs[0] == runs[1] == runs[2]


class Jittery(BaseLLM):
    """The fault server's model without a server; it answers after a time that another seed draws otherwise."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.order: list[int] = []

    def chat_completion(self, prompt: str) -> str:
        raise AssertionError("it can be asked asynchronously")

    async def acomplete(self, request: LLMRequest) -> LLMAnswer:
        body = {"messages": [{"role": "user", "content": f"{self.seed} {request.prompt}"}]}
        await asyncio.sleep(int(content_hash(body), 16) % 20 / 1000)
        self.order.append(chunk_number(request.prompt) or 0)
        wanted = {"type": "json_schema", "json_schema": {"schema": request.schema}} if request.schema else None
        return LLMAnswer(text=answer_text(request.prompt, wanted), prompt_tokens=9, completion_tokens=9, finish="stop")

    async def aclose(self) -> None:
        """Nothing was opened."""


def test_answers_in_random_order_give_the_same_data_set() -> None:
    llms = [Jittery(seed) for seed in range(4)]
    runs = [QADataset.from_llm(pages(60), llm, concurrency=16, progress=False) for llm in llms]
    assert len({tuple(llm.order) for llm in llms}) == 4
    assert all(shape(run) == shape(runs[0]) and list(run.queries) == list(runs[0].queries) for run in runs)


def test_another_seed_may_give_another_data_set_but_the_same_one_each_time() -> None:
    llm = Jittery(0)
    asked = [QADataset.from_llm(pages(5), llm, seed=seed, progress=False).report for seed in (1, 1)]
    assert [report.seed for report in asked if isinstance(report, GenerationReport)] == [1, 1]


def test_a_chunk_that_fails_once_is_asked_again_and_no_other_is() -> None:
    with fault_server(Faults(fails_once=frozenset({3}))) as server:
        dataset = write(server, 8)
        assert Counter(entry.chunk for entry in server.done()) == {**dict.fromkeys(range(8), 1), 3: 2}
    assert (len(dataset), own_questions(dataset)) == (16, [])


def test_trap_9_one_chunk_that_fails_once_and_one_that_always_fails_put_no_question_on_a_wrong_chunk() -> None:
    with fault_server(Faults(fails_once=frozenset({1}), always_fails=frozenset({2}))) as server:
        dataset = write(server, 6, retries=2)
    assert own_questions(dataset) == []
    assert unaccounted(dataset) == set()
    (reason,) = report_of(dataset).failures.values()
    assert "The server had an error while processing your request." in reason
    assert reason.endswith("(after 3 tries)")


@pytest.mark.parametrize("concurrency", [1, 16])
def test_chunks_that_always_fail_do_not_stop_the_run_wherever_they_stand(concurrency: int) -> None:
    """Also where they are the last, so that no answer to another comes after them."""
    failing = frozenset({0, 7, 21, 22, 23})
    with fault_server(Faults(always_fails=failing)) as server:
        dataset = write(server, 24, retries=0, concurrency=concurrency)
    assert set(report_of(dataset).failures) == {f"c{number}" for number in failing}
    assert len(dataset) == 2 * 19


def test_equal_chunks_are_asked_about_once_and_all_of_them_are_answers() -> None:
    twins = [*pages(3), TextChunk(pages(3)[1].text, "twin")]
    with fault_server() as server:
        dataset = QADataset.from_llm(twins, openai_at(server.url), progress=False)
        assert sorted(entry.chunk or 0 for entry in server.done()) == [0, 1, 2]
    assert list(dataset.relevant_docs.values()).count(["c1", "twin"]) == 2
    assert report_of(dataset).asked == 6


def test_equal_chunks_without_a_question_have_a_reason_each() -> None:
    twins = [*pages(3), TextChunk(pages(3)[1].text, "twin")]
    with fault_server(Faults(always_fails=frozenset({1}))) as server:
        dataset = QADataset.from_llm(twins, openai_at(server.url), retries=0, progress=False)
    assert set(report_of(dataset).failures) == {"c1", "twin"}
    assert unaccounted(dataset) == set()


def test_a_cut_answer_keeps_its_whole_questions_and_the_rest_is_asked_for() -> None:
    with fault_server(Faults(cut=1.0)) as server:
        dataset = write(server, 6, num_questions_per_chunk=4)
        assert len(server.done("cut")) == 12
    assert report_of(dataset).stages["questions"].cut == 12
    assert 0 < len(dataset) < 24
    assert own_questions(dataset) == []


def test_a_refused_chunk_is_not_asked_again() -> None:
    with fault_server(Faults(refused=0.5)) as server:
        dataset = write(server, 20)
        n_refused = len(server.done("refused"))
        assert len(server.done()) == 20
    assert 0 < n_refused < 20
    assert list(report_of(dataset).failures.values()) == ["the LLM refused"] * n_refused
    assert report_of(dataset).stages["questions"].refused == n_refused


def test_prose_is_asked_again_in_other_words() -> None:
    """A careful server gives the same answer to the same prompt."""
    with fault_server(Faults(prose=0.5)) as server:
        dataset = write(server, 20, quality=None)
        assert paid_twice(server) == []
        n_prose = len(server.done("prose"))
    assert n_prose > 5
    assert len(dataset) > 2 * (20 - n_prose)


def test_prose_without_a_question_from_the_start_ends_the_run_before_more_is_paid_for() -> None:
    with fault_server(Faults(prose=1.0)) as server:
        with pytest.raises(Exception, match=r"None of the first 10 answers holds a question .* model and the prompt"):
            write(server, 300, concurrency=4)
        assert len(server.done()) < 20


def test_no_answer_at_all_says_why() -> None:
    with fault_server(Faults(refused=1.0)) as server, pytest.raises(Exception, match="first reason: the LLM refused"):
        write(server, 3)


def test_a_web_page_in_place_of_an_answer_stops_the_run() -> None:
    with fault_server(Faults(web_page=1.0)) as server:
        with pytest.raises(LLMRequestError, match="check base_url"):
            write(server, 50, concurrency=4)
        assert len(server.done()) <= 8
