"""Scores a model in training on validation queries, and keeps the candidates on disk."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.torch import save_file
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune.evaluation import evaluate_search
from embedtune.folders import replace_file
from embedtune.protocols import Embedder
from embedtune.search import ExactSearch
from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder

__all__ = ["Candidate", "Candidates", "Scorer"]

logger = logging.getLogger(__name__)

_POINTS = "candidates.json"
_WEIGHTS = "best.safetensors"


@dataclass(frozen=True)
class Candidate:
    """A point of training that may become the tuned model."""

    index: int
    """0 is the base model; then one for each validation."""
    step: int
    """Optimiser steps done."""
    epoch: float
    """Passes over the pairs done."""
    values: Mapping[str, tuple[float, ...]]
    """Each metric for each validation query."""

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

    def embedder(self, model: SentenceTransformer) -> SentenceTransformerEmbedder:
        """The model as it stands, for scoring."""
        return SentenceTransformerEmbedder(
            model, precision=self.precision, batch_size=64, progress=None if self.progress else False
        )

    def score(self, embedder: Embedder) -> dict[str, tuple[float, ...]]:
        """Each metric for each validation query."""
        search = ExactSearch(self.valset.corpus, embedder)
        k = int(self.metric.partition("@")[2])
        evaluation = evaluate_search(search, self.valset, k, cut_offs=(5, 10))
        names = dict.fromkeys([self.metric, "hit_rate@5", "mrr@10", "ndcg@10"])
        return {name: tuple(evaluation.per_query[name].tolist()) for name in names}


@dataclass
class Candidates:
    """The candidates of one run, and the weights of the best; on disk, so that a kill loses none."""

    folder: Path
    metric: str
    points: list[Candidate] = field(default_factory=list)

    @classmethod
    def load(cls, folder: Path, metric: str) -> "Candidates":
        """What an interrupted run left, or nothing."""
        file = folder / _POINTS
        if not file.is_file():
            return cls(folder, metric)
        rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
        return cls(folder, metric, [Candidate(**row) for row in rows])

    def value(self, candidate: Candidate) -> float:
        """The candidate's mean of the choosing metric."""
        return candidate.metrics[self.metric]

    @property
    def best(self) -> Candidate:
        """The candidate with the highest value; of equal ones the earlier."""
        return max(self.points, key=lambda point: (self.value(point), -point.index))

    @property
    def weights(self) -> Path:
        """Where the weights of the best candidate are, unless it is the base model."""
        return self.folder / _WEIGHTS

    def add(self, candidate: Candidate, model: SentenceTransformer | None) -> None:
        """Keep a candidate, and its weights if it is the best so far.

        Weights are written before they are named: a kill in between repeats the candidate and nothing else.
        """
        others = [point for point in self.points if point.index != candidate.index]
        if model is not None and all(self.value(candidate) > self.value(point) for point in others):
            state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
            with replace_file(self.weights) as partial:
                save_file(state, partial)
        self.points = sorted([*others, candidate], key=lambda point: point.index)
        with replace_file(self.folder / _POINTS) as partial:
            partial.write_text(json.dumps([vars(point) for point in self.points]), encoding="utf-8")
