"""Chunk vectors in memory or on disk, and which of them queries are told from."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from embedtune.adapter.objective import Answers, Pool
from embedtune.protocols import Similarity, Vectors

__all__ = ["ChunkVectors", "pool_of"]

logger = logging.getLogger(__name__)

_Rows = npt.NDArray[np.intp]

WHOLE = 32_768
"""A corpus of up to so many chunks is told from as a whole."""
NEAREST, NEAREST_EACH = 65_536, 64
"""Of a larger one: so many nearest chunks in all, so many at most of a query, and"""
SAMPLED = 8_192
"""so many of the others, drawn at random, each of which stands for many."""
_BLOCK_BYTES = 64 << 20
_TINY = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True, eq=False)
class ChunkVectors:
    """Rows of an array, brought to float32 and to a length in which one temperature suits all models.

    By cosine each row gets length 1; by dot product all are scaled together, to a mean length of 1, which changes no
    order.
    """

    array: npt.NDArray[np.floating]
    """Shape (n_chunks, d), of any float type; a memory map is read in blocks."""
    similarity: Similarity
    scale: float
    """What rows are divided by where they are compared by dot product."""

    @classmethod
    def of(cls, array: npt.NDArray[np.floating], similarity: Similarity) -> "ChunkVectors":
        """Reads the array once where it has to know how long the rows are."""
        if similarity == "cosine":
            return cls(array, similarity, 1.0)
        total = sum(
            float(np.linalg.norm(np.asarray(array[start : start + 4096], dtype=np.float32), axis=1).sum())
            for start in range(0, len(array), 4096)
        )
        return cls(array, similarity, total / max(len(array), 1) or 1.0)

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, which: slice | _Rows) -> Vectors:
        """Some of them, shape (n, d)."""
        part = np.array(self.array[which], dtype=np.float32)
        if self.similarity == "cosine":
            part /= np.maximum(np.linalg.norm(part, axis=1, keepdims=True), _TINY)
        else:
            part /= self.scale
        return part

    def starts(self, n_queries: int) -> range:
        """Where blocks begin whose rows, and whose scores for all queries, are held at once."""
        return range(0, len(self), self.block_size(n_queries))

    def block_size(self, n_queries: int) -> int:
        """Rows in a block."""
        return max(256, _BLOCK_BYTES // (4 * max(n_queries, int(self.array.shape[1]))))


def pool_of(
    queries: Vectors, chunks: ChunkVectors, answers: Answers, allowed: npt.NDArray[np.bool_], seed: int
) -> tuple[Pool, Answers]:
    """What queries are told from in training, and their answers' rows in it.

    Args:
        queries: Shape (n_queries, d).
        chunks: The whole corpus.
        answers: Rows of the corpus.
        allowed: Shape (n_chunks,): which chunks may be in it; answers may.
        seed: Draws the sample.
    """
    there = np.flatnonzero(allowed)
    log_weights = np.zeros(len(there), dtype=np.float32)
    if len(there) > WHOLE:
        near = np.union1d(_nearest(queries, chunks, answers, allowed), np.concatenate(answers))
        others = np.setdiff1d(there, near, assume_unique=True)
        drawn = np.random.default_rng(seed).choice(others, min(SAMPLED, len(others)), replace=False)
        logger.info("training against %d of %d chunks: the nearest, and a sample", len(near) + len(drawn), len(there))
        weight = np.log(max(len(others), 1) / max(len(drawn), 1))
        there = np.concatenate([near, drawn])
        log_weights = np.repeat(np.array([0.0, weight], dtype=np.float32), [len(near), len(drawn)])
    places = np.argsort(there)
    found = [places[np.searchsorted(there, rows, sorter=places)] for rows in answers]
    return Pool(chunks.rows(there), log_weights), found


def _nearest(queries: Vectors, chunks: ChunkVectors, answers: Answers, allowed: npt.NDArray[np.bool_]) -> _Rows:
    """The chunks nearest to each query, its own answers aside: in one pass over the corpus."""
    k = max(1, min(NEAREST_EACH, NEAREST // max(len(queries), 1)))
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), k), dtype=np.intp)
    lines = np.repeat(np.arange(len(queries)), [len(found) for found in answers])
    columns = np.concatenate(answers)
    size = chunks.block_size(len(queries))
    for start in tqdm(chunks.starts(len(queries)), desc="nearest chunks", unit="block", leave=False):
        block = queries @ chunks.rows(slice(start, start + size)).T
        block[:, ~allowed[start : start + size]] = -np.inf
        inside = (columns >= start) & (columns < start + block.shape[1])
        block[lines[inside], columns[inside] - start] = -np.inf
        if block.shape[1] > k:
            best = np.argpartition(-block, k - 1, axis=1)[:, :k]
            block = np.take_along_axis(block, best, axis=1)
        else:
            best = np.broadcast_to(np.arange(block.shape[1]), block.shape)
        scores = np.concatenate([scores, block], axis=1)
        rows = np.concatenate([rows, best + start], axis=1)
        kept = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        scores, rows = np.take_along_axis(scores, kept, axis=1), np.take_along_axis(rows, kept, axis=1)
    return np.unique(rows[scores > -np.inf])
