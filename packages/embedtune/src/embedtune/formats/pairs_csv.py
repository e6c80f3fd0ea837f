"""A table of pairs in CSV, one line each: a query and a chunk that answers it.

Columns ``query_id, query, chunk_id, chunk``, and ``document_id, style, grade`` where known. A line
without a query is a distractor. To be read, a file needs ``query`` and ``chunk`` alone: ids are then made
of the texts.
"""

import csv
from collections.abc import Iterator
from pathlib import Path

from embedtune.chunks import chunk_id
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.texts import text_hash

__all__ = ["load_csv", "save_csv"]

_COLUMNS = ["query_id", "query", "chunk_id", "chunk", "document_id", "style", "grade"]
_LARGEST_FIELD = 2**31 - 1


def save_csv(dataset: QADataset, path: Path) -> None:
    """Write the table. Of the metadata only ``document_id`` is kept."""
    answering = {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, _COLUMNS, restval="")
        writer.writeheader()
        for query, chunks in dataset.relevant_docs.items():
            for chunk in chunks:
                writer.writerow(
                    {
                        "query_id": query,
                        "query": dataset.queries[query],
                        "style": dataset.styles.get(query, ""),
                        "grade": dataset.grades.get(query, {}).get(chunk, ""),
                        **_chunk_cells(dataset, chunk),
                    }
                )
        for chunk in dataset.corpus:
            if chunk not in answering:
                writer.writerow(_chunk_cells(dataset, chunk))


def _chunk_cells(dataset: QADataset, chunk: str) -> dict[str, str]:
    return {"chunk_id": chunk, "chunk": dataset.corpus[chunk], "document_id": dataset.documents[chunk] or ""}


def load_csv(path: Path, split: str | None = None) -> QADataset:
    """Read the table.

    Raises:
        DatasetError: If a column is missing, a line has too many cells, or an id stands with two texts; named with
            its line.
    """
    csv.field_size_limit(_LARGEST_FIELD)
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    metadata: dict[str, dict[str, str]] = {}
    styles: dict[str, str] = {}
    grades: dict[str, dict[str, float]] = {}
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"query", "chunk"} - set(reader.fieldnames or ()):
            raise DatasetError(
                f"{path.name} has no column {' and '.join(map(repr, sorted(missing)))}; columns: {reader.fieldnames}."
            )
        for row in _rows(reader, path):
            text, question = row["chunk"] or "", row["query"] or ""
            chunk = row.get("chunk_id") or chunk_id(text)
            _put(corpus, chunk, text, path, reader.line_num)
            if row.get("document_id"):
                metadata[chunk] = {"document_id": row["document_id"]}
            if not question:
                continue
            query = row.get("query_id") or text_hash(question)
            _put(queries, query, question, path, reader.line_num)
            relevant.setdefault(query, []).append(chunk)
            if row.get("style"):
                styles[query] = row["style"]
            if row.get("grade"):
                grades.setdefault(query, {})[chunk] = _number(row["grade"], path, reader.line_num)
    return QADataset(queries, corpus, relevant, metadata, styles, grades)


def _rows(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    for row in reader:
        if None in row:
            raise DatasetError(
                f"{path.name}, line {reader.line_num}: more cells than columns; put texts with commas in quotes."
            )
        yield row


def _put(texts: dict[str, str], key: str, text: str, path: Path, line: int) -> None:
    if texts.setdefault(key, text) != text:
        raise DatasetError(f"{path.name}, line {line}: the id {key!r} stood before with another text.")


def _number(text: str, path: Path, line: int) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise DatasetError(f"{path.name}, line {line}: the grade {text!r} is no number.") from error
