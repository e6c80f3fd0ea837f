"""Chunk vectors in memory or on disk, and which of them queries are told from."""

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from embedtune.adapter.objective import Answers, Pool
from embedtune.protocols import Similarity, Vectors

__all__ = ["ChunkVectors", "Rows", "nearest", "pool_of", "temperature_of", "unit_rows"]

logger = logging.getLogger(__name__)

Rows = npt.NDArray[np.intp]
"""Numbers of queries or chunks."""

WHOLE = 32_768
"""A corpus of up to so many chunks is told from as a whole."""
NEAREST, NEAREST_EACH = 131_072, 64
"""Of a larger one: so many nearest chunks in all, so many at most of a query, and"""
SAMPLED = 8_192
"""so many of the others, drawn at random, each of which stands for many."""
TEMPERATURE = 0.3
"""In standard deviations of a query's scores; 0.2 to 0.5 did about as well on two sets and two models."""
_LEAST_SPREAD = 1e-3
"""Of a score's size."""
_LOOKED_AT = 1024
_BLOCK_BYTES = 64 << 20
_TINY = float(np.finfo(np.float32).tiny)


def unit_rows(vectors: Vectors) -> Vectors:
    """Rows of length 1; a row of zeros stays as it is. The squares of no float32 get lost on the way."""
    scaled = vectors / np.maximum(np.abs(vectors).max(axis=1, keepdims=True, initial=0), _TINY)
    return np.asarray(scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), _TINY), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ChunkVectors:
    """Rows of an array, as float32; by cosine each at length 1."""

    array: npt.NDArray[np.floating]
    """Shape (n_chunks, d), of any float type; a memory map is read in blocks."""
    similarity: Similarity

    def __len__(self) -> int:
        return len(self.array)

    def rows(self, which: slice | Rows) -> Vectors:
        """Some of them, shape (n, d)."""
        part = np.array(self.array[which], dtype=np.float32)
        if self.similarity == "cosine":
            return unit_rows(part)
        return part

    def blocks(self, n_queries: int) -> list[slice]:
        """Rows that are held at once, with their scores for so many queries."""
        size = max(256, _BLOCK_BYTES // (4 * max(n_queries, int(self.array.shape[1]))))
        return [slice(start, start + size) for start in range(0, len(self), size)]


def temperature_of(queries: Vectors, chunks: ChunkVectors) -> float:
    """What scores are divided by in the loss: a share of how far a query's scores lie apart.

    Embedders differ in it by a factor of ten: in some all texts have cosines of 0.7 and more.

    Args:
        queries: Shape (n, d).
        chunks: The whole corpus, of which some are looked at.
    """
    some = np.unique(np.linspace(0, len(chunks) - 1, _LOOKED_AT).astype(np.intp))
    scores = queries[:_LOOKED_AT] @ chunks.rows(some).T
    # Where all vectors are one, rounding is all that tells scores apart.
    least = _LEAST_SPREAD * float(np.abs(scores).mean()) or 1.0
    return max(TEMPERATURE * float(scores.std(axis=1).mean()), least)


def nearest(queries: Vectors, chunks: ChunkVectors, answers: Answers, *, progress: bool) -> Rows | None:
    """The chunks nearest to each query, its answers aside, in one pass over the corpus.

    Args:
        queries: Shape (n, d).
        chunks: The whole corpus.
        answers: Rows of the corpus.
        progress: Whether a bar is shown.

    Returns:
        Shape (n, k); None where the corpus is so small that queries are told from all of it.
    """
    if len(chunks) <= WHOLE:
        return None
    k = max(1, min(NEAREST_EACH, NEAREST // len(queries)))
    scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
    rows = np.zeros((len(queries), k), dtype=np.intp)
    lines = np.repeat(np.arange(len(queries)), [len(found) for found in answers])
    columns = np.concatenate(answers)
    for part in tqdm(
        chunks.blocks(len(queries)), desc="nearest chunks", unit="block", leave=False, disable=not progress
    ):
        block = queries @ chunks.rows(part).T
        inside = (columns >= part.start) & (columns < part.start + block.shape[1])
        block[lines[inside], columns[inside] - part.start] = -np.inf
        # Most blocks hold nothing for most queries: only what beats the k-th so far is looked at.
        for line in np.flatnonzero(block.max(axis=1) > scores.min(axis=1)):
            better = np.flatnonzero(block[line] > scores[line].min())
            both = np.concatenate([scores[line], block[line, better]])
            kept = np.argpartition(-both, k - 1)[:k]
            scores[line], rows[line] = both[kept], np.concatenate([rows[line], better + part.start])[kept]
    return rows


def pool_of(near: Rows | None, chunks: ChunkVectors, answers: Answers, hidden: Rows, seed: int) -> tuple[Pool, Answers]:
    """What queries are told from, and their answers' rows in it.

    Args:
        near: The queries' nearest chunks, as `nearest` gives them.
        chunks: The whole corpus.
        answers: Rows of the corpus.
        hidden: Chunks that are not in it; answers are.
        seed: Draws the sample.
    """
    allowed = np.ones(len(chunks), dtype=bool)
    allowed[hidden] = False
    own = np.unique(np.concatenate(answers))
    if near is None:
        there = np.union1d(np.flatnonzero(allowed), own)
        log_weights = np.zeros(len(there), dtype=np.float32)
    else:
        close = np.unique(near)
        close = np.union1d(close[allowed[close]], own)
        allowed[close] = False
        others = np.flatnonzero(allowed)
        drawn = np.random.default_rng(seed).choice(others, min(SAMPLED, len(others)), replace=False)
        weight = np.log(max(len(others), 1) / max(len(drawn), 1))
        there = np.concatenate([close, np.sort(drawn)])
        log_weights = np.repeat(np.array([0.0, weight], dtype=np.float32), [len(close), len(drawn)])
    places = np.argsort(there)
    found = [places[np.searchsorted(there, rows, sorter=places)] for rows in answers]
    return Pool(chunks.rows(there), log_weights), found
