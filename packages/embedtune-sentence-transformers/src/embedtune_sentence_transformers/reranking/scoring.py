"""Scores a cross-encoder in training by what its reranking makes of the validation questions' finds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from sentence_transformers import CrossEncoder

from embedtune import QADataset
from embedtune.evaluation import evaluate_search
from embedtune.metrics import parse_metric
from embedtune.protocols import Search
from embedtune.reranking import RerankedSearch, ScoreOnce
from embedtune_sentence_transformers.reranker import CrossEncoderReranker

__all__ = ["FixedFinds", "RerankScorer"]

_BESIDE = ("hit_rate@1", "hit_rate@5", "mrr@10", "ndcg@10")
"""Told beside the choosing metric, where so many finds are reranked."""


@dataclass(frozen=True)
class FixedFinds:
    """A search whose finds are known."""

    found: Mapping[str, Sequence[str]]
    """Chunk ids by question text, best first."""

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The first ``k`` of each."""
        return [list(self.found[query][:k]) for query in queries]


@dataclass(frozen=True)
class RerankScorer:
    """Reranks the finds of the validation questions."""

    valset: QADataset
    """Validation questions and their corpus."""
    finds: FixedFinds
    """Of each question."""
    metric: str
    """Such as ``ndcg@10``."""
    depth: int
    """Finds that are reranked."""
    precision: str
    """``"fp32"`` or ``"bf16"``."""
    progress: bool
    """Whether a bar is shown."""

    def without_reranking(self) -> dict[str, tuple[float, ...]]:
        """Each metric for each question, in the search's own order."""
        return self._values(self.finds)

    def score(self, model: CrossEncoder) -> dict[str, tuple[float, ...]]:
        """Each metric for each question, reranked by the model as it is."""
        once = ScoreOnce(CrossEncoderReranker(model, batch_size=64), progress=self.progress)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self._values(RerankedSearch(self.finds, self.valset.corpus, once, self.depth))

    def _values(self, search: Search) -> dict[str, tuple[float, ...]]:
        names = [self.metric, *(name for name in _BESIDE if parse_metric(name)[1] <= self.depth)]
        cut_offs = [parse_metric(name)[1] for name in names]
        evaluation = evaluate_search(search, self.valset, cut_offs[0], cut_offs=cut_offs)
        return {name: tuple(evaluation.per_query[name].tolist()) for name in dict.fromkeys(names)}
