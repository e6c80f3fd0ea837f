"""The contrastive loss: a query's own chunk against the other chunks of the batch, right answers masked."""

from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

__all__ = ["MASKED", "NEGATIVE", "OWN", "MaskedInBatchLoss"]

OWN, NEGATIVE, MASKED = 1, 0, -1
"""Entries of the label matrix: the query's own chunk, a negative, another right answer."""


class MaskedInBatchLoss(nn.Module):
    """Cross-entropy over similarities within the batch (InfoNCE; van den Oord et al. 2018).

    A chunk that also answers the query, or has the same text as one that does, is neither its target nor its
    negative: it is left out of the sum.

    Args:
        model: The model in training.
        temperature: Divides the similarities; 0.05 suits cosine.
        similarity: ``"cosine"`` or ``"dot"``.
    """

    def __init__(self, model: SentenceTransformer, temperature: float = 0.05, similarity: str = "cosine") -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.similarity = similarity

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean loss in nats.

        Args:
            features: Tokenised queries in one or several groups, then tokenised distinct chunks likewise.
            labels: Shape (n_queries, n_chunks), of `OWN`, `NEGATIVE` and `MASKED`; one `OWN` in a row.
        """
        vectors = torch.cat([self.model(group)["sentence_embedding"].float() for group in features])
        queries, chunks = vectors[: len(labels)], vectors[len(labels) :]
        if self.similarity == "cosine":
            queries, chunks = (nn.functional.normalize(side, dim=-1) for side in (queries, chunks))
        logits = (queries @ chunks.T) / self.temperature
        logits = logits.masked_fill(labels == MASKED, -torch.inf)
        return nn.functional.cross_entropy(logits, (labels == OWN).long().argmax(dim=1))

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for logs."""
        return {"temperature": self.temperature, "similarity": self.similarity}
