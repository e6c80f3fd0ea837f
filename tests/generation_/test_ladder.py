"""The shape of answers: a schema, some JSON, plain text; as much as a server can do, learnt once."""

import json
from collections import Counter
from pathlib import Path

import pytest

from embedtune import QADataset, QuestionQuality
from embedtune.errors import LLMRequestError
from fault_server import Faults, fault_server
from question_runs import answer_to, chunk_of, openai_at, own_questions, pages, prompt_in, said, write
from servers import Reply, Request, scripted_server


def format_of(request: Request) -> str:
    return str(request.body.get("response_format", {}).get("type", "text"))


def refusing(*formats: str, status: int = 400) -> "Refusing":
    return Refusing(formats, status)


class Refusing:
    """A server that does not know some formats."""

    def __init__(self, formats: tuple[str, ...], status: int) -> None:
        self.formats, self.status = formats, status

    def __call__(self, request: Request) -> Reply:
        kind = format_of(request)
        error = {"message": f"Unknown response_format {kind}."}
        return Reply({"error": error}, self.status) if kind in self.formats else answer_to(request)


def test_a_schema_is_asked_for_first() -> None:
    with scripted_server(answer_to) as server:
        QADataset.from_llm(pages(1), openai_at(server.base_url), num_questions_per_chunk=3, progress=False)
        (request,) = server.requests
    shape = request.body["response_format"]["json_schema"]
    assert shape["strict"]
    assert shape["schema"]["required"] == ["questions"]
    assert (shape["schema"]["properties"]["questions"]["minItems"],) == (3,)


@pytest.mark.parametrize(
    ("formats", "asked"),
    [
        ([], {"json_schema": 5}),
        (["json_schema"], {"json_schema": 1, "json_object": 5}),
        (["json_schema", "json_object"], {"json_schema": 1, "json_object": 1, "text": 5}),
    ],
)
def test_what_a_server_refuses_is_asked_for_once(formats: list[str], asked: dict[str, int]) -> None:
    with scripted_server(refusing(*formats)) as server:
        dataset = QADataset.from_llm(pages(5), openai_at(server.base_url), concurrency=1, progress=False)
        assert Counter(map(format_of, server.requests)) == asked
    assert (len(dataset), own_questions(dataset)) == (10, [])


@pytest.mark.parametrize("status", [400, 415, 422, 501])
def test_servers_refuse_a_format_with_different_statuses(status: int) -> None:
    with scripted_server(refusing("json_schema", "json_object", status=status)) as server:
        dataset = QADataset.from_llm(pages(3), openai_at(server.base_url), concurrency=1, progress=False)
        assert [format_of(request) for request in server.requests] == ["json_schema", "json_object", *["text"] * 3]
    assert len(dataset) == 6


def test_what_was_learnt_holds_for_the_next_stage_and_the_next_call() -> None:
    with fault_server(Faults(refuses_schema=True, prose=0.3)) as server:
        llm = openai_at(server.url)
        write(server, 10, llm, concurrency=1)
        write(server, 10, llm, concurrency=1, seed=1)
        assert len(server.done("refused_format")) == 1


def test_with_many_in_flight_each_steps_down_once_at_most() -> None:
    with fault_server(Faults(refuses_schema=True, refuses_json_object=True, latency=0.02)) as server:
        dataset = write(server, 60, concurrency=16)
        assert len(server.done("refused_format")) <= 2 * 16
    assert (len(dataset), own_questions(dataset)) == (120, [])


def test_an_ignored_schema_is_no_trouble() -> None:
    """Trap 12: some local servers take a schema and answer in lines."""
    with fault_server(Faults(ignores_schema=True)) as server:
        dataset = write(server, 5)
        assert len(server.done()) == 5
    assert (len(dataset), own_questions(dataset)) == (10, [])


@pytest.mark.parametrize("formats", [[], ["json_schema"], ["json_schema", "json_object"]])
def test_keyword_queries_come_through_every_shape(formats: list[str]) -> None:
    def answer(request: Request) -> Reply:
        number = chunk_of(request)
        told = {
            "questions": [f"Why does item {number} leak?"],
            "keyword_queries": [f"copper valve item {number}"],
        }
        text = f"Why does item {number} leak?\nkeywords: copper valve item {number}"
        return said(text if format_of(request) == "text" else json.dumps(told))

    def server_answer(request: Request) -> Reply:
        found = refusing(*formats)(request)
        return found if found.status != 200 else answer(request)

    styles = QuestionQuality(styles={"natural": 0.5, "keyword": 0.5})
    with scripted_server(server_answer) as server:
        dataset = QADataset.from_llm(pages(3), openai_at(server.base_url), quality=styles, progress=False)
    assert Counter(dataset.styles.values()) == {"natural": 3, "keyword": 3}
    for query, style in dataset.styles.items():
        assert ("copper valve" in dataset.queries[query]) == (style == "keyword")


def test_each_shape_is_told_in_words_too() -> None:
    """json_object wants the word JSON in the prompt, and plain text has nothing else."""
    with scripted_server(refusing("json_schema", "json_object")) as server:
        QADataset.from_llm(pages(1), openai_at(server.base_url), progress=False)
        prompts = [prompt_in(request) for request in server.requests]
    schema, some_json, lines = (prompt.rstrip("\n").rpartition("\n")[2] for prompt in prompts)
    assert schema == some_json, "a server may take the schema and not heed it"
    assert "JSON" in some_json
    assert '"questions"' in some_json
    assert "JSON" not in lines
    assert "per line" in lines


def test_a_refusal_of_everything_is_told_after_the_last_shape() -> None:
    with scripted_server(refusing("json_schema", "json_object", "text")) as server:
        with pytest.raises(LLMRequestError, match="Unknown response_format text"):
            QADataset.from_llm(pages(9), openai_at(server.base_url), concurrency=1, progress=False)
        assert len(server.requests) == 3


def test_the_shape_is_not_part_of_what_the_journal_knows_an_answer_by(tmp_path: Path) -> None:
    with fault_server(Faults(refuses_schema=True)) as server:
        write(server, 4, journal=tmp_path / "j")
        n_before = len(server.done())
        write(server, 4, openai_at(server.url), journal=tmp_path / "j")
        assert len(server.done()) == n_before
