"""The report's tables, as the HTML page and the Markdown text both show them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from embedtune.comparison import Comparison, ComparisonRow, SliceRow
from embedtune.overview import Lengths, Overview
from embedtune.report.ranks import Curve, Movement

__all__ = [
    "Interval",
    "Table",
    "curve_table",
    "dataset_tables",
    "main_table",
    "metric_table",
    "movement_table",
    "p_value",
    "settings_table",
    "slice_table",
]


class _Column(NamedTuple):
    head: str
    cell: Callable[[ComparisonRow], str]


_MAIN = (("hit_rate", 1), ("mrr", 10), ("ndcg", 10), ("recall", 10))
_INTERVAL = "95% interval"
_SMALLEST_P = 0.0001
_CURVE_STEPS = (1, 2, 3, 4, 5, 10, 15, 20)


@dataclass(frozen=True)
class Interval:
    """A difference with its 95% interval, to be drawn."""

    low: float
    difference: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Table:
    """Cells as text."""

    columns: tuple[str, ...]
    """Heads."""
    rows: tuple[tuple[str, ...], ...]
    """One cell for each column."""
    n_names: int = 1
    """The first columns that name the row; the others are figures."""
    intervals: tuple[Interval, ...] = ()
    """One for each row, if there are any; to be drawn behind the column ``95% interval``."""
    decides: int | None = None
    """Which row the verdict is about."""

    @property
    def drawn_behind(self) -> int | None:
        """The column behind which the intervals are drawn; None if there are none."""
        return self.columns.index(_INTERVAL, self.n_names + 2) if self.intervals else None

    @property
    def reach(self) -> tuple[float, float]:
        """What a drawing of the intervals must hold: all of them, and 0."""
        low = min((drawn.low for drawn in self.intervals), default=0.0)
        high = max((drawn.high for drawn in self.intervals), default=0.0)
        return min(low, 0.0), max(high, 0.0)

    @property
    def is_grouped(self) -> bool:
        """Whether rows follow each other that begin alike."""
        return any(one[0] == other[0] for one, other in pairwise(self.rows))


def main_table(comparison: Comparison, names: tuple[str, str]) -> Table:
    """The metrics that most readers look for, the one that decides among them."""
    shown = {("hit_rate", comparison.top_k), *_MAIN}
    return _metrics(comparison, names, [row for row in comparison.rows if (row.metric, row.k) in shown])


def metric_table(comparison: Comparison, names: tuple[str, str]) -> Table:
    """All metrics at all cut-offs."""
    return _metrics(comparison, names, comparison.rows)


def _metrics(comparison: Comparison, names: tuple[str, str], rows: Sequence[ComparisonRow]) -> Table:
    named = [_Column("search", lambda row: row.query_type)] if len(comparison.evaluations) > 1 else []
    named.append(_Column("metric", lambda row: f"{row.metric}@{row.k}"))
    columns = [*named, *_figures(names, rows)]
    decides = comparison.row(comparison.primary, "hit_rate", comparison.top_k)
    return Table(
        columns=tuple(column.head for column in columns),
        rows=tuple(tuple(column.cell(row) for column in columns) for row in rows),
        n_names=len(named),
        intervals=tuple(Interval(row.low, row.difference, row.high) for row in rows),
        decides=next((place for place, row in enumerate(rows) if row == decides), None),
    )


def _figures(names: tuple[str, str], rows: Sequence[ComparisonRow]) -> Iterator[_Column]:
    yield _Column(names[0], lambda row: f"{row.base:.3f}")
    yield _Column(names[1], lambda row: f"{row.tuned:.3f}")
    yield _Column("difference", lambda row: f"{row.difference:+.3f}")
    yield _Column(_INTERVAL, lambda row: f"{row.low:+.3f} to {row.high:+.3f}")
    yield _Column("p", lambda row: p_value(row.p))
    if any(row.p_holm is not None for row in rows):
        yield _Column("p (Holm)", lambda row: p_value(row.p_holm))
    if any(row.wins or row.losses or row.ties for row in rows):
        yield _Column("better / worse / equal", lambda row: f"{row.wins} / {row.losses} / {row.ties}")


def p_value(p: float | None) -> str:
    """A p value to four digits; empty where there is none.

    >>> p_value(0.04), p_value(1e-9), p_value(None)
    ('0.0400', '<0.0001', '')
    """
    if p is None:
        return ""
    return f"{p:.4f}" if p >= _SMALLEST_P else f"<{_SMALLEST_P}"


def slice_table(comparison: Comparison, names: tuple[str, str]) -> Table:
    """The primary metric on parts of the questions."""
    rows = comparison.slices
    return Table(
        columns=("part", "", "search", "questions", "documents", *names, "difference", _INTERVAL),
        rows=tuple(map(_slice_cells, rows)),
        n_names=3,
        intervals=tuple(Interval(row.low, row.difference, row.high) for row in rows),
    )


def _slice_cells(row: SliceRow) -> tuple[str, ...]:
    counts = (f"{row.n_queries:,}", f"{row.n_clusters:,}")
    figures = (f"{row.base:.3f}", f"{row.tuned:.3f}", f"{row.difference:+.3f}", f"{row.low:+.3f} to {row.high:+.3f}")
    return (row.slice, row.value, row.query_type, *counts, *figures)


def curve_table(curves: Mapping[str, Curve], names: tuple[str, str]) -> Table:
    """Hit rate over k of each query type and model."""
    deepest = max(len(curve.base_hit_rate) for curve in curves.values())
    steps = [k for k in _CURVE_STEPS if k <= deepest]
    rows = []
    for query_type, curve in curves.items():
        for name, rates in zip(names, (curve.base_hit_rate, curve.tuned_hit_rate), strict=True):
            rows.append((query_type, name, *(f"{rates[k - 1]:.3f}" if k <= len(rates) else "" for k in steps)))
    return Table(columns=("search", "model", *(f"k={k}" for k in steps)), rows=tuple(rows), n_names=2)


def movement_table(movement: Movement, names: tuple[str, str]) -> Table:
    """Questions by the base model's ranks (down) and the tuned model's (across)."""
    bands = [str(band) for band in movement.bands]
    rows = (
        (band, *(str(count) if count else "" for count in counts))
        for band, counts in zip(bands, movement.counts, strict=True)
    )
    return Table(columns=(f"{names[0]} ↓ {names[1]} →", *bands), rows=tuple(rows))


def dataset_tables(found: Overview) -> Iterator[tuple[str, Table]]:
    """Title and table of how much there is, how long it is and what repeats."""
    yield "Size", _pairs("", "number", _sizes(found))
    lengths = {
        "question, characters": found.query_characters,
        "question, words": found.query_words,
        "chunk, characters": found.chunk_characters,
        "chunk, words": found.chunk_words,
    }
    rows = tuple((name, *_length_cells(of)) for name, of in lengths.items())
    yield "Lengths", Table(columns=("", "median", "95% are shorter than", "longest"), rows=rows)
    repeated = (
        ("questions", f"{found.equal_queries:,}", f"{found.near_equal_queries:,}"),
        ("chunks", f"{found.equal_chunks:,}", f"{found.near_equal_chunks:,}"),
    )
    yield "Duplicates", Table(columns=("", "equal to one before", "nearly equal to one before"), rows=repeated)
    parts = ("a quarter of the questions", "half of the questions", "three quarters of the questions")
    shared = tuple((part, f"{share:.0%}") for part, share in zip(parts, found.overlap_quartiles, strict=True))
    yield "Overlap", Table(columns=("", "words in the chunk, at most"), rows=shared)
    if found.styles:
        yield "Styles", _pairs("style", "questions", found.styles.items())


def _sizes(found: Overview) -> Iterator[tuple[str, int]]:
    yield "questions", found.queries
    yield "chunks", found.chunks
    yield "pairs of a question and a chunk that answers it", found.pairs
    yield "chunks that answer no question", found.distractors
    yield "questions with several answers", found.queries_with_several_answers
    if found.graded_queries:
        yield "questions with graded answers", found.graded_queries
    yield "documents", found.documents
    if found.chunks_without_document:
        yield "chunks whose document is not known", found.chunks_without_document


def _length_cells(lengths: Lengths) -> tuple[str, ...]:
    return tuple(f"{value:,.0f}" for value in (lengths.median, lengths.percentile_95, lengths.longest))


def _pairs(first: str, second: str, counts: Iterable[tuple[str, int]]) -> Table:
    return Table(columns=(first, second), rows=tuple((name, f"{count:,}") for name, count in counts))


def settings_table(settings: Mapping[str, Any]) -> Table:
    """What was compared and with what, nested settings under a dotted name."""
    return Table(columns=("setting", "value"), rows=tuple(_flat(settings)), n_names=2)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, str]]:
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", _told(value)


def _told(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_told, value))
    return str(value)
