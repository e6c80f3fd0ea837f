"""What became of every query and every pair when real queries were cleaned."""

from collections.abc import Iterable, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["CleaningReport", "Counted", "Tally"]

_EXAMPLES = 5


class Counted(BaseModel):
    """How many, and which the first ones were."""

    model_config = ConfigDict(frozen=True)

    count: int
    """How many."""
    examples: tuple[str, ...] = ()
    """Ids of the first five: query ids, ``query id -> chunk id``, or ``row 7``."""

    @classmethod
    def of(cls, ids: Iterable[str]) -> "Counted":
        """Count ids.

        >>> Counted.of(f"q{i}" for i in range(9))
        Counted(count=9, examples=('q0', 'q1', 'q2', 'q3', 'q4'))
        """
        ids = list(ids)
        return cls(count=len(ids), examples=tuple(ids[:_EXAMPLES]))


class CleaningReport(BaseModel):
    """How real queries were cleaned. It is saved beside the data set, and loaded with it.

    ``queries_given`` is the sum of those kept, merged and dropped; ``pairs_given`` of those kept and dropped.
    """

    model_config = ConfigDict(frozen=True)

    kind: Literal["cleaning"] = "cleaning"
    queries_given: int
    """Queries before cleaning; of a table, distinct ones."""
    queries_kept: int
    """Queries in the data set."""
    pairs_given: int
    """Answers of all queries before cleaning; of a table, distinct pairs of query and chunk."""
    pairs_kept: int
    """Answers in the data set."""
    merged: Counted = Counted(count=0)
    """Queries that became one with an earlier query of equal text."""
    dropped_queries: Mapping[str, Counted] = Field(default_factory=dict)
    """Queries dropped, by reason."""
    dropped_pairs: Mapping[str, Counted] = Field(default_factory=dict)
    """Answers dropped, by reason; also those that went with their query, or stood twice after merging."""
    dropped_rows: Mapping[str, Counted] = Field(default_factory=dict)
    """Rows of a table without a query or without a chunk, by reason."""
    filtered_by: tuple[str, ...] = ()
    """Fingerprints of the embedders that chose among the queries; they must not be judged on these."""

    @property
    def dropped(self) -> bool:
        """Whether anything was dropped."""
        return bool(self.dropped_queries or self.dropped_rows or set(self.dropped_pairs) - {"stood twice"})

    def __str__(self) -> str:
        """One line for a terminal or a log."""
        told = [
            f"kept {self.queries_kept} of {_number(self.queries_given, 'query', 'queries')} and {self.pairs_kept} of "
            f"{_number(self.pairs_given, 'pair', 'pairs')}"
        ]
        if self.merged.count:
            told.append(f"merged {_number(self.merged.count, 'query', 'queries')} of equal text")
        kinds = (
            (self.dropped_rows, "row", "rows"),
            (self.dropped_queries, "query", "queries"),
            (self.dropped_pairs, "pair", "pairs"),
        )
        for reasons, one, many in kinds:
            if reasons:
                listed = ", ".join(f"{counted.count} {reason}" for reason, counted in reasons.items())
                total = sum(counted.count for counted in reasons.values())
                told.append(f"dropped {_number(total, one, many)} ({listed})")
        return "; ".join(told)


def _number(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


class Tally:
    """Counts while the steps run.

    Args:
        queries: Number of queries given.
        pairs: Number of answers given.
    """

    def __init__(self, queries: int, pairs: int) -> None:
        self._given = (queries, pairs)
        self._merged: list[str] = []
        self._queries: dict[str, list[str]] = {}
        self._pairs: dict[str, list[str]] = {}

    def merge(self, query: str) -> None:
        """Count a query that became one with an earlier one."""
        self._merged.append(query)

    def drop_query(self, reason: str, query: str, answers: Iterable[str]) -> None:
        """Count a query that is dropped, and the answers that go with it."""
        self._queries.setdefault(reason, []).append(query)
        for chunk in answers:
            self.drop_pair("of a dropped query", query, chunk)

    def drop_pair(self, reason: str, query: str, chunk: str) -> None:
        """Count an answer that is dropped."""
        self._pairs.setdefault(reason, []).append(f"{query} -> {chunk}")

    def report(self, queries: int, pairs: int) -> CleaningReport:
        """The report, with the numbers of queries and answers kept."""
        return CleaningReport(
            queries_given=self._given[0],
            queries_kept=queries,
            pairs_given=self._given[1],
            pairs_kept=pairs,
            merged=Counted.of(self._merged),
            dropped_queries={reason: Counted.of(ids) for reason, ids in self._queries.items()},
            dropped_pairs={reason: Counted.of(ids) for reason, ids in self._pairs.items()},
        )
