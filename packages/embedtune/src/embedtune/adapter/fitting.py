"""Training of the map: Adam on minibatches of queries, looked at several times along the way."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from tqdm.auto import tqdm

from embedtune.adapter.objective import Answers, Pool, softmax_loss
from embedtune.protocols import Vectors

__all__ = ["EPOCHS", "Factors", "fitted", "looks_of", "n_batches", "truncated"]

EPOCHS = 16
"""Passes over the queries; more changed no validation on the sets that were tried."""
RATE = 1e-3
"""Of Adam, falling linearly to 0."""
BATCH = 128
_BETAS, _EPSILON = (0.9, 0.999), 1e-8
"""Kingma and Ba 2015."""


@dataclass(frozen=True, eq=False)
class Factors:
    """A change of the query vectors of low rank: ``q + up @ (down @ q)``."""

    up: Vectors
    """Shape (d, rank)."""
    down: Vectors
    """Shape (rank, d)."""

    @property
    def rank(self) -> int:
        """0 is the identity."""
        return int(self.down.shape[0])

    @classmethod
    def identity(cls, dim: int) -> "Factors":
        """No change of vectors of so many dimensions."""
        return cls(np.zeros((dim, 0), dtype=np.float32), np.zeros((0, dim), dtype=np.float32))

    def cut(self, rank: int) -> "Factors":
        """The first columns, which of `truncated` are the best of their number."""
        return self if rank >= self.rank else Factors(self.up[:, :rank], self.down[:rank])

    def change(self, queries: Vectors) -> Vectors:
        """What is added to queries, shape (n, d)."""
        return np.asarray((queries @ self.down.T) @ self.up.T, dtype=np.float32)


def fitted(
    queries: Vectors,
    pool: Pool,
    answers: Answers,
    temperature: float,
    *,
    seed: int,
    progress: bool,
    title: str,
    epochs: int,
    stop_at: int | None = None,
) -> Iterator[tuple[int, Vectors]]:
    """The change matrix after each number of passes that `looks_of` tells: shape (d, d).

    Args:
        queries: Shape (n, d).
        pool: What they are told from.
        answers: Rows of the pool.
        temperature: Divides the scores.
        seed: Draws the order.
        progress: Whether a bar is shown.
        title: Of the bar.
        epochs: Passes over the queries, by which the rate falls to 0.
        stop_at: The number of passes after which nothing more is asked for.
    """
    rng = np.random.default_rng(seed)
    matrix = np.zeros((queries.shape[1],) * 2, dtype=np.float32)
    moments = np.zeros((2, *matrix.shape), dtype=np.float32)
    n_parts = n_batches(len(queries))
    n_steps, step = epochs * n_parts, 0
    last = stop_at or epochs
    with tqdm(total=last * n_parts, desc=title, unit="step", disable=not progress, leave=False) as bar:
        for done in range(1, last + 1):
            for batch in np.array_split(rng.permutation(len(queries)), n_parts):
                part = queries[batch]
                mapped = part + part @ matrix.T
                _, slope = softmax_loss(mapped, pool, [answers[i] for i in batch], temperature)
                step += 1
                matrix -= _adam(moments, slope.T @ part, step) * np.float32(RATE * (1 - (step - 1) / n_steps))
                bar.update(1)
            if done in looks_of(epochs):
                yield done, matrix.copy()


def looks_of(epochs: int) -> tuple[int, ...]:
    """Passes after which the map is a candidate: all, a half, a quarter, an eighth.

    Fewer are a stronger prior for the identity.

    >>> looks_of(16), looks_of(3)
    ((2, 4, 8, 16), (1, 2, 3))
    """
    return tuple(sorted({-(-epochs // part) for part in (1, 2, 4, 8)}))


def n_batches(n_queries: int) -> int:
    """Optimiser steps in a pass."""
    return -(-n_queries // BATCH)


def _adam(moments: Vectors, gradient: Vectors, step: int) -> Vectors:
    """The direction of a step of length 1; ``moments`` are brought up to date."""
    for moment, beta, value in zip(moments, _BETAS, (gradient, gradient * gradient), strict=True):
        moment *= np.float32(beta)
        moment += np.float32(1 - beta) * value
    first, second = (moment / np.float32(1 - beta**step) for moment, beta in zip(moments, _BETAS, strict=True))
    return np.asarray(first / (np.sqrt(second) + np.float32(_EPSILON)), dtype=np.float32)


def truncated(matrix: Vectors, rank: int, seed: int = 0) -> Factors:
    """The nearest matrix of a rank, as factors: by subspace iteration (Halko, Martinsson and Tropp 2011).

    Args:
        matrix: Shape (d, d).
        rank: Of the factors; the matrix itself where it is d or more.
        seed: Draws the first subspace.
    """
    if rank >= len(matrix):
        return Factors(matrix, np.eye(len(matrix), dtype=np.float32))
    draws = np.random.default_rng(seed).standard_normal((len(matrix), min(rank + 10, len(matrix))), dtype=np.float32)
    basis = np.linalg.qr(matrix @ draws)[0]
    for _ in range(3):
        basis = np.linalg.qr(matrix @ np.linalg.qr(matrix.T @ basis)[0])[0]
    left, values, right = np.linalg.svd(basis.T @ matrix, full_matrices=False)
    return Factors(np.asarray(basis @ left[:, :rank] * values[:rank], np.float32), np.asarray(right[:rank], np.float32))
