"""Scores a model in training on validation queries, and keeps the candidates on disk."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtune import QADataset
from embedtune.evaluation import evaluate_search
from embedtune.folders import read_state, replace_file
from embedtune.protocols import Embedder
from embedtune.search import ExactSearch
from embedtune_sentence_transformers.encoding import CandidateEmbedder
from embedtune_sentence_transformers.preparing import plain_state

__all__ = ["Candidate", "Candidates", "Scorer"]

logger = logging.getLogger(__name__)

_POINTS = "candidates.json"
_POOL = "pool.json"
_WEIGHTS = "best.safetensors"

SEARCHED_WHOLE = 5000
"""A validation corpus of up to so many chunks is searched whole."""
NEAREST = 50
"""Of a larger one: this many chunks for each validation query, nearest by the base model, besides its answers."""


@dataclass(frozen=True)
class Candidate:
    """Weights that may become the tuned model's."""

    index: int
    """0 is the base model; then one for each validation, then the interpolations."""
    step: int
    """Optimiser steps done."""
    epoch: float
    """Passes over the pairs done."""
    values: Mapping[str, tuple[float, ...]]
    """Each metric for each validation query."""
    share: float = 1.0
    """Of the way from the base's weights to those of this step."""

    @property
    def metrics(self) -> dict[str, float]:
        """Means over the validation queries."""
        return {name: float(np.mean(values)) for name, values in self.values.items()}


@dataclass(frozen=True)
class Scorer:
    """Searches the validation queries exactly, with the model as it is now."""

    valset: QADataset
    """Validation queries and their corpus."""
    metric: str
    """Such as ``ndcg@10``; computed beside hit rate."""
    precision: str
    """``"fp32"`` or ``"bf16"``."""
    progress: bool
    """Whether a bar is shown."""

    def embedder(self, model: SentenceTransformer) -> CandidateEmbedder:
        """The model as it stands, for scoring."""
        return CandidateEmbedder(
            model, precision=self.precision, batch_size=64, progress=None if self.progress else False
        )

    def narrowed(self, base: Embedder, folder: Path) -> "Scorer":
        """The same over a part of a large corpus, so that a candidate does not cost an embedding of all of it.

        The part is the validation answers and what the base model finds nearest to each validation query. A chunk
        that the base ranks below `NEAREST` and a candidate ranks among the first is missed: rare, and in the
        candidate's favour, which is why the figures reported later come from whole corpora.

        Args:
            base: The base model.
            folder: Keeps the choice for a resumed run.
        """
        if len(self.valset.corpus) <= SEARCHED_WHOLE:
            return self
        file = folder / _POOL
        if not file.is_file():
            found = ExactSearch(self.valset.corpus, base).search(list(self.valset.queries.values()), NEAREST)
            with replace_file(file) as partial:
                partial.write_text(json.dumps(sorted({chunk for chunks in found for chunk in chunks})))
        pool = set(read_state(file))
        pool |= {chunk for answers in self.valset.relevant_docs.values() for chunk in answers}
        logger.info("validating on %d of %d chunks", len(pool), len(self.valset.corpus))
        chunks = [chunk for chunk in self.valset.corpus if chunk in pool]
        return replace(self, valset=self.valset.subset(list(self.valset.queries), chunks))

    def score(self, embedder: Embedder) -> dict[str, tuple[float, ...]]:
        """Each metric for each validation query."""
        search = ExactSearch(self.valset.corpus, embedder)
        k = int(self.metric.partition("@")[2])
        evaluation = evaluate_search(search, self.valset, k, cut_offs=(5, 10))
        names = dict.fromkeys([self.metric, "hit_rate@5", "mrr@10", "ndcg@10"])
        return {name: tuple(evaluation.per_query[name].tolist()) for name in names}


@dataclass
class Candidates:
    """The candidates of one run, and the weights of the best checkpoint; on disk, so that a kill loses none."""

    folder: Path
    metric: str
    points: list[Candidate] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, metric: str) -> "Candidates":
        """What an interrupted run left, or nothing."""
        file = folder / _POINTS
        if not file.is_file():
            return cls(folder, metric)
        rows: list[dict[str, Any]] = read_state(file)
        return cls(folder, metric, [Candidate(**row) for row in rows])

    def value(self, candidate: Candidate) -> float:
        """The candidate's mean of the choosing metric."""
        return candidate.metrics[self.metric]

    def __contains__(self, index: int) -> bool:
        return any(point.index == index for point in self.points)

    @property
    def weights(self) -> Path:
        """Where the weights of the best checkpoint are."""
        return self.folder / _WEIGHTS

    def add(self, candidate: Candidate, model: SentenceTransformer | CrossEncoder | None) -> None:
        """Keep a candidate, and its weights if a model is given and no checkpoint before was better.

        Weights are written before they are named: a kill in between repeats the candidate and nothing else.
        """
        others = [point for point in self.points if point.index != candidate.index]
        before = [self.value(point) for point in others if 0 < point.index < candidate.index]
        if model is not None and all(self.value(candidate) > value for value in before):
            with replace_file(self.weights) as partial:
                save_file(plain_state(model), partial)
        self.points = sorted([*others, candidate], key=lambda point: point.index)
        with replace_file(self.folder / _POINTS) as partial:
            partial.write_text(json.dumps([vars(point) for point in self.points]), encoding="utf-8")
