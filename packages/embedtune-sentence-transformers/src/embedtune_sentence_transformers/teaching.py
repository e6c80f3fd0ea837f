"""A teacher: a reranker or a larger embedder whose scores the model learns to follow."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from embedtune import EvaluationError, TuningError
from embedtune.caches import ScoreCache
from embedtune.reranking import ScoreOnce
from embedtune.resolve import as_embedder, as_reranker
from embedtune.search import EmbedOnce, normalised
from embedtune_sentence_transformers.pairs import TrainingPairs

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["Teacher", "find_teacher"]

logger = logging.getLogger(__name__)

_COSINE_TEMPERATURE = 0.05
"""An embedder's similarities are divided by it, so that they stand beside a reranker's logits."""


@dataclass(frozen=True)
class Teacher:
    """What a teacher thinks of queries with their answers and mined negatives (Hofstaetter et al. 2020)."""

    scores: Mapping[tuple[int, int], float]
    """By query and chunk; logits, or similarities over 0.05."""

    @classmethod
    def of(cls, teacher: ScoreOnce | EmbedOnce, pairs: TrainingPairs, negatives: npt.NDArray[np.int32]) -> "Teacher":
        """Ask the teacher what it was not asked before."""
        asked = [
            (query, int(chunk))
            for query in range(len(pairs.queries))
            for chunk in (*sorted(pairs.answers.get(query, ())), *negatives[query])
            if chunk >= 0
        ]
        texts = [(pairs.queries[query], pairs.chunks[chunk]) for query, chunk in asked]
        if isinstance(teacher, ScoreOnce):
            scores = teacher.score(texts)
        else:
            scores = _similarities(teacher, texts) / _COSINE_TEMPERATURE
        return cls(dict(zip(asked, map(float, scores), strict=True)))

    def matrix(self, queries: Sequence[int], chunks: Sequence[int]) -> torch.Tensor:
        """Shape (n_queries, n_chunks), NaN where the teacher was not asked."""
        rows = [[self.scores.get((query, chunk), float("nan")) for chunk in chunks] for query in queries]
        return torch.tensor(rows, dtype=torch.float32)


def find_teacher(given: object, plugins: "PluginManager", folder: Path) -> ScoreOnce | EmbedOnce:
    """The teacher that is meant, asked once for each pair or text for as long as the object lives.

    Args:
        given: A reference or object; one that reranks is taken as a reranker, any other as an embedder.
        plugins: Where it is looked up.
        folder: Where a reranker's scores are kept for a resumed run.

    Raises:
        TuningError: If it is neither.
    """
    reasons = []
    try:
        return ScoreOnce(as_reranker(given, plugins), ScoreCache(folder))
    except (EvaluationError, LookupError) as error:
        reasons.append(str(error))
    try:
        return EmbedOnce(as_embedder(given, plugins))
    except (EvaluationError, LookupError) as error:
        reasons.append(str(error))
    raise TuningError(f"teacher={given!r:.80} is neither a reranker nor an embedder: {' '.join(reasons)}")


def _similarities(embedder: EmbedOnce, texts: Sequence[tuple[str, str]]) -> npt.NDArray[np.float32]:
    queries = embedder.embed_queries([query for query, _ in texts])
    chunks = embedder.embed_documents([chunk for _, chunk in texts])
    if embedder.similarity == "cosine":
        queries, chunks = normalised(queries), normalised(chunks)
    return np.asarray(np.einsum("ij,ij->i", queries, chunks), dtype=np.float32)
