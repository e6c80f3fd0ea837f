"""BEIR's folder: ``corpus.jsonl``, ``queries.jsonl``, ``qrels/<split>.tsv``.

A chunk's text is title, newline, text, stripped, as BEIR's own models embed it. Layout:
Thakur et al., BEIR, NeurIPS 2021, https://github.com/beir-cellar/beir.
"""

import csv
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embedtune.dataset import QADataset
from embedtune.errors import DatasetError

__all__ = ["is_beir", "is_our_beir", "load_beir", "save_beir"]

logger = logging.getLogger(__name__)

_HEADER = ["query-id", "corpus-id", "score"]
_DEFAULT_SPLIT = "test"


def is_beir(path: Path) -> bool:
    """Whether a folder holds a BEIR data set."""
    return (path / "corpus.jsonl").is_file()


def is_our_beir(folder: Path) -> bool:
    """Whether a folder holds no more than `save_beir` writes: replacing it loses no other split and no README."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*")}
    return is_beir(folder) and names <= {"corpus.jsonl", "queries.jsonl", "qrels", f"qrels/{_DEFAULT_SPLIT}.tsv"}


def save_beir(dataset: QADataset, folder: Path) -> None:
    """Write the folder, all queries as the split ``test``.

    Raises:
        DatasetError: If an id holds a tab or a line break, which the judgments cannot carry.
    """
    ids = (*dataset.queries, *dataset.corpus)
    if unfit := next((name for name in ids if any(mark in name for mark in "\t\n\r")), None):
        raise DatasetError(f"BEIR's judgments cannot hold the id {unfit!r}: it has a tab or a line break.")
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for chunk, text in dataset.corpus.items():
            row = {"_id": chunk, "title": "", "text": text, "metadata": dict(dataset.metadata.get(chunk, {}))}
            file.write(json.dumps(row, ensure_ascii=False, default=str) + "\n")
    with open(folder / "queries.jsonl", "w", encoding="utf-8") as file:
        for query, text in dataset.queries.items():
            style = {"style": dataset.styles[query]} if query in dataset.styles else {}
            file.write(json.dumps({"_id": query, "text": text, "metadata": style}, ensure_ascii=False) + "\n")
    (folder / "qrels").mkdir()
    with open(folder / "qrels" / f"{_DEFAULT_SPLIT}.tsv", "w", encoding="utf-8", newline="") as file:
        file.write("\t".join(_HEADER) + "\n")
        for query, chunks in dataset.relevant_docs.items():
            for chunk in chunks:
                grade = float(dataset.grades.get(query, {}).get(chunk, 1))
                # No quotes around ids: readers of this file know none.
                file.write(f"{query}\t{chunk}\t{int(grade) if grade.is_integer() else grade}\n")


def load_beir(folder: Path, split: str | None = None) -> QADataset:
    """Read one split: its queries, and the whole corpus.

    Raises:
        DatasetError: If a file is missing or a line cannot be read; named with its number.
    """
    qrels = folder / "qrels" / f"{split or _DEFAULT_SPLIT}.tsv"
    if not qrels.is_file():
        there = ", ".join(repr(path.stem) for path in sorted(folder.glob("qrels/*.tsv"))) or "none"
        raise DatasetError(
            f"{str(folder)!r} has no split {split or _DEFAULT_SPLIT!r}; splits: {there}. Say one with split=..."
        )
    grades = _read_qrels(qrels)
    corpus: dict[str, str] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for line, row in _rows(folder / "corpus.jsonl"):
        text = f"{row.get('title') or ''}\n{row.get('text') or ''}".strip()
        _put(corpus, row, text, folder / "corpus.jsonl", line)
        if known := _metadata(row):
            metadata[row["_id"]] = known
    queries: dict[str, str] = {}
    styles: dict[str, str] = {}
    for line, row in _rows(folder / "queries.jsonl"):
        if row["_id"] in grades:
            _put(queries, row, str(row.get("text") or ""), folder / "queries.jsonl", line)
            if style := _metadata(row).get("style"):
                styles[row["_id"]] = style
    graded = {q: by_chunk for q, by_chunk in grades.items() if any(grade != 1 for grade in by_chunk.values())}
    return QADataset(
        queries, corpus, {query: list(chunks) for query, chunks in grades.items()}, metadata, styles, graded
    )


def _metadata(row: dict[str, Any]) -> dict[str, Any]:
    found = row.get("metadata")
    return found if isinstance(found, dict) else {}


def _put(texts: dict[str, str], row: dict[str, Any], text: str, path: Path, line: int) -> None:
    if texts.setdefault(row["_id"], text) != text:
        raise DatasetError(f"{path.name}, line {line}: the id {row['_id']!r} stood before with another text.")


def _rows(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    if not path.is_file():
        raise DatasetError(f"There is no {str(path)!r}; a BEIR folder needs corpus.jsonl, queries.jsonl and qrels/.")
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except ValueError as error:
                raise DatasetError(f"{path.name}, line {number}: not JSON ({error}).") from error
            if not isinstance(row, dict) or not isinstance(row.get("_id"), str):
                raise DatasetError(
                    f"{path.name}, line {number}: must be an object with a str '_id'; got {line.strip()[:80]!r}."
                )
            yield number, row


def _read_qrels(path: Path) -> dict[str, dict[str, float]]:
    """Relevance above 0 by query and chunk; a judgment of 0 says that a chunk is not relevant."""
    grades: dict[str, dict[str, float]] = {}
    with open(path, encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
            if not row:
                continue
            grade = _grade(row)
            if grade is None and number == 1:
                continue
            if grade is None:
                raise DatasetError(f"{path.name}, line {number}: expected query id, chunk id and score; got {row!r}.")
            if number == 1:
                logger.warning("%s has no header line; its first line is read as a judgment", path.name)
            if grade > 0:
                grades.setdefault(row[0], {})[row[1]] = grade
    return grades


def _grade(row: list[str]) -> float | None:
    try:
        return float(row[2]) if len(row) == 3 else None
    except ValueError:
        return None
