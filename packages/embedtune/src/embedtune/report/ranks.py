"""Where the first relevant chunk of each question stood under both models: hit rate over k, and movement."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from embedtune.comparison import Comparison
from embedtune.evaluation import Evaluation

__all__ = ["Band", "Curve", "Gain", "Movement", "Outcome", "Rank", "curve_of", "movement_of", "outcome", "reciprocal"]

Rank = int | None
"""1-based; None where no relevant chunk was found."""

Outcome = Literal["won", "lost", "up", "down", "same"]
"""Won and lost are hits among the first ``top_k`` that the other model has not; up and down are ranks."""

_DEEPEST_PLOTTED = 20
_BAND_ENDS = (1, 3, 5, 10, 20)


@dataclass(frozen=True)
class Curve:
    """Hit rate and mean reciprocal rank at k = 1, 2, and so on; the same length for both models."""

    base_hit_rate: list[float]
    """Of the base model at each k."""
    tuned_hit_rate: list[float]
    """Of the tuned model."""
    base_mrr: list[float]
    """As `base_hit_rate`, of the mean reciprocal rank."""
    tuned_mrr: list[float]
    """As `tuned_hit_rate`."""


@dataclass(frozen=True)
class Band:
    """Ranks that are counted together."""

    first: int
    """First rank; 0 where nothing was found."""
    last: int | None
    """Last rank; None if there is no end."""

    def __str__(self) -> str:
        """As in ``2–3``."""
        if self.first == 0:
            return "not found"
        if self.last is None:
            return f"{self.first}+"
        return str(self.first) if self.first == self.last else f"{self.first}\u2013{self.last}"


@dataclass(frozen=True)
class Gain:
    """Questions whose 1/rank changed by the same amount, to three digits."""

    change: float
    """Of 1/rank, above 0 where the tuned model is better."""
    n_questions: int
    """How many."""
    ranks: tuple[Rank, Rank] | None
    """The base model's and the tuned model's, if these are the same for all."""


@dataclass(frozen=True)
class Movement:
    """How many questions went from which ranks to which."""

    bands: tuple[Band, ...]
    """Best ranks first, not found last, unless every rank is known."""
    counts: tuple[tuple[int, ...], ...]
    """Questions by the base model's band, then by the tuned model's."""
    outcomes: Mapping[Outcome, int]
    """Questions by what became of them; those that stayed are ``same``."""
    gains: tuple[Gain, ...]
    """Changes of 1/rank over all questions whose rank is another, the greatest loss first."""

    @property
    def most_moved(self) -> int:
        """The largest count between two different bands; 1 if there is none."""
        counts = (n for down, row in enumerate(self.counts) for across, n in enumerate(row) if across != down)
        return max([1, *counts])


def reciprocal(rank: Rank) -> float:
    """1 / rank; 0 where nothing was found.

    >>> reciprocal(4), reciprocal(None)
    (0.25, 0.0)
    """
    return 1 / rank if rank else 0.0


def outcome(base: Rank, tuned: Rank, top_k: int) -> Outcome:
    """What became of a question.

    >>> outcome(None, 2, 5), outcome(5, 6, 5), outcome(3, 1, 5), outcome(None, None, 5)
    ('won', 'lost', 'up', 'same')
    """
    if base == tuned:
        return "same"
    hits = [rank is not None and rank <= top_k for rank in (base, tuned)]
    if hits[0] != hits[1]:
        return "won" if hits[1] else "lost"
    return "up" if reciprocal(tuned) > reciprocal(base) else "down"


def curve_of(base: Evaluation, tuned: Evaluation) -> Curve:
    """Both metrics down to the depth that was searched, at most to 20."""
    depth = min(evaluation.depth or _DEEPEST_PLOTTED for evaluation in (base, tuned))
    (base_hits, base_mrr), (tuned_hits, tuned_mrr) = (
        _over_k(evaluation, min(depth, _DEEPEST_PLOTTED)) for evaluation in (base, tuned)
    )
    return Curve(base_hits, tuned_hits, base_mrr, tuned_mrr)


def movement_of(comparison: Comparison, query_type: str) -> Movement:
    """From every rank to every other, for one query type."""
    base, tuned = comparison.evaluations[query_type]
    is_complete = base.depth is None or tuned.depth is None
    depth = None if is_complete else max(base.depth or 0, tuned.depth or 0)
    ends, bands = _bands(depth, comparison.top_k)
    pairs = Counter((before["rank"], after["rank"]) for before, after in zip(base, tuned, strict=True))
    counts = np.zeros((len(bands), len(bands)), dtype=int)
    for (before, after), count in pairs.items():
        counts[_band(before, ends), _band(after, ends)] += count
    if is_complete and not counts[-1].any() and not counts[:, -1].any():
        bands, counts = bands[:-1], counts[:-1, :-1]
    outcomes: Counter[Outcome] = Counter()
    for pair, count in pairs.items():
        outcomes[outcome(*pair, comparison.top_k)] += count
    return Movement(bands, tuple(tuple(map(int, row)) for row in counts), outcomes, tuple(_gains(pairs)))


def _gains(pairs: Mapping[tuple[Rank, Rank], int]) -> Iterator[Gain]:
    by_change: dict[float, list[tuple[Rank, Rank]]] = {}
    for base, tuned in pairs:
        if base != tuned:
            by_change.setdefault(round(reciprocal(tuned) - reciprocal(base), 3), []).append((base, tuned))
    for change, alike in sorted(by_change.items()):
        yield Gain(change, sum(pairs[pair] for pair in alike), alike[0] if len(alike) == 1 else None)


def _over_k(evaluation: Evaluation, depth: int) -> tuple[list[float], list[float]]:
    found = np.bincount([row["rank"] or 0 for row in evaluation], minlength=depth + 1)[1 : depth + 1]
    shares = found / len(evaluation)
    return np.cumsum(shares).tolist(), np.cumsum(shares / np.arange(1, depth + 1)).tolist()


def _bands(depth: int | None, top_k: int) -> tuple[list[int], tuple[Band, ...]]:
    """Last ranks of the bands, and the bands: one ends at ``top_k``, so that hits and misses are told apart."""
    ends = sorted(end for end in {*_BAND_ENDS, top_k} if depth is None or end < depth)
    ends += [depth] if depth is not None else []
    bands = list(_between(ends))
    bands += [Band(ends[-1] + 1, None)] if depth is None else []
    return ends, (*bands, Band(0, 0))


def _between(ends: list[int]) -> Iterator[Band]:
    first = 1
    for end in ends:
        yield Band(first, end)
        first = end + 1


def _band(rank: Rank, ends: list[int]) -> int:
    return -1 if rank is None else bisect_left(ends, rank)
