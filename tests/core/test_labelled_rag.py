"""LlamaIndex's ``rag_dataset.json``: read by name and by its content, never written."""

import json
from pathlib import Path
from typing import Any

import pytest

from embedtune import DatasetError, QADataset, TextChunk
from embedtune.testing import tiny_dataset

EXAMPLE = {
    "query": "How?",
    "query_by": {"model_name": "gpt-4", "type": "ai"},
    "reference_contexts": ["Like {this}.", "Or thus."],
    "reference_answer": "So.",
    "reference_answer_by": None,
}


def write(path: Path, *examples: Any, start: str = "", **more: Any) -> Path:
    path.write_text(start + json.dumps({"examples": list(examples), **more}, indent=4), encoding="utf-8")
    return path


@pytest.mark.parametrize("format", [None, "labelled_rag"])
@pytest.mark.parametrize("start", ["", "\n  ", "\ufeff"])
def test_contexts_are_the_chunks_of_their_question(format: str | None, start: str, tmp_path: Path) -> None:
    dataset = QADataset.load(write(tmp_path / "rag_dataset.json", EXAMPLE, start=start), format=format)
    assert list(dataset.queries.values()) == ["How?"]
    assert dataset.corpus == {TextChunk.from_chunk(text).id: text for text in ("Like {this}.", "Or thus.")}
    assert list(dataset.relevant_docs.values()) == [list(dataset.corpus)]


def test_questions_of_one_text_are_one_query_with_all_contexts(tmp_path: Path) -> None:
    again = {"query": " How? ", "reference_contexts": ["Or thus.", "Else."]}
    dataset = QADataset.load(write(tmp_path / "set.json", EXAMPLE, again))
    assert [len(chunks) for chunks in dataset.relevant_docs.values()] == [3]


def test_ids_are_the_same_in_the_next_run(tmp_path: Path) -> None:
    path = write(tmp_path / "set.json", EXAMPLE)
    assert QADataset.load(path) == QADataset.load(path)


@pytest.mark.parametrize(
    "example",
    [{"query": "", "reference_contexts": ["a"]}, {"query": "why"}, {"query": "why", "reference_contexts": [""]}],
)
def test_an_example_without_question_or_context_is_dropped_and_named(
    example: dict[str, object], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert len(QADataset.load(write(tmp_path / "set.json", EXAMPLE, example))) == 1
    assert "set.json: dropped 1 examples without a question or a context: 'example 2'" in caplog.text


@pytest.mark.parametrize(
    "example",
    [
        7,
        {"query": 7},
        {"query": None},
        {"query": "a", "reference_contexts": "b"},
        {"query": "a", "reference_contexts": [1]},
    ],
)
def test_an_example_of_another_shape_names_its_place(example: object, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"set.json, example 2: must be an object with a str 'query' and a list"):
        QADataset.load(write(tmp_path / "set.json", EXAMPLE, example))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"examples": {', "is not a data set in JSON"),
        ('{"examples": {}}', "must hold an object with the list 'examples'"),
        ('{"examples": []}', "The data set is empty"),
        ('{"examples": ' + "[" * 100_000, "is not a data set in JSON"),
        ('{"other": 1, "examples": []}', r"'relevant_docs'\. It holds 'examples': say format='labelled_rag'"),
        ("5", "must hold an object with the objects 'queries'"),
    ],
)
def test_a_broken_file_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=message):
        QADataset.load(tmp_path / "set.json")


def test_where_another_key_comes_first_the_format_can_be_said(tmp_path: Path) -> None:
    (tmp_path / "set.json").write_text(json.dumps({"class_name": "x", "examples": [EXAMPLE]}), encoding="utf-8")
    assert len(QADataset.load(tmp_path / "set.json", format="labelled_rag")) == 1


def test_a_new_json_and_one_of_pairs_are_the_other_format(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "set.json")
    tiny_dataset().save(tmp_path / "set.json")
    assert QADataset.load(tmp_path / "set.json") == tiny_dataset()


@pytest.mark.parametrize("format", [None, "labelled_rag"])
def test_writing_is_refused_and_leaves_the_file(format: str | None, tmp_path: Path) -> None:
    path = write(tmp_path / "set.json", EXAMPLE)
    before = path.read_bytes()
    with pytest.raises(
        DatasetError, match=r"'labelled_rag' is for reading: .* Save to another path, or with format='json'"
    ):
        tiny_dataset().save(path, format=format)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.json"]


def test_a_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"'set.json' has no splits; got split='test'"):
        QADataset.load(write(tmp_path / "set.json", EXAMPLE), split="test")
