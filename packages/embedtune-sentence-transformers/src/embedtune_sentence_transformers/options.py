"""The options of the tuner, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from embedtune import TuningError
from embedtune.metrics import parse_metric
from embedtune_sentence_transformers.loss import described_loss
from embedtune_sentence_transformers.precision import PRECISIONS

__all__ = [
    "DEPTH",
    "MOST_VALIDATIONS",
    "STEPS_PER_VALIDATION",
    "Options",
    "Settled",
    "check_metric",
    "check_rules",
    "described_model",
]

MOST_VALIDATIONS, STEPS_PER_VALIDATION = 4, 50
"""Of a run, unless asked for, and steps for each: it embeds the validation corpus, which costs about five of them."""

DEPTH = 16
"""Hard negatives kept for a query; each batch draws from them."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``embedtune.tune(..., tuner="sentence-transformers")``.

    Raises:
        TuningError: If one is out of range.
    """

    batch_size: int | None = None
    """Distinct chunks in an optimiser step, each with the queries that it answers, which are told from the others;
    None: 64, or 32 where there are fewer than 1,000."""
    learning_rate: float | None = None
    """Peak rate of AdamW, reached after the warm-up, then falling linearly to 0; None: by the model's size, 1e-4 for a
    small one."""
    warmup_ratio: float = 0.1
    """Share of the steps in which the rate rises."""
    weight_decay: float = 0.0
    """AdamW's decay per step, times the rate."""
    temperature: float | None = None
    """Divides the similarities in the loss; None: 0.05 for cosine, 1 for dot."""
    loss: Any = None
    """A loss of sentence-transformers for pairs of query and chunk instead of `MaskedInBatchLoss`: a callable that
    makes it of the model in training, or an instance, which is copied for it. None of those masks right answers."""
    all_answers: bool = True
    """Whether a query with several relevant chunks is trained on each; if not, on the first, and never against the
    others."""
    symmetric: bool = False
    """Whether each chunk is also told from the batch's other queries."""
    hard_negatives: int = 0
    """Chunks for each query that the base model ranks near it although they do not answer it, drawn anew in each batch;
    each costs as much as the query's own chunk."""
    negative_margin: float = 0.95
    """A chunk more similar to the query than this share of its answer's similarity is no negative: it may answer."""
    refresh_negatives: int | None = None
    """Mine again after so many epochs, with the model as it then is; None mines once, with the base."""
    teacher: Any = None
    """A reranker or larger embedder, as reference or object, whose scores for answers and mined negatives are
    followed; needs ``hard_negatives``."""
    teacher_weight: float = 0.5
    """Share of the loss that follows the teacher, in [0, 1]; the labels have the rest."""
    matryoshka_dims: tuple[int, ...] = ()
    """Leading dimensions that are to serve alone too, such as (256, 128)."""
    lora_rank: int | None = None
    """Train low-rank additions of this rank instead of the weights; the folder holds them merged. Needs peft."""
    freeze_layers: int = 0
    """Lowest layers that stay as they are, with the embeddings: faster, and less is forgotten."""
    dropout: float | None = 0.0
    """Dropout in training; None keeps the model's own. It draws its random numbers on one thread."""
    freeze_embeddings: bool = True
    """Whether the word embeddings stay as they are: half of a small model's weights, and a tuned retriever hardly
    moves them. A model that is nothing but embeddings is trained whole."""
    max_seq_length: int | None = None
    """Tokens read of a text, in training and in the tuned model; None takes the base's, or where that cuts more than a
    tenth of the training chunks, what cuts 1% at most, up to 512 and the model's positions."""
    precision: str = "auto"
    """``"fp32"``, ``"bf16"`` (autocast; weights stay float32), or ``"auto"``: bf16 where the processor has it."""
    metric: str = "ndcg@10"
    """The retrieval metric that chooses the checkpoint."""
    validations_per_epoch: int | None = None
    """Candidates in each epoch, evenly spaced, besides step 0; None: one for every 50 steps, of one to four in all."""
    interpolations: tuple[float, ...] = (0.5,)
    """Further candidates: weights so far on the way from the base's to the last step's."""
    folds: int = 3
    """Folds of the cross-validation where no valset is given and a fifth of the queries are under 300."""
    checkpoint_minutes: float = 5.0
    """Training is resumable from the last validation, or from so long ago."""
    checkpoint_steps: int | None = None
    """Resumable from every so many steps besides."""
    trust_remote_code: bool = False
    """Whether Python code from the base model's folder may run."""
    device: str | None = None
    """Such as ``"cpu"``; the fastest there is if None."""
    progress: bool = True
    """Whether bars are shown."""

    def __post_init__(self) -> None:
        try:
            self._check()
        except (TypeError, AttributeError) as error:
            raise TuningError(f"An option is of the wrong type: {error}. Options: {self}.") from error

    def _check(self) -> None:
        rules = {
            "batch_size": (
                self.batch_size is None or self.batch_size >= 2,
                "at least 2: a single pair has nothing to be told from",
            ),
            "learning_rate": (self.learning_rate is None or 0 < self.learning_rate < 1, "above 0 and below 1"),
            "warmup_ratio": (0 <= self.warmup_ratio < 1, "in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "temperature": (self.temperature is None or self.temperature > 0, "above 0"),
            "loss": (self.loss is None or callable(self.loss), "a loss, or a callable that makes one of the model"),
            "loss with temperature": (self.loss is None or self.temperature is None, "without the other: set it there"),
            "negative_margin": (0 < self.negative_margin <= 1, "above 0 and at most 1"),
            "hard_negatives": (0 <= self.hard_negatives <= DEPTH, f"at least 0 and at most {DEPTH}"),
            "hard_negatives with loss": (self.loss is None or not self.hard_negatives, "0 with a loss of your own"),
            "refresh_negatives": (self.refresh_negatives is None or self.refresh_negatives >= 1, "at least 1"),
            "teacher": (self.teacher is None or self.hard_negatives > 0, "left out, or given with hard_negatives"),
            "refresh_negatives without hard_negatives": (
                self.refresh_negatives is None or self.hard_negatives > 0,
                "left out, or given with hard_negatives",
            ),
            "matryoshka_dims with loss": (self.loss is None or not self.matryoshka_dims, "left out: set them there"),
            "symmetric with loss": (self.loss is None or not self.symmetric, "left out: set it there"),
            "teacher_weight": (0 <= self.teacher_weight <= 1, "in [0, 1]"),
            "matryoshka_dims": (all(dim >= 1 for dim in self.matryoshka_dims), "whole numbers of at least 1"),
            "lora_rank": (self.lora_rank is None or self.lora_rank >= 1, "at least 1"),
            "freeze_layers": (self.freeze_layers >= 0, "at least 0"),
            "interpolations": (all(0 < share < 1 for share in self.interpolations), "above 0 and below 1 each"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)"),
            "max_seq_length": (self.max_seq_length is None or self.max_seq_length >= 2, "at least 2"),
            "precision": (self.precision in PRECISIONS, f"one of {', '.join(map(repr, PRECISIONS))}"),
            "validations_per_epoch": (
                self.validations_per_epoch is None or self.validations_per_epoch >= 1,
                "at least 1",
            ),
            "folds": (self.folds >= 0, "at least 0"),
            "checkpoint_minutes": (self.checkpoint_minutes > 0, "above 0"),
            "checkpoint_steps": (self.checkpoint_steps is None or self.checkpoint_steps >= 1, "at least 1"),
        }
        check_rules(self, rules)
        check_metric(self.metric)

    def loss_settings(self) -> dict[str, Any]:
        """What `MaskedInBatchLoss` is made with."""
        return {"symmetric": self.symmetric, "dims": self.matryoshka_dims, "teacher_weight": self.teacher_weight}

    def described(self) -> dict[str, Any]:
        """All options, as they stand in a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {
            "loss": described_loss(self.loss),
            "teacher": described_model(self.teacher),
        }


def check_rules(options: object, rules: Mapping[str, tuple[bool, str]]) -> None:
    """Refuse options out of range.

    Args:
        options: Whose.
        rules: By an option's name, with more words after it if need be: whether it holds, and what must be.

    Raises:
        TuningError: For the first that does not hold.
    """
    for name, (holds, rule) in rules.items():
        if not holds:
            raise TuningError(f"{name} must be {rule}; got {getattr(options, name.partition(' ')[0])!r}.")


def check_metric(metric: str) -> tuple[str, int]:
    """A metric's name and cut-off.

    Raises:
        TuningError: If it is none.
    """
    try:
        return parse_metric(metric)
    except ValueError as error:
        raise TuningError(f"metric: {error}") from error


def described_model(given: Any) -> str | None:
    """A model's name, or its class and fingerprint: the same for the same model, in the next process too."""
    if given is None or isinstance(given, str | Path):
        return str(given) if given is not None else None
    name, fingerprint = (
        f"{type(given).__module__}.{type(given).__qualname__}",
        getattr(given, "fingerprint", None),
    )
    return f"{name}({fingerprint})" if isinstance(fingerprint, str) else name


@dataclass(frozen=True, kw_only=True)
class Settled(Options):
    """Options of which none is left open."""

    batch_size: int = 64
    learning_rate: float = 1e-4
