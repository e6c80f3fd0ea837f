"""A data set as a table of pairs, one row each: a query and a chunk that answers it.

Columns ``query_id, query, chunk_id, chunk``, and ``document_id, metadata, style, grade`` where known;
``metadata`` is a JSON object. A row without a query is a distractor. To be read, a table needs ``query`` and
``chunk`` alone: ids are then made of the texts.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from embedtune.chunks import chunk_id
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.texts import text_hash

__all__ = ["COLUMNS", "NEEDED", "dataset_of_pairs", "pair_rows"]

COLUMNS = ("query_id", "query", "chunk_id", "chunk", "document_id", "style", "grade", "metadata")
"""All columns, in their order; ``grade`` holds numbers, the others texts."""
NEEDED = ("query", "chunk")
"""The columns without which a table is no data set."""


def pair_rows(dataset: QADataset) -> Iterator[dict[str, str | float]]:
    """The rows of a data set; what is not known is left out.

    Raises:
        DatasetError: If metadata cannot be written as JSON.
    """
    answering = {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}
    for query, chunks in dataset.relevant_docs.items():
        for chunk in chunks:
            row: dict[str, str | float] = {"query_id": query, "query": dataset.queries[query]}
            if style := dataset.styles.get(query):
                row["style"] = style
            if (grade := dataset.grades.get(query, {}).get(chunk)) is not None:
                row["grade"] = grade
            yield {**row, **_chunk_cells(dataset, chunk)}
    for chunk in dataset.corpus:
        if chunk not in answering:
            yield dict(_chunk_cells(dataset, chunk))


def _chunk_cells(dataset: QADataset, chunk: str) -> dict[str, str]:
    cells = {"chunk_id": chunk, "chunk": dataset.corpus[chunk]}
    metadata = {str(key): value for key, value in dataset.metadata.get(chunk, {}).items()}
    if document := dataset.documents[chunk]:
        cells["document_id"] = document
    if document and metadata.get("document_id") == document:
        del metadata["document_id"]
    if metadata:
        try:
            cells["metadata"] = json.dumps(metadata, default=str)
        except (TypeError, ValueError) as error:
            raise DatasetError(f"The metadata of chunk {chunk!r} cannot be written as JSON: {error}.") from error
    return cells


def dataset_of_pairs(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> QADataset:
    """The data set of a table's rows.

    Args:
        rows: Each with its place, as messages name it: ``"set.csv, line 3"``. An empty text counts as none.

    Raises:
        DatasetError: If an id stands with two texts, a grade is no number, or metadata is no JSON object.
    """
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    metadata: dict[str, dict[str, Any]] = {}
    styles: dict[str, str] = {}
    grades: dict[str, dict[str, float]] = {}
    for place, row in rows:
        text, question = row.get("chunk") or "", row.get("query") or ""
        chunk = row.get("chunk_id") or chunk_id(text)
        _put(corpus, chunk, text, place)
        if chunk not in metadata and (known := _metadata(row, place)):
            metadata[chunk] = known
        if not question:
            continue
        query = row.get("query_id") or text_hash(question)
        _put(queries, query, question, place)
        relevant.setdefault(query, []).append(chunk)
        if row.get("style"):
            styles[query] = row["style"]
        if row.get("grade") not in (None, ""):
            grades.setdefault(query, {})[chunk] = _number(row["grade"], place)
    return QADataset(queries, corpus, relevant, metadata, styles, grades)


def _put(texts: dict[str, str], key: str, text: str, place: str) -> None:
    if texts.setdefault(key, text) != text:
        raise DatasetError(f"{place}: the id {key!r} stood before with another text.")


def _metadata(row: Mapping[str, Any], place: str) -> dict[str, Any]:
    try:
        known: dict[str, Any] = dict(json.loads(row.get("metadata") or "{}"))
    except (TypeError, ValueError, RecursionError) as error:
        raise DatasetError(f"{place}: the metadata {row['metadata']!r:.80} is no JSON object.") from error
    if row.get("document_id"):
        known.setdefault("document_id", row["document_id"])
    return known


def _number(value: object, place: str) -> float:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise DatasetError(f"{place}: the grade {value!r:.80} is no number.") from error
