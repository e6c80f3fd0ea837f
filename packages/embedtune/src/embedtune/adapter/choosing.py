"""From vectors to a map: trained on each fold, chosen by what was held back, trained once more on everything."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.adapter.candidates import RANKS, STRENGTHS, Candidate, candidate_values
from embedtune.adapter.fitting import EPOCHS, Factors, fitted, looks_of, n_batches, truncated
from embedtune.adapter.objective import Answers, Pool
from embedtune.adapter.pooling import ChunkVectors, Rows, nearest, pool_of, temperature_of
from embedtune.never_worse import why_chance
from embedtune.protocols import Vectors

__all__ = ["AdapterFit", "Fold", "Problem", "fit_adapter"]

_Values = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Problem:
    """Queries with their answers in a corpus, as vectors."""

    queries: Vectors
    """Shape (n_queries, d); of length 1 each."""
    chunks: ChunkVectors
    """The whole corpus, no text twice."""
    answers: Answers
    """Rows of the corpus."""
    clusters: Sequence[int]
    """Of each query: queries that hang together."""


@dataclass(frozen=True, eq=False)
class Fold:
    """What one training is given, and what it is scored on."""

    train: Rows
    """Queries."""
    held_back: Rows
    """Other queries."""
    hidden: Rows
    """Chunks that training does not see."""


@dataclass(frozen=True, eq=False)
class AdapterFit:
    """The chosen map, and what the validation said."""

    factors: Factors
    """At the chosen strength; rank 0 if the identity is kept."""
    best: Candidate
    """What did best on the queries that were held back, whether it is kept or not."""
    base: npt.NDArray[np.float64]
    """The metric of each query that was held back, under the identity."""
    values: npt.NDArray[np.float64]
    """Under candidates that other queries chose."""
    kept_base_reason: str | None
    """Why the identity is kept, if it is."""
    steps: int
    """Optimiser steps of the best candidate's training."""


def fit_adapter(
    problem: Problem,
    folds: Sequence[Fold],
    *,
    metric: str = "ndcg@10",
    epochs: int = EPOCHS,
    seed: int = 0,
    progress: bool = False,
) -> AdapterFit:
    """Learn a map of the query vectors, and how much of it to believe.

    Each fold trains one map. Its states along the way, cut to several ranks and scaled to several strengths, are
    scored on the queries that were held back, and the best over all folds is the candidate. What it gains is measured
    without the luck of the best of many: of each part of the queries, by what did best on the other parts. What it
    gains on the answers of other queries is taken off: a map that draws all queries to what is asked for often does
    that, and does it with labels that mean nothing. It is kept if the rest is more than chance, by
    `embedtune.never_worse`.

    Args:
        problem: What is learned from.
        folds: One, whose map is kept, or several, after which a last map is trained on all queries.
        metric: Chooses.
        epochs: Passes over the queries; fewer are tried too.
        seed: Same seed, same machine, same map.
        progress: Whether bars are shown.
    """
    trainer = _Trainer(problem, epochs, seed, progress)
    titles = [f"fold {number}/{len(folds)}" for number in range(1, len(folds) + 1)] if len(folds) > 1 else ["adapter"]
    trained = [trainer.looks(fold.train, fold.hidden, title) for fold, title in zip(folds, titles, strict=True)]
    candidates = _candidates(problem.queries.shape[1], epochs)
    scored = [trainer.scored(fold, looks, metric) for fold, looks in zip(folds, trained, strict=True)]
    best = _best(candidates, scored)
    base, values, gains, clusters = _judged(trainer, folds, trained, scored, candidates, metric)
    steps = best.n_passes * n_batches(len(folds[0].train if len(folds) == 1 else problem.queries))
    if reason := why_chance(str(best), gains, clusters, f"{metric} more than on answers of other queries,"):
        return AdapterFit(Factors.identity(problem.queries.shape[1]), best, base, values, reason, steps)
    looks = trained[0]
    if len(folds) > 1:
        everything, nothing = np.arange(len(problem.queries)), np.empty(0, dtype=np.intp)
        looks = trainer.looks(everything, nothing, "adapter on all", stop_at=best.n_passes)
    factors = best.factors(looks)
    return AdapterFit(Factors(factors.up * np.float32(best.strength), factors.down), best, base, values, None, steps)


