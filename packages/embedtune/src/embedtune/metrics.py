"""Retrieval metrics, one file, one definition each; checked against ir-measures in the tests.

Two layers. `PairRanks` holds the 1-based ranks of all relevant chunks of all queries (``inf`` where a chunk was not
retrieved), and `METRICS` gives one value per query from it; the public functions take ranked lists and give the mean.
"""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
import numpy.typing as npt

__all__ = [
    "METRICS",
    "PairRanks",
    "average_precision",
    "hit_rate",
    "metric_names",
    "mrr",
    "ndcg",
    "parse_metric",
    "per_query",
    "recall",
    "relevant_ranks",
]

Ranks = Sequence[float]
"""1-based ranks of the relevant chunks of one query; ``inf`` for one that was not retrieved."""

Values = npt.NDArray[np.float64]
"""One number per query, or per pair."""


def relevant_ranks(ranked_ids: Sequence[str], relevant: Iterable[str]) -> list[float]:
    """The rank of each relevant chunk in a best-first list; repeated ids count once, at their first place.

    >>> relevant_ranks(["a", "a", "b"], ["b", "x"])
    [2, inf]
    """
    ranks = {chunk: rank for rank, chunk in enumerate(dict.fromkeys(ranked_ids), 1)}
    return [ranks.get(chunk, math.inf) for chunk in relevant]


@dataclass(frozen=True, eq=False)
class PairRanks:
    """Every pair of a query and a chunk that is relevant to it, the queries one after the other."""

    ranks: Values
    """1-based rank of the pair's chunk, ``inf`` if it was not retrieved; shape (n_pairs,)."""
    grades: Values
    """Its relevance above 0; shape (n_pairs,)."""
    sizes: npt.NDArray[np.intp]
    """Pairs of each query, at least 1; shape (n_queries,)."""

    @classmethod
    def of(cls, ranks: Sequence[Ranks], grades: Sequence[Sequence[float]]) -> "PairRanks":
        """From one sequence per query.

        Raises:
            ValueError: If a query has no relevant chunk, or other grades than ranks.
        """
        sizes = [len(found) for found in ranks]
        if sizes != [len(given) for given in grades] or 0 in sizes:
            raise ValueError("Give one rank and one grade for each relevant chunk of a query, and at least one.")
        flat = [np.fromiter(chain.from_iterable(rows), np.float64, sum(sizes)) for rows in (ranks, grades)]
        return cls(flat[0], flat[1], np.array(sizes, dtype=np.intp))

    def total(self, values: Values) -> Values:
        """Sum over the pairs of each query, shape (n_queries,)."""
        return np.add.reduceat(values, self._starts) if len(values) else values

    @cached_property
    def best(self) -> Values:
        """The best rank of each query, shape (n_queries,)."""
        return np.minimum.reduceat(self.ranks, self._starts) if len(self.ranks) else self.ranks

    @cached_property
    def in_order(self) -> Values:
        """The ranks, the best of each query first."""
        return self.ranks[np.lexsort((self.ranks, self._queries))]

    @cached_property
    def ideal(self) -> Values:
        """The grades, the highest of each query first."""
        return self.grades[np.lexsort((-self.grades, self._queries))]

    @cached_property
    def places(self) -> Values:
        """1, 2, ... within each query: the ranks of an ideal ranking; shape (n_pairs,)."""
        return np.arange(1.0, len(self.ranks) + 1) - np.repeat(self._starts, self.sizes)

    @cached_property
    def _starts(self) -> npt.NDArray[np.intp]:
        return np.cumsum(self.sizes) - self.sizes

    @cached_property
    def _queries(self) -> npt.NDArray[np.intp]:
        return np.repeat(np.arange(len(self.sizes)), self.sizes)


def _hit(pairs: PairRanks, k: int) -> Values:
    return (pairs.best <= k).astype(np.float64)


def _reciprocal(pairs: PairRanks, k: int) -> Values:
    return np.where(pairs.best <= k, 1 / pairs.best, 0.0)


def _recall(pairs: PairRanks, k: int) -> Values:
    return pairs.total((pairs.ranks <= k).astype(np.float64)) / pairs.sizes


def _ndcg(pairs: PairRanks, k: int) -> Values:
    gains = np.where(pairs.ranks <= k, pairs.grades / np.log2(pairs.ranks + 1), 0.0)
    ideal = np.where(pairs.places <= k, pairs.ideal / np.log2(pairs.places + 1), 0.0)
    return pairs.total(gains) / pairs.total(ideal)


def _average_precision(pairs: PairRanks, k: int) -> Values:
    precisions = np.where(pairs.in_order <= k, pairs.places / pairs.in_order, 0.0)
    return pairs.total(precisions) / pairs.sizes


METRICS: Mapping[str, Callable[[PairRanks, int], Values]] = {
    "hit_rate": _hit,
    "mrr": _reciprocal,
    "ndcg": _ndcg,
    "recall": _recall,
    "map": _average_precision,
}
"""Value of each query by metric name: ``(pairs, k)``, shape (n_queries,)."""


def metric_names(cut_offs: Iterable[int]) -> list[str]:
    """All metrics at all cut-offs.

    >>> metric_names([5])
    ['hit_rate@5', 'mrr@5', 'ndcg@5', 'recall@5', 'map@5']
    """
    return [f"{name}@{k}" for name in METRICS for k in sorted(set(cut_offs))]


