"""The contrastive loss: a query's own chunk against the other chunks of the batch, right answers masked."""

import copy
from collections.abc import Iterable, Sequence
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from torch import Tensor, nn

from embedtune import TuningError
from embedtune_sentence_transformers.embedder import embedding_dimension
from embedtune_sentence_transformers.parallel import SideBySide

__all__ = ["MASKED", "NEGATIVE", "OWN", "MaskedInBatchLoss", "chosen_loss", "described_loss", "given_loss"]

OWN, NEGATIVE, MASKED = 1, 0, -1
"""Entries of the label matrix: a pair that is trained on, a negative, another right answer."""


_NOTHING = -1e30
"""A logit that adds nothing to a sum; infinity would make a gradient of 0 times infinity where nothing is left."""


class MaskedInBatchLoss(nn.Module):
    """Cross-entropy over similarities within the batch (InfoNCE; van den Oord et al. 2018).

    A chunk that also answers the query, or has the same text as one that does, is neither its target nor its
    negative: it is left out of the sum.

    Args:
        model: The model in training.
        temperature: Divides the similarities; 0.05 suits cosine.
        similarity: ``"cosine"`` or ``"dot"``.
        symmetric: Whether each chunk is also told from the batch's other queries, with equal weight.
        dims: Leading dimensions that are to serve alone too (Matryoshka; Kusupati et al. 2022), besides all.
        teacher_weight: Share of the loss that follows a teacher's scores, where the labels bring them.
        teacher_temperature: Divides the teacher's scores.
        precision: ``"fp32"``, or ``"bf16"`` to encode by autocast; similarities are float32 in both.
    """

    def __init__(
        self,
        model: SentenceTransformer,
        temperature: float = 0.05,
        similarity: str = "cosine",
        *,
        symmetric: bool = False,
        dims: Sequence[int] = (),
        teacher_weight: float = 0.5,
        teacher_temperature: float = 1.0,
        precision: str = "fp32",
    ) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.similarity = similarity
        self.symmetric = symmetric
        self.dims = tuple(dims)
        self.teacher_weight = teacher_weight
        self.teacher_temperature = teacher_temperature
        self.precision = precision
        self._side_by_side: SideBySide | None = None

    def forward(self, features: Iterable[dict[str, Tensor]], labels: Tensor) -> Tensor:
        """The mean loss in nats.

        Args:
            features: Tokenised queries in one or several groups, then tokenised distinct chunks likewise.
            labels: Shape (n_queries, n_chunks), of `OWN`, `NEGATIVE` and `MASKED`, an `OWN` at least in a row; or
                stacked on a teacher's scores of the same shape, NaN where there is none.
        """
        labels, teacher = (labels, None) if labels.ndim == 2 else (labels[0], labels[1])
        vectors = self._encoded(list(features))
        losses = [self._loss(vectors[:, :dim], labels, teacher) for dim in (*self.dims, vectors.shape[1])]
        return torch.stack(losses).mean()

    def _encoded(self, groups: list[dict[str, Tensor]]) -> Tensor:
        # The trainer may have put another model in the place of the one that was given.
        if self._side_by_side is None or self._side_by_side.model is not self.model:
            self._side_by_side = SideBySide(self.model, self.precision)
        return self._side_by_side(groups)

    def _loss(self, vectors: Tensor, labels: Tensor, teacher: Tensor | None) -> Tensor:
        queries, chunks = vectors[: len(labels)], vectors[len(labels) :]
        if self.similarity == "cosine":
            queries, chunks = (nn.functional.normalize(side, dim=-1) for side in (queries, chunks))
        logits = (queries @ chunks.T) / self.temperature
        loss = _contrast(logits, labels)
        if self.symmetric:
            loss = (loss + _contrast(logits.T, labels.T)) / 2
        if teacher is not None:
            follow = _divergence(logits, teacher / self.teacher_temperature)
            loss = (1 - self.teacher_weight) * loss + self.teacher_weight * follow
        return loss

    def get_config_dict(self) -> dict[str, Any]:
        """The settings, for logs."""
        return {"temperature": self.temperature, "similarity": self.similarity, "symmetric": self.symmetric}


def _contrast(logits: Tensor, labels: Tensor) -> Tensor:
    """Each `OWN` entry against the `NEGATIVE` ones of its row: the mean over the entries."""
    against = logits.masked_fill(labels != NEGATIVE, _NOTHING).logsumexp(dim=1, keepdim=True)
    own = labels == OWN
    return (torch.logaddexp(logits, against) - logits)[own].mean()


def _divergence(logits: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the model's distribution over the chunks that the teacher scored from its own."""
    known = ~teacher.isnan()
    rows = known.sum(dim=1) > 1
    if not rows.any():
        return logits.sum() * 0.0
    known, logits = known[rows], logits[rows]
    aims = teacher[rows].masked_fill(~known, _NOTHING).softmax(dim=1)
    told = logits.masked_fill(~known, _NOTHING).log_softmax(dim=1)
    return nn.functional.kl_div(told, aims, reduction="batchmean")


def chosen_loss(model: SentenceTransformer, given: Any, temperature: float | None, **settings: Any) -> nn.Module:
    """The loss of a run.

    Args:
        model: The model in training.
        given: As `Options.loss`.
        temperature: As `Options.temperature`.
        settings: Of `MaskedInBatchLoss`, where none is given.

    Raises:
        TuningError: If the callable returns no loss, or the model has not so many dimensions.
    """
    if given is None:
        similarity = str(model.similarity_fn_name or "cosine")
        temperature = temperature or (1.0 if similarity == "dot" else 0.05)
        _check_dims(model, settings.get("dims", ()))
        return MaskedInBatchLoss(model, temperature, similarity, **settings)
    return given_loss(model, given, SentenceTransformer)


def given_loss(model: nn.Module, given: Any, kind: type[nn.Module]) -> nn.Module:
    """A loss of the user's own for a model in training.

    Args:
        model: The model in training.
        given: A callable that makes the loss of it, or an instance.
        kind: What the model of an instance is.

    Raises:
        TuningError: If the callable returns no loss.
    """
    if isinstance(given, nn.Module):
        # A copy, so that each run begins with it as it was given; in it this model stands for its own.
        theirs = {id(module): model for module in given.modules() if isinstance(module, kind)}
        return copy.deepcopy(given, dict(theirs))
    loss = given(model)
    if not isinstance(loss, nn.Module):
        raise TuningError(f"The callable given as loss must return a torch.nn.Module; got {loss!r:.80}.")
    return loss


def _check_dims(model: SentenceTransformer, dims: Sequence[int]) -> None:
    largest, there_are = max(dims, default=0), embedding_dimension(model)
    if largest > there_are:
        raise TuningError(
            f"matryoshka_dims={tuple(dims)!r} must be leading dimensions of the model's vectors: {largest} are more "
            f"than its {there_are}."
        )


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
