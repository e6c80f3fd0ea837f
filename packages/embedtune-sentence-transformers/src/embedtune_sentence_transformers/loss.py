"""The contrastive loss: a query's own chunk against the other chunks of the batch, right answers masked."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from embedtune import TuningError

__all__ = ["MASKED", "NEGATIVE", "OWN", "MaskedInBatchLoss", "chosen_loss", "described_loss"]

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


def chosen_loss(model: SentenceTransformer, given: Any, temperature: float | None) -> nn.Module:
    """The loss of a run.

    Args:
        model: The model in training.
        given: As `Options.loss`.
        temperature: As `Options.temperature`.

    Raises:
        TuningError: If the callable returns no loss.
    """
    if given is None:
        similarity = str(model.similarity_fn_name or "cosine")
        return MaskedInBatchLoss(model, temperature or (1.0 if similarity == "dot" else 0.05), similarity)
    if isinstance(given, nn.Module):
        # A copy, so that each run begins with it as it was given; in it this model stands for its own.
        theirs = {id(module): model for module in given.modules() if isinstance(module, SentenceTransformer)}
        return copy.deepcopy(given, dict(theirs))
    loss = given(model)
    if not isinstance(loss, nn.Module):
        raise TuningError(f"The callable given as loss must return a torch.nn.Module; got {loss!r:.80}.")
    return loss


def described_loss(loss: Any) -> str | None:
    """A loss's name and settings: the same for the same loss, in the next process too."""
    if loss is None:
        return None
    if not isinstance(loss, nn.Module):
        return f"{loss.__module__}.{getattr(loss, '__qualname__', type(loss).__qualname__)}"
    describe = getattr(loss, "get_config_dict", None)
    settings: dict[str, Any] = describe() if callable(describe) else {}
    told = ", ".join(f"{name}={getattr(value, '__name__', value)}" for name, value in sorted(settings.items()))
    return f"{type(loss).__module__}.{type(loss).__qualname__}({told})"