def parse_metric(text: str) -> tuple[str, int]:
    """Split ``ndcg@10`` into name and cut-off.

    Raises:
        ValueError: If the name is unknown or the cut-off is no whole number above 0.
    """
    name, _, k = text.partition("@")
    if name not in METRICS or not k.isdigit() or int(k) < 1:
        raise ValueError(f"No metric {text!r}. Write a name of {', '.join(METRICS)} and a cut-off, as in 'ndcg@10'.")
    return name, int(k)


def per_query(ranks: Sequence[Ranks], grades: Sequence[Sequence[float]], names: Iterable[str]) -> dict[str, Values]:
    """Each metric for each query.

    Args:
        ranks: Ranks of the relevant chunks, one non-empty sequence per query.
        grades: Their relevance above 0, in the same order.
        names: Metrics such as ``"ndcg@10"``.

    Returns:
        Arrays of shape (n_queries,), float64, by metric.

    Raises:
        ValueError: If a metric is unknown, a query has no relevant chunk, or other grades than ranks.
    """
    pairs = PairRanks.of(ranks, grades)
    asked = {text: parse_metric(text) for text in names}
    return {text: METRICS[name](pairs, k) for text, (name, k) in asked.items()}


def hit_rate(ranked_ids: Sequence[Sequence[str]], relevant: Sequence[AbstractSet[str]], k: int) -> float:
    """Share of queries with at least one relevant chunk among the first ``k``.

    Args:
        ranked_ids: One best-first list per query; lists shorter than ``k`` are allowed, repeats count once.
        relevant: One non-empty set per query, in the same order.
        k: Cut-off rank, 1-based.

    Returns:
        A fraction in [0, 1]; 0.64 means 64 of 100 queries. trec_eval calls it ``success_k``.

    Raises:
        ValueError: If the two sequences differ in length, are empty, or ``k < 1``.

    >>> hit_rate([["a", "b"], ["c", "d"]], [{"b"}, {"x"}], k=2)
    0.5
    """
    return _mean("hit_rate", ranked_ids, relevant, k)


def mrr(ranked_ids: Sequence[Sequence[str]], relevant: Sequence[AbstractSet[str]], k: int) -> float:
    """Mean of 1 / rank of the first relevant chunk, 0 where it is not among the first ``k``.

    Arguments and errors as for `hit_rate`. trec_eval's ``recip_rank``, cut at ``k``.

    >>> mrr([["a", "b"], ["c", "d"]], [{"b"}, {"c"}], k=2)
    0.75
    """
    return _mean("mrr", ranked_ids, relevant, k)


def recall(ranked_ids: Sequence[Sequence[str]], relevant: Sequence[AbstractSet[str]], k: int) -> float:
    """Mean share of a query's relevant chunks that are among the first ``k``.

    Arguments and errors as for `hit_rate`. trec_eval's ``recall_k``.

    >>> recall([["a", "b"]], [{"b", "x", "y", "z"}], k=2)
    0.25
    """
    return _mean("recall", ranked_ids, relevant, k)


def ndcg(
    ranked_ids: Sequence[Sequence[str]],
    relevant: Sequence[AbstractSet[str]],
    k: int,
    grades: Sequence[Mapping[str, float]] | None = None,
) -> float:
    """Normalised discounted cumulative gain: sum of grade / log2(rank + 1), over the best possible sum.

    Linear gain, and an ideal ranking that is cut at ``k`` too: trec_eval's ``ndcg_cut_k``
    (Järvelin and Kekäläinen 2002). Arguments and errors as for `hit_rate`.

    Args:
        ranked_ids: As for `hit_rate`.
        relevant: As for `hit_rate`.
        k: Cut-off rank, 1-based.
        grades: Relevance by chunk id per query; 1 where it says nothing.

    >>> round(ndcg([["a", "b"]], [{"b"}], k=2), 4)
    0.6309
    """
    return _mean("ndcg", ranked_ids, relevant, k, grades)


def average_precision(ranked_ids: Sequence[Sequence[str]], relevant: Sequence[AbstractSet[str]], k: int) -> float:
    """Mean over queries of the precision at each relevant chunk found by ``k``, over all relevant (MAP@k).

    Arguments and errors as for `hit_rate`. trec_eval's ``map_cut_k``.

    >>> average_precision([["a", "b", "c"]], [{"a", "c"}], k=3)
    0.8333333333333333
    """
    return _mean("map", ranked_ids, relevant, k)


def _mean(
    name: str,
    ranked_ids: Sequence[Sequence[str]],
    relevant: Sequence[Collection[str]],
    k: int,
    grades: Sequence[Mapping[str, float]] | None = None,
) -> float:
    if len(ranked_ids) != len(relevant) or not relevant:
        raise ValueError(f"Got {len(ranked_ids)} rankings for {len(relevant)} queries; give one each, at least one.")
    if k < 1:
        raise ValueError(f"k must be at least 1; got {k}.")
    if empty := sum(not chunks for chunks in relevant):
        raise ValueError(f"{empty} of {len(relevant)} queries have no relevant chunk; drop them.")
    ordered = [sorted(chunks) for chunks in relevant]
    by_query = grades if grades is not None else [{}] * len(relevant)
    if len(by_query) != len(relevant) or any(not grade > 0 for given in by_query for grade in given.values()):
        raise ValueError("grades must be one mapping per query, with values above 0; leave out what is not relevant.")
    graded = [[given.get(c, 1.0) for c in chunks] for chunks, given in zip(ordered, by_query, strict=True)]
    ranks = [relevant_ranks(ranking, chunks) for ranking, chunks in zip(ranked_ids, ordered, strict=True)]
    return float(per_query(ranks, graded, [f"{name}@{k}"])[f"{name}@{k}"].mean())
