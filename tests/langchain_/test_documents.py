"""LangChain's documents as chunks."""

import datetime
import json
import uuid
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document

from embedtune import DatasetError, PluginManager, QADataset, TextChunk
from embedtune.chunks import is_random_id
from embedtune.testing import TextChunkContract
from langchain_embedtune import text_chunk_of_document


class TestDocumentContract(TextChunkContract):
    def make(self, text: str, source: str) -> object:
        return Document(page_content=text, metadata={"source": f"/docs/{source}"})


def test_trap_3_a_document_without_id_gets_a_stable_one() -> None:
    """LangChain's splitters drop `Document.id`."""
    one, other = (text_chunk_of_document(Document("A text.", metadata={"source": "a.md"})) for _ in range(2))
    assert one == other
    assert not is_random_id(one.id)


def test_trap_3_a_random_id_stays_out_of_the_chunk_id() -> None:
    random = str(uuid.uuid4())
    chunk = TextChunk.from_langchain_node(Document("A text.", id=random, metadata={"source": "a.md"}))
    assert chunk.id == text_chunk_of_document(Document("A text.", metadata={"source": "a.md"})).id
    assert chunk.metadata["source_id"] == random


def test_a_stable_id_is_kept() -> None:
    assert text_chunk_of_document(Document("A text.", id="manual-7")).id == "manual-7"


def test_source_and_start_index_tell_equal_texts_apart() -> None:
    places = [{}, {"source": "a.md"}, {"source": "a.md", "start_index": 0}, {"source": "a.md", "start_index": 90}]
    ids = {text_chunk_of_document(Document("A text.", metadata=place)).id for place in places}
    assert len(ids) == len(places)


def test_the_folder_does_not_change_the_id() -> None:
    here, there = ({"source": f"{folder}/a.md"} for folder in ("/home/me/docs", "docs"))
    assert (
        text_chunk_of_document(Document("A", metadata=here)).id
        == text_chunk_of_document(Document("A", metadata=there)).id
    )


@pytest.mark.parametrize(
    ("metadata", "document"),
    [
        ({"source": "docs/a.md"}, "docs/a.md"),
        ({"document_id": "d1", "source": "docs/a.md"}, "d1"),
        ({"document_id": 7}, "7"),
        ({"document_id": str(uuid.uuid4()), "source": "docs/a.md"}, "docs/a.md"),
        ({"page": 3}, None),
    ],
)
def test_the_document_is_the_declared_one_or_the_source(metadata: dict[str, object], document: str | None) -> None:
    assert text_chunk_of_document(Document("A", metadata=metadata)).metadata.get("document_id") == document


def test_metadata_is_kept_and_the_document_stays_as_it_was() -> None:
    document = Document("A text.", metadata={"source": "a.md", "page": 3})
    assert text_chunk_of_document(document).metadata == {"source": "a.md", "page": 3, "document_id": "a.md"}
    assert document.metadata == {"source": "a.md", "page": 3}


def test_documents_go_straight_into_a_data_set() -> None:
    document = Document("Lance is a columnar format.", id="d1")
    dataset = QADataset.from_responses([document], {"q": "What is Lance?"}, {"q": ["d1"]})
    assert dataset.corpus == {"d1": "Lance is a columnar format."}


def test_the_class_itself_is_not_claimed() -> None:
    assert PluginManager().claim("embedtune_as_text_chunk", Document, metadata_mode="none") is None


def test_metadata_that_json_does_not_know_are_kept_and_saved_as_text(tmp_path: Path) -> None:
    day = datetime.date(2026, 1, 31)
    document = Document("A text.", id="d1", metadata={"day": day, "n": np.float32(0.5), "tags": {"nested": [day]}})
    dataset = QADataset.from_responses([document], {"q": "What?"}, {"q": ["d1"]})
    assert dataset.metadata["d1"] == document.metadata
    for name in ("set.json", "set.csv", "set"):
        dataset.save(tmp_path / name)
        saved = QADataset.load(tmp_path / name).metadata["d1"]
        assert saved == {"day": "2026-01-31", "n": "0.5", "tags": {"nested": ["2026-01-31"]}}, name


def _circle() -> dict[str, Any]:
    circle: dict[str, Any] = {}
    circle["itself"] = circle
    return circle


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({"page": {(1, 2): "a pair"}}, "'page' of the document 'A text.' cannot be saved: TypeError: keys must be str"),
        ({(1, 2): "a pair"}, r"\(1, 2\) of the document 'A text.' cannot be saved: TypeError: keys must be str"),
        ({"loop": _circle()}, "'loop' of the document 'A text.' cannot be saved: ValueError: Circular reference"),
    ],
)
def test_metadata_that_could_never_be_saved_are_refused_at_once(metadata: dict[Any, Any], reason: str) -> None:
    """Not after an LLM has been paid for questions on them."""
    with pytest.raises(DatasetError, match=reason):
        TextChunk.from_langchain_node(Document("A text.", metadata=metadata))
    with pytest.raises(TypeError if "keys" in reason else ValueError):
        json.dumps(metadata, default=str)


def test_trap_6_metadata_stay_out_of_the_text() -> None:
    """What LangChain's stores embed is page_content; training and evaluation read the same."""
    chunk = text_chunk_of_document(Document("A text.", metadata={"file_path": "/home/me/a.md", "title": "T"}))
    assert chunk.text == "A text."