def _judged(
    trainer: "_Trainer",
    folds: Sequence[Fold],
    trained: Sequence[Mapping[int, Vectors]],
    scored: Sequence[npt.NDArray[np.float64]],
    candidates: Sequence[Candidate],
    metric: str,
) -> tuple[_Values, _Values, _Values, list[int]]:
    """Base, values and gains of the held-back queries, each part by what did best on the others; and their clusters."""
    exact, control, clusters = [], [], []
    for number, mask in _parts(folds, trainer.problem.clusters):
        others = [values for other, values in enumerate(scored) if other != number]
        chosen = _best(candidates, [*others, scored[number][:, ~mask]])
        part = folds[number].held_back[mask]
        exact.append(trainer.exact(part, part, trained[number], chosen, metric))
        control.append(trainer.exact(part, np.roll(part, len(part) // 2), trained[number], chosen, metric))
        clusters += [trainer.problem.clusters[i] for i in part]
    (base, values), (other_base, other_values) = (np.concatenate(found, axis=1) for found in (exact, control))
    return base, values, (values - base) - (other_values - other_base), clusters


def _best(candidates: Sequence[Candidate], scored: Sequence[npt.NDArray[np.float64]]) -> Candidate:
    """By the mean over queries, of columns as `_Trainer.scored` gives them."""
    return candidates[int(np.argmax(np.concatenate(scored, axis=1)[1:].mean(axis=1)))]


def _parts(folds: Sequence[Fold], clusters: Sequence[int]) -> Iterator[tuple[int, npt.NDArray[np.bool_]]]:
    """Each fold whole, or two halves of a single one by clusters: the number of the fold, and which of its queries."""
    if len(folds) > 1:
        yield from ((number, np.ones(len(fold.held_back), dtype=bool)) for number, fold in enumerate(folds))
        return
    _, order = np.unique([clusters[i] for i in folds[0].held_back], return_inverse=True)
    first = order % 2 == 0
    yield from ((0, half) for half in ((first, ~first) if order.max(initial=0) else (first,)))


class _Trainer:
    """Trains and scores parts of one problem; each query's nearest chunks are looked for once."""

    def __init__(self, problem: Problem, epochs: int, seed: int, progress: bool) -> None:
        self.problem = problem
        self._epochs = epochs
        self._seed = seed
        self._progress = progress
        self._temperature = temperature_of(problem.queries, problem.chunks)
        self._near = nearest(problem.queries, problem.chunks, problem.answers, progress=progress)

    def looks(self, train: Rows, hidden: Rows, title: str, stop_at: int | None = None) -> dict[int, Vectors]:
        """The change after each number of passes."""
        pool, places = self._pool(train, hidden)
        return dict(
            fitted(
                self.problem.queries[train],
                pool,
                places,
                self._temperature,
                seed=self._seed,
                progress=self._progress,
                title=title,
                epochs=self._epochs,
                stop_at=stop_at,
            )
        )

    def scored(self, fold: Fold, looks: Mapping[int, Vectors], metric: str) -> npt.NDArray[np.float64]:
        """The identity and all candidates on what was held back; over the nearest chunks where there are many."""
        pool, places = self._pool(fold.held_back, np.empty(0, dtype=np.intp))
        queries, dim = self.problem.queries[fold.held_back], self.problem.queries.shape[1]
        ranks = _ranks(dim)
        changes = []
        for n_passes in looks_of(self._epochs):
            most = truncated(looks[n_passes], max(ranks[:-1], default=dim))
            changes += [*(most.cut(rank) for rank in ranks[:-1]), truncated(looks[n_passes], dim)]
        vectors = ChunkVectors(pool.vectors, "dot")
        return candidate_values(queries, changes, STRENGTHS, vectors, places, metric)

    def exact(
        self, held_back: Rows, answered: Rows, looks: Mapping[int, Vectors], chosen: Candidate, metric: str
    ) -> npt.NDArray[np.float64]:
        """The identity and one candidate over the whole corpus, by the answers of ``answered``; shape (2, n)."""
        answers = [self.problem.answers[i] for i in answered]
        change, chunks = chosen.factors(looks), self.problem.chunks
        return candidate_values(self.problem.queries[held_back], [change], [chosen.strength], chunks, answers, metric)

    def _pool(self, queries: Rows, hidden: Rows) -> tuple[Pool, Answers]:
        near = None if self._near is None else self._near[queries]
        answers = [self.problem.answers[i] for i in queries]
        return pool_of(near, self.problem.chunks, answers, hidden, self._seed)


def _candidates(dim: int, epochs: int) -> list[Candidate]:
    """In the order of `candidate_values`."""
    return [
        Candidate(n_passes, rank, strength)
        for n_passes in looks_of(epochs)
        for rank in _ranks(dim)
        for strength in STRENGTHS
    ]


def _ranks(dim: int) -> list[int]:
    return [*(rank for rank in RANKS if rank < dim), dim]
