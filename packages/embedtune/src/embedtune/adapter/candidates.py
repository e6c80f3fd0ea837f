"""What a trained map may become: its ranks and strengths, each scored on queries that were held back."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.adapter.fitting import Factors
from embedtune.adapter.objective import Answers
from embedtune.adapter.pooling import ChunkVectors
from embedtune.metrics import per_query
from embedtune.protocols import Vectors

__all__ = ["RANKS", "STRENGTHS", "Candidate", "candidate_values"]

RANKS = (8, 32, 128)
"""Besides these the map as it was trained."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""How much of the map is added to the identity."""


@dataclass(frozen=True, order=True)
class Candidate:
    """A map, by how it is made of training."""

    n_passes: int
    """Over the queries."""
    rank: int
    """Of the change; the vectors' dimensions where it is not cut."""
    strength: float
    """What the change is multiplied by."""


def candidate_values(
    queries: Vectors,
    changes: Sequence[Factors],
    strengths: Sequence[float],
    chunks: ChunkVectors,
    answers: Answers,
    metric: str,
) -> npt.NDArray[np.float64]:
    """A retrieval metric of each query under the identity and each change at each strength.

    The score of a strength lies on the line between those of the identity and of the whole change, so that each
    change costs one product with the corpus, whatever the number of strengths.

    Args:
        queries: Shape (n, d).
        changes: Maps at full strength.
        strengths: Of each of them.
        chunks: The whole corpus.
        answers: Rows of the corpus.
        metric: Such as ``ndcg@10``.

    Returns:
        Shape (1 + n_changes * n_strengths, n), the identity first, then the strengths of the first change.
    """
    mapped = [change.change(queries) for change in changes]
    lines = np.repeat(np.arange(len(queries)), [len(found) for found in answers])
    own_rows = chunks.rows(np.concatenate(answers))
    own = [np.einsum("ij,ij->i", side[lines], own_rows) for side in (queries, *mapped)]
    before = np.zeros((1 + len(changes) * len(strengths), len(lines)), dtype=np.int64)
    size = chunks.block_size(len(queries))
    for start in chunks.starts(len(queries)):
        block = chunks.rows(slice(start, start + size))
        base = queries @ block.T
        for place, scores, limits in _lines(base, mapped, strengths, block, own):
            for line, (row, limit) in enumerate(zip(lines, limits, strict=True)):
                before[place, line] += np.count_nonzero(scores[row] > limit)
    ends = np.cumsum([len(found) for found in answers])[:-1]
    grades = [[1.0] * len(found) for found in answers]
    return np.stack(
        [
            per_query([part.tolist() for part in np.split(1 + counts, ends)], grades, [metric])[metric]
            for counts in before
        ]
    )


def _lines(
    base: Vectors, mapped: Sequence[Vectors], strengths: Sequence[float], block: Vectors, own: Sequence[Vectors]
) -> Iterator[tuple[int, Vectors, Vectors]]:
    """Place, scores with a block and scores of the answers, of the identity and each candidate."""
    yield 0, base, own[0]
    for number, side in enumerate(mapped):
        change = side @ block.T
        for step, strength in enumerate(strengths):
            weight = np.float32(strength)
            yield 1 + number * len(strengths) + step, base + weight * change, own[0] + weight * own[1 + number]
