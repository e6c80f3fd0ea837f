"""Users' own LLMs: one method on threads, or an asynchronous one; whatever they raise or return."""

import itertools
import threading
import time
from dataclasses import dataclass, field

import pytest

from embedtune import BaseLLM, GenerationReport, LLMAnswer, LLMRequest, QADataset
from embedtune.errors import GenerationError, LLMRequestError
from fault_texts import answer_text, chunk_number
from question_runs import own_questions, pages, unaccounted


class Threaded(BaseLLM):
    """Answers after a while, and counts how many wait at the same time."""

    def __init__(self, errors: dict[int, object] | None = None) -> None:
        self.errors = errors or {}
        self.lock = threading.Lock()
        self.n_open = self.most_open = self.n_asked = 0

    def chat_completion(self, prompt: str) -> str:
        with self.lock:
            self.n_asked += 1
            self.n_open += 1
            self.most_open = max(self.most_open, self.n_open)
        time.sleep(0.02)
        with self.lock:
            self.n_open -= 1
        found = self.errors.get(chunk_number(prompt) or 0)
        if isinstance(found, BaseException):
            raise found
        return answer_text(prompt, None) if found is None else found  # type: ignore[return-value]  # on purpose


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


@pytest.mark.parametrize("concurrency", [1, 5])
def test_a_synchronous_llm_is_asked_on_so_many_threads(concurrency: int) -> None:
    llm = Threaded()
    dataset = QADataset.from_llm(pages(30), llm, concurrency=concurrency, progress=False)
    assert llm.most_open == concurrency
    assert (len(dataset), own_questions(dataset)) == (60, [])


def test_tokens_that_an_llm_does_not_tell_are_estimated_from_above_and_said_to_be() -> None:
    spend = report_of(QADataset.from_llm(pages(3), Threaded(), progress=False)).stages["questions"]
    assert spend.tokens_estimated
    assert spend.prompt_tokens > 3 * 500
    assert "at most" in str(report_of(QADataset.from_llm(pages(3), Threaded(), progress=False)))


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (KeyError("choices"), "KeyError: 'choices'"),
        (GenerationError("not this one"), "not this one"),
        (LLMRequestError("too long", heals=False), "too long"),
        (StopIteration(), "chat_completion raised StopIteration"),
        (None.__class__, "the LLM returned a text of type; expected a str"),
        (b"bytes?", "the LLM returned a text of bytes; expected a str"),
    ],
    ids=["a mistake", "its author's decision", "no healing", "no answers left", "a type", "bytes"],
)
def test_whatever_goes_wrong_for_good_on_one_chunk_stays_with_it(found: object, reason: str) -> None:
    llm = Threaded({4: found})
    dataset = QADataset.from_llm(pages(9), llm, progress=False)
    assert report_of(dataset).failures == {"c4": reason}
    assert unaccounted(dataset) == set()
    assert llm.n_asked == 9, "none of these heals"


def test_an_error_of_the_network_is_tried_again() -> None:
    llm = Threaded({4: ConnectionResetError("gone")})
    dataset = QADataset.from_llm(pages(9), llm, retries=1, progress=False)
    assert report_of(dataset).failures == {"c4": "ConnectionResetError: gone (after 2 tries)"}
    assert llm.n_asked == 10


@dataclass
class Asynchronous(BaseLLM):
    """As a user may write it: a dataclass, which has no hash."""

    answers: dict[int, object] = field(default_factory=dict)
    n_closed: int = 0
    requests: list[LLMRequest] = field(default_factory=list)
    refused: tuple[bool, bool] = (False, False)

    def chat_completion(self, prompt: str) -> str:
        raise AssertionError("the asynchronous way goes first")

    async def acomplete(self, request: LLMRequest) -> LLMAnswer:
        self.requests.append(request)
        if (request.schema and self.refused[0]) or (request.json_object and self.refused[1]):
            raise LLMRequestError("unknown parameter response_format", status=400)
        found = self.answers.get(chunk_number(request.prompt) or 0)
        if found is not None:
            return found  # type: ignore[return-value]  # on purpose
        return LLMAnswer(text=answer_text(request.prompt, None), prompt_tokens=5, completion_tokens=5)

    async def aclose(self) -> None:
        self.n_closed += 1


def test_an_llm_without_a_hash_is_asked_all_the_same() -> None:
    llm = Asynchronous(refused=(True, True))
    assert len(QADataset.from_llm(pages(4), llm, concurrency=1, progress=False)) == 8
    assert [bool(request.schema) for request in llm.requests] == [True] + [False] * 5


def test_it_is_closed_once_a_stage() -> None:
    llm = Asynchronous()
    QADataset.from_llm(pages(4), llm, progress=False)
    assert llm.n_closed == 1


@pytest.mark.parametrize("found", ["a str", LLMAnswer(text=None), 5], ids=repr)  # type: ignore[arg-type]
def test_an_answer_that_is_none_stays_with_its_chunk(found: object) -> None:
    dataset = QADataset.from_llm(pages(4), Asynchronous({2: found}), progress=False)
    assert list(report_of(dataset).failures) == ["c2"]
    assert "the LLM returned" in report_of(dataset).failures["c2"]


def test_many_more_chunks_than_threads_take_turns() -> None:
    llm = Threaded()
    counted = itertools.count()
    nodes = (page for page in pages(50) if next(counted) >= 0)  # a generator is enough
    assert len(QADataset.from_llm(nodes, llm, concurrency=32, progress=False)) == 100
    assert 16 < llm.most_open <= 32
