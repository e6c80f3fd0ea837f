"""The options of the reranker tuner, checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from embedtune import TuningError
from embedtune.fingerprints import fingerprint_of_settings
from embedtune.validation import MOST_FOLDS
from embedtune_sentence_transformers.loss import described_loss
from embedtune_sentence_transformers.options import check_metric, check_rules, described_model
from embedtune_sentence_transformers.precision import PRECISIONS

__all__ = ["RerankerOptions", "SettledReranker"]


@dataclass(frozen=True, kw_only=True)
class RerankerOptions:
    """Options of ``embedtune.tune(..., tuner="reranker")``.

    Raises:
        TuningError: If one is out of range, or there is nothing that gives wrong chunks.
    """

    embedder: Any = None
    """The embedder in use, as a reference or object: what it finds is what the reranker learns to put in order. Needed
    unless ``known_negatives`` are given."""
    known_negatives: Any = None
    """Ids of chunks that are known not to answer, by query id; each is trained on, beside those that are found. Without
    an ``embedder`` a query's own are all that its answers are told from, in training and validation."""
    negatives: int = 3
    """Wrong chunks of each question that are drawn from what the embedder finds for it."""
    random_negatives: int = 2
    """Wrong chunks of each question that are drawn from all, where there is an embedder: from hard ones alone a new
    score layer learns little."""
    depth: int = 30
    """Finds of each question that negatives are drawn from, and that validation reranks."""
    batch_size: int = 64
    """Pairs of question and chunk in an optimiser step."""
    learning_rate: float | None = None
    """Peak rate of AdamW, reached after the warm-up, then falling linearly to 0; None: by the model's size, 1e-4 for a
    small one, and twice that where the score layer is new."""
    warmup_ratio: float = 0.1
    """Share of the steps in which the rate rises."""
    weight_decay: float = 0.0
    """AdamW's decay per step, times the rate."""
    dropout: float | None = 0.0
    """Dropout in training; None keeps the model's own."""
    max_length: int | None = None
    """Tokens read of a question and a chunk together, in training and in the tuned model; None: the base's own."""
    loss: Any = None
    """A loss of sentence-transformers for pairs with a label of 1 or 0, instead of the binary cross-entropy: a callable
    that makes it of the cross-encoder in training, or an instance, which is copied for it."""
    metric: str = "ndcg@10"
    """The metric of the reranked finds that chooses the checkpoint."""
    validations_per_epoch: int = 2
    """Candidates in each epoch, evenly spaced, besides step 0; each reranks all validation questions' finds."""
    folds: int = 0
    """Folds of a cross-validation where no valset is given and a fifth of the questions are under 300; 0 holds a tenth
    back however small, since each fold is a training of its own."""
    checkpoint_minutes: float = 5.0
    """Training is resumable from the last validation, or from so long ago."""
    checkpoint_steps: int | None = None
    """Resumable from every so many steps besides."""
    precision: str = "auto"
    """``"fp32"``, ``"bf16"`` (autocast; weights stay float32), or ``"auto"``: bf16 where the processor has it."""
    trust_remote_code: bool = False
    """Whether Python code from the base model's folder may run."""
    device: str | None = None
    """Such as ``"cpu"``; the fastest there is if None."""
    progress: bool = True
    """Whether bars are shown."""

    def __post_init__(self) -> None:
        if self.embedder is None and self.known_negatives is None:
            raise TuningError(
                "The reranker tuner needs embedder=...: the embedding model in use, as a folder, hub name or object. "
                "What it finds besides the answers is what the reranker learns to tell from them. Where wrong chunks "
                "are known, known_negatives={query_id: [chunk_id, ...]} does without."
            )
        check_rules(self, self._rules())
        _, k = check_metric(self.metric)
        if k > self.depth:
            raise TuningError(
                f"metric={self.metric!r} looks at {k} finds, and only depth={self.depth} are reranked. Give a depth of "
                f"at least {k}, or a metric at a smaller cut-off."
            )

    def _rules(self) -> dict[str, tuple[bool, str]]:
        return {
            "known_negatives": (
                self.known_negatives is None or _are_ids(self.known_negatives),
                "lists of chunk ids by query id",
            ),
            "negatives": (1 <= self.negatives <= self.depth, f"at least 1 and at most depth={self.depth}"),
            "random_negatives": (self.random_negatives >= 0, "at least 0"),
            "depth": (self.depth >= 2, "at least 2: one find has no order"),
            "batch_size": (self.batch_size >= 2, "at least 2"),
            "learning_rate": (self.learning_rate is None or 0 < self.learning_rate < 1, "above 0 and below 1"),
            "warmup_ratio": (0 <= self.warmup_ratio < 1, "in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)"),
            "max_length": (self.max_length is None or self.max_length >= 8, "at least 8"),
            "loss": (self.loss is None or callable(self.loss), "a loss, or a callable that makes one of the model"),
            "validations_per_epoch": (self.validations_per_epoch >= 1, "at least 1"),
            "folds": (0 <= self.folds <= MOST_FOLDS, f"in [0, {MOST_FOLDS}]"),
            "checkpoint_minutes": (self.checkpoint_minutes > 0, "above 0"),
            "checkpoint_steps": (self.checkpoint_steps is None or self.checkpoint_steps >= 1, "at least 1"),
            "precision": (self.precision in PRECISIONS, f"one of {', '.join(map(repr, PRECISIONS))}"),
        }

    def described(self) -> dict[str, Any]:
        """All options, as they stand in a file; of ``known_negatives`` their number and a hash."""
        known = self.known_negatives
        told = None
        if known is not None:
            plain = {str(query): list(map(str, chunks)) for query, chunks in known.items()}
            told = f"{sum(map(len, plain.values()))} ({fingerprint_of_settings(known=plain)})"
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "embedder": described_model(self.embedder),
            "known_negatives": told,
            "loss": described_loss(self.loss),
        }


def _are_ids(known: object) -> bool:
    return isinstance(known, Mapping) and all(
        isinstance(chunks, Sequence) and not isinstance(chunks, str) for chunks in known.values()
    )


@dataclass(frozen=True, kw_only=True)
class SettledReranker(RerankerOptions):
    """Options of which none is left open."""

    learning_rate: float = 1e-4
