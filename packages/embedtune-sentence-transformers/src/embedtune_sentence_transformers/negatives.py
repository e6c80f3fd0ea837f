"""Hard negatives: chunks that a model ranks near a query although they do not answer it."""

import logging
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file, save_file
from sentence_transformers import SentenceTransformer

from embedtune.folders import replace_file
from embedtune.protocols import Embedder
from embedtune.reranking import ScoreOnce
from embedtune.search import EmbedOnce, normalised
from embedtune_sentence_transformers.encoding import CandidateEmbedder
from embedtune_sentence_transformers.options import DEPTH, Options
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.teaching import Teacher

__all__ = ["HardNegatives", "NegativeMiner", "mine"]

logger = logging.getLogger(__name__)

_SEARCHED = 128
"""Nearest chunks below the margin that are looked through for them."""
_SAME = 0.95
"""A chunk so near to an answer (cosine) most likely answers too."""
_AT_ONCE = 1024


@dataclass(frozen=True)
class HardNegatives:
    """Mined chunks by query, and what a teacher says of them."""

    chunks: npt.NDArray[np.int32]
    """Shape (n_queries, `DEPTH`): indices of chunks, nearest first; -1 where there are fewer."""
    per_query: int
    """How many a batch draws for a query."""
    teacher: Teacher | None = None

    def draw(self, query: int, rng: random.Random) -> list[int]:
        """Some of a query's negatives."""
        found = [int(chunk) for chunk in self.chunks[query] if chunk >= 0]
        return rng.sample(found, min(self.per_query, len(found)))


class NegativeMiner:
    """Mines for a run and keeps what it found beside the checkpoints, so that a resumed run trains on the same.

    Args:
        pairs: The run's.
        options: How many, how hard, and how often anew.
        folder: The run's.
        precision: ``"fp32"`` or ``"bf16"``.
        teacher: Scores them, if there is one.
    """

    def __init__(
        self,
        pairs: TrainingPairs,
        options: Options,
        folder: Path,
        precision: str,
        teacher: ScoreOnce | EmbedOnce | None,
    ) -> None:
        self._pairs = pairs
        self._options = options
        self._folder = folder
        self._precision = precision
        self._teacher = teacher

    def negatives(self, model: SentenceTransformer, epoch: int) -> HardNegatives:
        """Those of an epoch, mined with the model as it is where they are not there yet."""
        every = self._options.refresh_negatives
        mined_at = 0 if every is None else epoch - epoch % every
        file = self._folder / f"negatives-{mined_at}.safetensors"
        if not file.is_file():
            model.eval()
            shown = None if self._options.progress else False
            embedder = CandidateEmbedder(model, precision=self._precision, batch_size=64, progress=shown)
            found = mine(self._pairs, embedder, margin=self._options.negative_margin)
            model.train()
            with replace_file(file) as partial:
                save_file({"chunks": found}, partial)
        chunks = load_file(file)["chunks"]
        scores = Teacher.of(self._teacher, self._pairs, chunks) if self._teacher is not None else None
        return HardNegatives(chunks, self._options.hard_negatives, scores)


def mine(pairs: TrainingPairs, embedder: Embedder, *, margin: float) -> npt.NDArray[np.int32]:
    """The nearest chunks of each query that are no answer.

    A chunk whose similarity to the query is above ``margin`` times that of its nearest answer is left out, since it
    may answer too (the relative margin of Moreira et al. 2024, "NV-Retriever"); so is one that is all but equal to an
    answer.

    Args:
        pairs: All chunks are searched, answers of other queries among them.
        embedder: The base model, or the one in training.
        margin: In (0, 1].

    Returns:
        Shape (n_queries, `DEPTH`): indices of chunks, nearest first; -1 where there are fewer.
    """
    queries, chunks = (
        normalised(vectors)
        for vectors in (embedder.embed_queries(pairs.queries), embedder.embed_documents(pairs.chunks))
    )
    found = np.full((len(pairs.queries), DEPTH), -1, dtype=np.int32)
    n_searched = min(_SEARCHED, len(pairs.chunks))
    for start in range(0, len(queries), _AT_ONCE):
        scores = queries[start : start + _AT_ONCE] @ chunks.T
        limits = [margin * scores[row, list(pairs.answers[start + row])].max() for row in range(len(scores))]
        # Set aside before the search: where many chunks are above the margin, the nearest would all be such.
        scores[scores >= np.array(limits)[:, None]] = -np.inf
        nearest = np.argpartition(-scores, n_searched - 1, axis=1)[:, :n_searched]
        for row, candidates in enumerate(nearest):
            answers = list(pairs.answers[start + row])
            kept = candidates[(scores[row, candidates] > -np.inf) & ~np.isin(candidates, answers)]
            kept = kept[(chunks[kept] @ chunks[answers].T).max(axis=1, initial=-1.0) < _SAME]
            kept = kept[np.lexsort((kept, -scores[row, kept]))][:DEPTH]
            found[start + row, : len(kept)] = kept
    logger.info("hard negatives for %d of %d queries", int((found[:, 0] >= 0).sum()), len(found))
    return found
