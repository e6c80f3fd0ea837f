"""From vectors to a map: trained on each fold, chosen by what was held back, trained once more on everything."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.adapter.candidates import RANKS, STRENGTHS, Candidate, candidate_values
from embedtune.adapter.fitting import LOOKS, Factors, fitted, n_batches, truncated
from embedtune.adapter.objective import Answers
from embedtune.adapter.pooling import ChunkVectors, pool_of
from embedtune.never_worse import why_chance
from embedtune.protocols import Vectors

__all__ = ["AdapterFit", "Fold", "Problem", "fit_adapter"]

logger = logging.getLogger(__name__)

_Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class Problem:
    """Queries with their answers in a corpus, as vectors."""

    queries: Vectors
    """Shape (n_queries, d); of length 1 each."""
    chunks: ChunkVectors
    """The whole corpus, no vector twice."""
    answers: Answers
    """Rows of the corpus."""
    clusters: Sequence[int]
    """Of each query: queries that hang together."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What one training is given, and what it is scored on."""

    train: _Rows
    """Queries."""
    held_back: _Rows
    """Other queries."""
    hidden: _Rows
    """Chunks that training does not see."""


@dataclass(frozen=True, eq=False)
class AdapterFit:
    """The chosen map, and what the validation said."""

    factors: Factors
    """At the chosen strength; rank 0 if the identity is kept."""
    chosen: Candidate | None
    """None for the identity."""
    base: npt.NDArray[np.float64]
    """The metric of each query that was held back, under the identity."""
    values: npt.NDArray[np.float64]
    """Under the best candidate, chosen or not."""
    kept_base_reason: str | None
    """Why the identity is kept, if it is."""
    steps: int
    """Optimiser steps of the kept map's training."""


def fit_adapter(
    problem: Problem, folds: Sequence[Fold], *, metric: str = "ndcg@10", seed: int = 0, progress: bool = False
) -> AdapterFit:
    """Learn a map of the query vectors, and how much of it to believe.

    Each fold trains one map. Its states along the way, cut to several ranks and scaled to several strengths, are
    scored on the queries that were held back; the best over all folds is chosen, if it gains more than chance would
    (two standard errors by clusters, since it is the best of many).

    Args:
        problem: What is learned from.
        folds: One, whose map is kept, or several, after which a last map is trained on all queries.
        metric: Chooses.
        seed: Same seed, same machine, same map.
        progress: Whether bars are shown.
    """
    titles = [f"fold {number}/{len(folds)}" for number in range(1, len(folds) + 1)] if len(folds) > 1 else ["adapter"]
    trained = [
        dict(_looks(problem, fold.train, fold.hidden, title, seed=seed, progress=progress))
        for fold, title in zip(folds, titles, strict=True)
    ]
    candidates = _candidates(problem.queries.shape[1])
    parts = [_scored(problem, fold, looks, metric) for fold, looks in zip(folds, trained, strict=True)]
    values = np.concatenate(parts, axis=1)
    means = values[1:].mean(axis=1)
    best = int(np.argmax(means))
    gains = values[1 + best] - values[0]
    clusters = [problem.clusters[i] for fold in folds for i in fold.held_back]
    chosen = candidates[best]
    if reason := why_chance(str(chosen), gains, clusters, metric):
        return AdapterFit(Factors.identity(problem.queries.shape[1]), None, values[0], values[1 + best], reason, 0)
    train, looks = folds[0].train, trained[0]
    if len(folds) > 1:
        train = np.arange(len(problem.queries))
        nothing = np.empty(0, dtype=np.intp)
        looks = dict(
            _looks(problem, train, nothing, "adapter on all", seed=seed, progress=progress, stop_at=chosen.n_passes)
        )
    found = truncated(looks[chosen.n_passes], chosen.rank)
    factors = Factors(found.up * np.float32(chosen.strength), found.down)
    return AdapterFit(factors, chosen, values[0], values[1 + best], None, chosen.n_passes * n_batches(len(train)))


def _looks(
    problem: Problem, train: _Rows, hidden: _Rows, title: str, *, seed: int, progress: bool, stop_at: int | None = None
) -> Iterator[tuple[int, Vectors]]:
    """The change after each number of passes."""
    allowed = np.ones(len(problem.chunks), dtype=bool)
    allowed[hidden] = False
    queries, answers = problem.queries[train], [problem.answers[i] for i in train]
    pool, places = pool_of(queries, problem.chunks, answers, allowed, seed)
    return fitted(queries, pool, places, seed=seed, progress=progress, title=title, stop_at=stop_at)


def _candidates(dim: int) -> list[Candidate]:
    """In the order of `candidate_values`."""
    return [Candidate(n_passes, rank, strength) for n_passes in LOOKS for rank in _ranks(dim) for strength in STRENGTHS]


def _ranks(dim: int) -> list[int]:
    return [*(rank for rank in RANKS if rank < dim), dim]


def _scored(problem: Problem, fold: Fold, looks: Mapping[int, Vectors], metric: str) -> npt.NDArray[np.float64]:
    changes = [truncated(looks[n_passes], rank) for n_passes in LOOKS for rank in _ranks(problem.queries.shape[1])]
    answers = [problem.answers[i] for i in fold.held_back]
    return candidate_values(problem.queries[fold.held_back], changes, STRENGTHS, problem.chunks, answers, metric)
