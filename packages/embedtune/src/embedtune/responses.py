"""Data sets of real queries whose answers are known: from mappings, and from the table of a search log."""

import logging
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Unpack

from embedtune.cleaning import CleaningOptions, clean_responses
from embedtune.cleaning_report import CleaningReport, Counted
from embedtune.columns import is_missing, read_table, text_cell
from embedtune.corpora import corpus_of
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.texts import text_hash

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["Columns", "dataset_of_responses", "dataset_of_table"]

logger = logging.getLogger(__name__)


class Columns(NamedTuple):
    """The columns of a table of queries and answers."""

    query: str
    chunk: str
    clicks: str | None
    grade: str | None
    query_id: str | None


def dataset_of_responses(
    docs: Iterable[object] | None,
    nodes: Iterable[object] | None,
    queries: Mapping[str, str] | None,
    relevant_docs: Mapping[str, Iterable[str] | Mapping[str, float]] | None,
    plugins: "PluginManager | None" = None,
    **cleaning: Unpack[CleaningOptions],
) -> QADataset:
    """See `QADataset.from_responses`."""
    if (docs is None) == (nodes is None):
        raise DatasetError("from_responses takes the chunks as docs=..., or by their older name nodes=..., not both.")
    if queries is None or relevant_docs is None:
        raise DatasetError("from_responses needs queries={id: text} and relevant_docs={query id: [chunk ids]}.")
    for name, value in (("queries", queries), ("relevant_docs", relevant_docs)):
        if not isinstance(value, Mapping):
            raise DatasetError(f"{name} must be a mapping by query id; got {type(value).__name__}.")
    corpus, metadata = corpus_of(nodes or () if docs is None else docs, plugins)
    cleaned = clean_responses(queries, relevant_docs, corpus, **cleaning)
    _log(cleaned.report)
    return QADataset(
        cleaned.queries, corpus, cleaned.relevant_docs, metadata, grades=cleaned.grades, report=cleaned.report
    )


def dataset_of_table(
    docs: Iterable[object],
    table: object,
    columns: Columns,
    plugins: "PluginManager | None" = None,
    **cleaning: Unpack[CleaningOptions],
) -> QADataset:
    """See `QADataset.from_table`."""
    if columns.grade and not columns.clicks and cleaning.get("min_clicks") is not None:
        raise DatasetError("min_clicks needs a column of clicks: clicks=... Grades are not clicks.")
    corpus, metadata = corpus_of(docs, plugins)
    log = _Log()
    values = read_table(table, [column for column in columns if column], plugins=plugins)
    for number in range(1, len(values[columns.query]) + 1):
        log.read({column: of_column[number - 1] for column, of_column in values.items()}, number, columns)
    if not log.queries:
        raise DatasetError(
            f"{_name(table)} holds no row with a query and a chunk in {len(values[columns.query])} rows."
        )
    pairs: Mapping[str, Iterable[str]] = {query: list(chunks) for query, chunks in log.clicks.items()}
    relevant = log.grades if columns.grade else pairs
    clicks = None if columns.grade and not columns.clicks else log.clicks
    cleaned = clean_responses(log.queries, relevant, corpus, clicks=clicks, **cleaning)
    dropped = {reason: Counted.of(rows) for reason, rows in log.dropped.items()}
    report = cleaned.report.model_copy(update={"dropped_rows": dropped})
    _log(report)
    return QADataset(cleaned.queries, corpus, cleaned.relevant_docs, metadata, grades=cleaned.grades, report=report)


class _Log:
    """The rows read so far; clicks of rows with one query and one chunk are added, of grades the highest counts."""

    def __init__(self) -> None:
        self.queries: dict[str, str] = {}
        self.clicks: dict[str, dict[str, float]] = {}
        self.grades: dict[str, dict[str, float]] = {}
        self.dropped: dict[str, list[str]] = {}

    def read(self, row: Mapping[str, Any], number: int, columns: Columns) -> None:
        """Add a row, or note why it says nothing."""
        for what, column in (("query", columns.query), ("chunk", columns.chunk)):
            if is_missing(row[column]) or not str(row[column]).strip():
                self.dropped.setdefault(f"without a {what}", []).append(f"row {number}")
                return
        text = text_cell(row[columns.query], columns.query, number)
        query = text_hash(text) if columns.query_id is None else _id(row, columns.query_id, number)
        if self.queries.setdefault(query, text) != text:
            raise DatasetError(
                f"Row {number}: the query id {query!r} stood before with another text, {self.queries[query][:60]!r}; "
                f"now {text[:60]!r}. Give each query its own id, or name no column of ids."
            )
        chunk = text_cell(row[columns.chunk], columns.chunk, number)
        # Without a column of clicks a row of the log is one click.
        clicks = 1.0 if columns.clicks is None else _number(row, columns.clicks, number)
        by_chunk = self.clicks.setdefault(query, {})
        by_chunk[chunk] = by_chunk.get(chunk, 0) + clicks
        if columns.grade is not None:
            grade, of_query = _number(row, columns.grade, number), self.grades.setdefault(query, {})
            of_query[chunk] = max(grade, of_query.get(chunk, grade))


def _id(row: Mapping[str, Any], column: str, number: int) -> str:
    if is_missing(row[column]) or not str(row[column]):
        raise DatasetError(f"Row {number} has no query id in the column {column!r}. Fill it, or name no such column.")
    return text_cell(row[column], column, number)


def _number(row: Mapping[str, Any], column: str, number: int) -> float:
    value = row[column]
    if is_missing(value):
        raise DatasetError(f"Row {number}, column {column!r}: the number is missing. Write 0, or leave out the row.")
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found):
        raise DatasetError(f"Row {number}, column {column!r}: expected a finite number; got {value!r:.80}.")
    return found


def _name(table: object) -> str:
    return repr(str(table)) if isinstance(table, str | Path) else f"The {type(table).__name__}"


def _log(report: CleaningReport) -> None:
    logger.log(logging.WARNING if report.dropped else logging.INFO, "%s", report)
