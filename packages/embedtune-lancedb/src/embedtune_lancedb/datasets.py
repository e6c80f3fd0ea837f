"""`QADataset` as a LanceDB folder: tables ``queries``, ``corpus``, ``relevant_docs``.

The columns ``id, query``, ``id, text`` and ``query_id, doc_id`` are those that LanceDB's own fine-tuning
branch wrote and reads; the further ones (``style``; ``document_id, metadata``; ``grade``) it ignores.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
from lancedb.db import DBConnection

from embedtune import DatasetError, QADataset

__all__ = ["load_lance", "save_lance"]

logger = logging.getLogger(__name__)

_ROWS_AT_ONCE = 1024
"""Rows of a batch that is written: bounds memory, and an Arrow array of str at 2 GiB."""

_QUERIES = pa.schema([("id", pa.string()), ("query", pa.string()), ("style", pa.string())])
_CORPUS = pa.schema(
    [("id", pa.string()), ("text", pa.string()), ("document_id", pa.string()), ("metadata", pa.string())]
)
_RELEVANT = pa.schema([("query_id", pa.string()), ("doc_id", pa.list_(pa.string())), ("grade", pa.list_(pa.float64()))])
_NEEDED = {"queries": ("id", "query"), "corpus": ("id", "text"), "relevant_docs": ("query_id", "doc_id")}


def save_lance(dataset: QADataset, folder: Path) -> None:
    """Write the tables into an existing, empty folder.

    Raises:
        DatasetError: If metadata cannot be made JSON, or an id is no Unicode.
    """
    database = lancedb.connect(str(folder))
    for name, schema, rows in (
        ("queries", _QUERIES, _query_rows(dataset)),
        ("corpus", _CORPUS, _corpus_rows(dataset)),
        ("relevant_docs", _RELEVANT, _relevance_rows(dataset)),
    ):
        _write(database, name, schema, rows)


def _write(database: DBConnection, name: str, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    refused: list[DatasetError] = []

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            yield from _batches(rows, schema)
        except DatasetError as error:
            refused.append(error)
            raise

    try:
        database.create_table(name, data=pa.RecordBatchReader.from_batches(schema, batches()))
    except Exception as error:
        # What the stream raises comes out of LanceDB as an error of its own, without type or cause.
        raise (refused[0] if refused else error) from None


def _query_rows(dataset: QADataset) -> Iterator[dict[str, Any]]:
    for query, text in dataset.queries.items():
        yield {"id": query, "query": text, "style": dataset.styles.get(query)}


def _corpus_rows(dataset: QADataset) -> Iterator[dict[str, Any]]:
    for chunk, text in dataset.corpus.items():
        metadata = dataset.metadata.get(chunk)
        yield {
            "id": chunk,
            "text": text,
            "document_id": dataset.documents[chunk],
            "metadata": _as_json(chunk, metadata) if metadata else None,
        }


def _relevance_rows(dataset: QADataset) -> Iterator[dict[str, Any]]:
    for query, chunks in dataset.relevant_docs.items():
        grades = dataset.grades.get(query)
        yield {
            "query_id": query,
            "doc_id": chunks,
            "grade": [grades.get(chunk, 1.0) for chunk in chunks] if grades else None,
        }


def _as_json(chunk: str, metadata: Mapping[str, Any]) -> str:
    try:
        return json.dumps({str(key): value for key, value in metadata.items()}, default=str)
    except (TypeError, ValueError) as error:
        raise DatasetError(f"The metadata of chunk {chunk!r} cannot be written as JSON: {error}.") from error


def _batches(rows: Iterable[dict[str, Any]], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    rows = iter(rows)
    while some := list(islice(rows, _ROWS_AT_ONCE)):
        try:
            yield pa.RecordBatch.from_pylist(some, schema=schema)
        except UnicodeEncodeError as error:
            raise DatasetError(f"The data set holds a text that is no Unicode: {error}.") from error


def load_lance(folder: Path, split: str | None = None) -> QADataset:
    """Read the folder, also one that LanceDB's branch wrote.

    That branch kept texts that were empty as null or as one space: such queries, and such chunks among the
    relevant ones, are dropped with a warning.

    Raises:
        DatasetError: If the folder or a table is missing or damaged, or an id stands twice with two texts.
    """
    if split is not None:
        raise DatasetError(f"A Lance folder has no splits; got split={split!r}. Save each split to its own folder.")
    if not folder.is_dir():  # connecting would make it
        raise DatasetError(f"There is no Lance folder at {str(folder)!r}. Give the path that QADataset.save wrote.")
    queries: dict[str, str] = {}
    styles: dict[str, str] = {}
    for row in _rows(folder, "queries"):
        _put(queries, row["id"], row["query"], "queries")
        if row.get("style"):
            styles[row["id"]] = row["style"]
    corpus: dict[str, str] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for row in _rows(folder, "corpus"):
        _put(corpus, row["id"], row["text"], "corpus")
        if known := _metadata(row):
            metadata[row["id"]] = known
    relevant, grades = _read_relevance(folder)
    _drop_blank(queries, corpus, relevant, grades)
    return QADataset(queries, corpus, relevant, metadata, styles, grades)


def _rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    needed = ", ".join(f"{table}.lance" for table in _NEEDED)
    if not (folder / f"{name}.lance").is_dir():
        raise DatasetError(f"{str(folder)!r} has no table {name!r}; a Lance data set needs {needed}.")
    try:
        read = lancedb.connect(str(folder)).open_table(name).to_arrow()
    except Exception as error:  # lancedb raises RuntimeError, ValueError or OSError, by what is damaged
        raise DatasetError(f"The table {name!r} in {str(folder)!r} cannot be read: {error}") from error
    if missing := [column for column in _NEEDED[name] if column not in read.column_names]:
        raise DatasetError(
            f"The table {name!r} in {str(folder)!r} has no column {missing[0]!r}; it has {read.column_names}."
        )
    for batch in read.to_batches(max_chunksize=_ROWS_AT_ONCE):
        yield from batch.to_pylist()


def _put(texts: dict[str, str], key: str, text: str | None, table: str) -> None:
    if texts.setdefault(key, text or "") != (text or ""):
        raise DatasetError(f"The table {table!r} has the id {key!r} twice, with two texts.")


def _metadata(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        known: dict[str, Any] = dict(json.loads(row.get("metadata") or "{}"))
    except (TypeError, ValueError) as error:
        raise DatasetError(f"The metadata of chunk {row['id']!r} is no JSON object: {error}.") from error
    if row.get("document_id") is not None:
        known.setdefault("document_id", row["document_id"])
    return known


def _read_relevance(folder: Path) -> tuple[dict[str, list[str]], dict[str, dict[str, float]]]:
    relevant: dict[str, list[str]] = {}
    grades: dict[str, dict[str, float]] = {}
    for row in _rows(folder, "relevant_docs"):
        chunks = [row["doc_id"]] if isinstance(row["doc_id"], str) else list(row["doc_id"] or ())
        relevant.setdefault(row["query_id"], []).extend(chunks)
        if row.get("grade"):
            grades.setdefault(row["query_id"], {}).update(zip(chunks, row["grade"], strict=True))
    return relevant, grades


def _drop_blank(
    queries: dict[str, str],
    corpus: Mapping[str, str],
    relevant: dict[str, list[str]],
    grades: dict[str, dict[str, float]],
) -> None:
    """Take out what the older writer kept of empty texts, in place."""
    blank = {chunk for chunk, text in corpus.items() if not text.strip()}
    dropped = [query for query, text in queries.items() if not text.strip()]
    for query, chunks in relevant.items():
        kept = [chunk for chunk in chunks if chunk not in blank]
        if len(kept) < len(chunks):
            relevant[query] = kept
            grades[query] = {chunk: grade for chunk, grade in grades.get(query, {}).items() if chunk not in blank}
            dropped += [] if kept else [query]
    for query in dict.fromkeys(dropped):
        for by_query in (queries, relevant, grades):
            by_query.pop(query, None)
    if dropped:
        logger.warning("dropped %d queries without text, or whose chunks have none", len(set(dropped)))
