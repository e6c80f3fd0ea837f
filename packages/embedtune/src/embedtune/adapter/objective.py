"""The adapter's loss and its gradient: softmax over a pool of chunks that stands for the whole corpus."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.protocols import Vectors

__all__ = ["Answers", "Pool", "softmax_loss"]

Answers = Sequence[npt.NDArray[np.intp]]
"""For each query the rows of the chunks that answer it, one at least."""


@dataclass(frozen=True, eq=False)
class Pool:
    """The chunks that queries are told from."""

    vectors: Vectors
    """Shape (n, d)."""
    log_weights: Vectors
    """Shape (n,): log of how many chunks of the corpus each stands for; 0 where it stands for itself."""


def softmax_loss(queries: Vectors, pool: Pool, answers: Answers, temperature: float) -> tuple[float, Vectors]:
    """Each query's answers, one by one, against all chunks of the pool that do not answer it.

    Args:
        queries: Shape (n, d), mapped already.
        pool: Its ``vectors`` hold all answers.
        answers: Rows of the pool.
        temperature: Divides the products.

    Returns:
        The mean over the queries, in nats, and its gradient by the query vectors, shape (n, d).
    """
    logits = queries @ pool.vectors.T
    logits /= temperature
    rows = np.repeat(np.arange(len(answers)), [len(found) for found in answers])
    columns = np.concatenate(answers)
    own = logits[rows, columns]
    logits += pool.log_weights
    logits[rows, columns] = -np.inf
    largest = logits.max(axis=1, initial=np.finfo(np.float32).min)
    weights = np.exp(logits - largest[:, None], out=logits)
    totals = np.maximum(weights.sum(axis=1), np.finfo(np.float32).tiny)
    rest = largest + np.log(totals)
    # Of each pair's probability: what its own chunk lacks goes to the others.
    missing = np.exp(rest[rows] - np.logaddexp(own, rest[rows]))
    share = (1 / np.array([len(found) for found in answers], dtype=np.float32))[rows]
    loss = float((share * (np.logaddexp(own, rest[rows]) - own)).sum() / len(queries))
    pull = np.zeros(len(queries), dtype=np.float32)
    np.add.at(pull, rows, share * missing)
    weights *= (pull / totals)[:, None]
    weights[rows, columns] = -share * missing
    gradient = weights @ pool.vectors
    return loss, gradient / np.float32(temperature * len(queries))
