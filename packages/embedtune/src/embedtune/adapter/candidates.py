"""What a trained map may become: its ranks and strengths, each scored on queries that were held back."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.adapter.fitting import Factors, truncated
from embedtune.adapter.objective import Answers
from embedtune.adapter.pooling import ChunkVectors
from embedtune.metrics import per_query
from embedtune.protocols import Vectors

__all__ = ["RANKS", "STRENGTHS", "Candidate", "candidate_values"]

RANKS = (8, 32, 128)
"""Besides these the map as it was trained."""
STRENGTHS = (0.25, 0.5, 0.75, 1.0)
"""How much of the map is added to the identity."""


_ROUNDING = 2e-6
"""Of the product of two lengths: what two ways of computing one score may lie apart."""


@dataclass(frozen=True, order=True)
class Candidate:
    """A map, by how it is made of training."""

    n_passes: int
    """Over the queries."""
    rank: int
    """Of the change; the vectors' dimensions where it is not cut."""
    strength: float
    """What the change is multiplied by."""

    def __str__(self) -> str:
        return f"{self.n_passes} passes, rank {self.rank}, strength {self.strength:g}"

    def factors(self, looks: Mapping[int, Vectors]) -> Factors:
        """Its change at full strength, of what a training came to after each number of passes."""
        return truncated(looks[self.n_passes], self.rank)


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
    columns = np.concatenate(answers)
    own_rows = chunks.rows(columns)
    own = [np.einsum("ij,ij->i", side[lines], own_rows) for side in (queries, *mapped)]
    slack = _ROUNDING * np.linalg.norm(queries, axis=1)[lines] * np.linalg.norm(own_rows, axis=1)
    before = np.zeros((1 + len(changes) * len(strengths), len(lines)), dtype=np.int64)
    for part in chunks.blocks(len(queries)):
        block = chunks.rows(part)
        earlier = np.clip(columns - part.start, 0, len(block))
        for place, scores, limits in _lines(queries @ block.T, mapped, strengths, block, own):
            # Of equal scores the earlier chunk is before, as in exact search; products of matrices round.
            for line, (row, n, low, high) in enumerate(
                zip(lines, earlier, limits - slack, limits + slack, strict=True)
            ):
                before[place, line] += np.count_nonzero(scores[row, :n] >= low)
                before[place, line] += np.count_nonzero(scores[row, n:] > high)
    return _metric(before, answers, metric)


def _metric(before: npt.NDArray[np.int64], answers: Answers, metric: str) -> npt.NDArray[np.float64]:
    ends = np.cumsum([len(found) for found in answers])[:-1]
    grades = [[1.0] * len(found) for found in answers]
    ranks = [[part.tolist() for part in np.split(1 + counts, ends)] for counts in before]
    return np.stack([per_query(found, grades, [metric])[metric] for found in ranks])


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
