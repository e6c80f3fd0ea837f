"""What queries found, held against what is relevant: rows and values of metrics."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embedtune.dataset import QADataset
from embedtune.metrics import Values, metric_names, per_query
from embedtune.search import Ranking

__all__ = ["Judge"]


@dataclass(frozen=True, eq=False)
class Judge:
    """A data set in which chunks with the same text are one answer, and the cut-offs that are asked for."""

    dataset: QADataset
    """Queries, chunks and relevance."""
    top_k: int
    """Cut-off of ``is_hit``."""
    cut_offs: Sequence[int]
    """Further cut-offs."""

    @property
    def depth(self) -> int:
        """The largest cut-off."""
        return max([self.top_k, *self.cut_offs])

    @cached_property
    def first_ids(self) -> dict[str, str]:
        """Each chunk's id, or the id of the first chunk with the same text."""
        by_text: dict[str, str] = {}
        return {chunk: by_text.setdefault(text, chunk) for chunk, text in self.dataset.corpus.items()}

    @cached_property
    def n_copies(self) -> int:
        """Chunks whose text an earlier one has."""
        return sum(chunk != first for chunk, first in self.first_ids.items())

    @cached_property
    def grades(self) -> list[dict[str, float]]:
        """The relevant chunks of each query, with their grades; of copies the first id and the highest grade."""
        return [self._grades(query) for query in self.dataset.queries]

    def _grades(self, query: str) -> dict[str, float]:
        given = self.dataset.grades.get(query, {})
        grades: dict[str, float] = {}
        for chunk in self.dataset.relevant_docs[query]:
            first = self.first_ids[chunk]
            grades[first] = max(grades.get(first, 0.0), given.get(chunk, 1.0))
        return grades

    def ranks(self, rankings: Sequence[Ranking]) -> list[list[float]]:
        """Ranks of the relevant chunks, ``inf`` for all of a query that has no ranking."""
        return [found.ranks or [math.inf] * len(given) for found, given in zip(rankings, self.grades, strict=True)]

    def values(self, rankings: Sequence[Ranking]) -> dict[str, Values]:
        """Each metric for each query, shape (n_queries,)."""
        grades = [list(given.values()) for given in self.grades]
        return per_query(self.ranks(rankings), grades, metric_names([*self.cut_offs, self.top_k]))

    def rows(self, rankings: Sequence[Ranking], seen: Collection[str]) -> list[dict[str, Any]]:
        """A row for each query.

        Args:
            rankings: What they found.
            seen: Ids of the queries that the model was trained on or chosen by.
        """
        rows = []
        for query, found, ranks in zip(self.dataset.queries, rankings, self.ranks(rankings), strict=True):
            best = min(ranks)
            row = {
                "query_id": query,
                "query": self.dataset.queries[query],
                "expected": list(self.dataset.relevant_docs[query]),
                "retrieved": found.retrieved[: self.top_k],
                "rank": int(best) if best < math.inf else None,
                "is_hit": best <= self.top_k,
                "seen": query in seen,
            }
            rows.append(row)
        return rows
