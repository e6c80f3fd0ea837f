"""The judge: an LLM that drops what a chunk does not answer, and drops nothing where it cannot be understood."""

import json
import re
from pathlib import Path

import pytest

from embedtune import BaseLLM, GenerationReport, QADataset, QuestionQuality
from embedtune.errors import LLMRequestError
from fault_server import Faults, fault_server
from question_runs import answers, openai_at, prompt_in, said, write
from servers import Reply, Request, scripted_server


def numbered(prompt: str) -> list[str]:
    """The questions that a judge is shown."""
    return re.findall(r"^\d+\. (.*)$", prompt, re.MULTILINE)


def refusing(word: str) -> "Refusing":
    return Refusing(word)


class Refusing:
    """A judge that finds every question with a certain word unanswered."""

    def __init__(self, word: str) -> None:
        self.word = word

    def __call__(self, request: Request) -> Reply:
        verdicts = [self.word not in question for question in numbered(prompt_in(request))]
        return said(json.dumps({"answered": verdicts}))


def report_of(dataset: QADataset) -> GenerationReport:
    assert isinstance(dataset.report, GenerationReport)
    return dataset.report


def test_what_the_judge_refuses_is_dropped_and_counted() -> None:
    with fault_server() as server, scripted_server(refusing("leak")) as judge:
        plain = write(server, 30)
        judged = write(server, 30, quality=QuestionQuality(judge=openai_at(judge.base_url)))
    without = {key: text for key, text in plain.queries.items() if "leak" not in text}
    assert judged.queries == without
    n_dropped = len(plain) - len(without)
    assert n_dropped > 0
    assert report_of(judged).dropped == {"not answered by the chunk (judge)": n_dropped}


def test_the_judge_sees_the_chunk_and_all_its_questions_in_one_request() -> None:
    with fault_server() as server, scripted_server(refusing("nothing of the kind")) as judge:
        dataset = write(server, 4, quality=QuestionQuality(judge=openai_at(judge.base_url)))
        shown = [prompt_in(request) for request in judge.requests]
        schema = judge.requests[0].body["response_format"]["json_schema"]["schema"]
    assert len(shown) == 4
    for prompt in shown:
        (number,) = set(re.findall(r"chunk-number-(\d+)", prompt))
        own = [dataset.queries[query] for query, chunks in dataset.relevant_docs.items() if chunks == [f"c{number}"]]
        assert numbered(prompt) == own
        assert "never instructions to you" in prompt
    assert schema["properties"]["answered"]["minItems"] == 2


def test_a_chunk_that_loses_all_its_questions_has_that_reason() -> None:
    with fault_server() as server, scripted_server(refusing("item 2 ")) as judge:
        dataset = write(server, 4, quality=QuestionQuality(judge=openai_at(judge.base_url)))
    assert report_of(dataset).failures == {"c2": "not answered by the chunk (judge)"}


@pytest.mark.parametrize("text", ["Perhaps.", '{"answered": [true]}', "", '{"answered": "yes"}'])
def test_a_judgement_that_cannot_be_read_drops_nothing_and_is_counted(text: str) -> None:
    with fault_server() as server, scripted_server(lambda _: said(text)) as judge:
        dataset = write(server, 4, quality=QuestionQuality(judge=openai_at(judge.base_url)))
    assert len(dataset) == 8
    assert report_of(dataset).stages["judge"].unread == 4


def test_a_judge_that_fails_on_a_chunk_drops_nothing_there() -> None:
    with fault_server() as server, fault_server(Faults(always_fails=frozenset({1}))) as judge:
        dataset = write(server, 4, retries=0, quality=QuestionQuality(judge=openai_at(judge.url)))
    assert len(dataset) == 8
    assert report_of(dataset).stages["judge"].unread == 1
    assert report_of(dataset).failures == {}


def test_a_judge_with_a_wrong_key_stops_the_run_with_the_questions_that_are_there() -> None:
    with fault_server() as server, fault_server(Faults(api_key="another")) as judge:
        with pytest.raises(LLMRequestError, match="401") as caught:
            write(server, 4, quality=QuestionQuality(judge=openai_at(judge.url)))
        assert len(judge.done()) <= 4
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 8


def test_judgements_are_in_the_journal_too(tmp_path: Path) -> None:
    with fault_server() as server, scripted_server(refusing("leak")) as judge:
        judged = QuestionQuality(judge=openai_at(judge.base_url))
        first = write(server, 10, journal=tmp_path / "j", quality=judged)
        again = write(server, 10, journal=tmp_path / "j", quality=judged)
        assert (len(server.done()), len(judge.requests)) == (10, 10)
    assert again.queries == first.queries
    assert [record["stage"] for record in answers(tmp_path / "j")].count("judge") == 10


def test_a_judge_of_ones_own_is_one_method() -> None:
    class Strict(BaseLLM):
        def chat_completion(self, prompt: str) -> str:
            return "\n".join(f"{n}. {'no' if n == 1 else 'yes'}" for n in range(1, len(numbered(prompt)) + 1))

    with fault_server() as server:
        dataset = write(server, 5, quality=QuestionQuality(judge=Strict()))
    assert len(dataset) == 5
    assert report_of(dataset).dropped == {"not answered by the chunk (judge)": 5}
