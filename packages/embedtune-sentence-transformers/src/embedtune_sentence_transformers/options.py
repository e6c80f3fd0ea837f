"""The options of the tuner, checked, with what the machine decides."""

from dataclasses import dataclass, fields
from typing import Any

import torch

from embedtune import TuningError
from embedtune.metrics import parse_metric
from embedtune_sentence_transformers.loss import described_loss

__all__ = ["Options", "chosen_precision"]

_PRECISIONS = ("auto", "fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of ``embedtune.tune(..., tuner="sentence-transformers")``.

    Raises:
        TuningError: If one is out of range.
    """

    batch_size: int = 64
    """Pairs in an optimiser step; each is contrasted with the others' chunks, so more is harder."""
    learning_rate: float = 5e-5
    """Peak rate of AdamW, reached after the warm-up, then falling linearly to 0."""
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
    dropout: float | None = 0.0
    """Dropout in training; None keeps the model's own. It draws its random numbers on one thread."""
    freeze_embeddings: bool = True
    """Whether the word embeddings stay as they are: half of a small model's weights, and a tuned retriever hardly
    moves them. A model that is nothing but embeddings is trained whole."""
    max_seq_length: int | None = None
    """Tokens read of a text, in training and in the tuned model; None keeps the base's."""
    precision: str = "auto"
    """``"fp32"``, ``"bf16"`` (autocast; weights stay float32), or ``"auto"``: bf16 on a GPU that has it."""
    metric: str = "ndcg@10"
    """The retrieval metric that chooses the checkpoint."""
    validations_per_epoch: int = 1
    """Candidates in each epoch, evenly spaced; step 0 is always one."""
    folds: int = 3
    """Folds of the cross-validation where no valset is given and a carved one would hold under 300 queries."""
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
            "batch_size": (self.batch_size >= 2, "at least 2: a single pair has nothing to be told from"),
            "learning_rate": (0 < self.learning_rate < 1, "above 0 and below 1"),
            "warmup_ratio": (0 <= self.warmup_ratio < 1, "in [0, 1)"),
            "weight_decay": (self.weight_decay >= 0, "at least 0"),
            "temperature": (self.temperature is None or self.temperature > 0, "above 0"),
            "loss": (self.loss is None or callable(self.loss), "a loss, or a callable that makes one of the model"),
            "loss with temperature": (self.loss is None or self.temperature is None, "without the other: set it there"),
            "dropout": (self.dropout is None or 0 <= self.dropout < 1, "in [0, 1)"),
            "max_seq_length": (self.max_seq_length is None or self.max_seq_length >= 2, "at least 2"),
            "precision": (self.precision in _PRECISIONS, f"one of {', '.join(map(repr, _PRECISIONS))}"),
            "validations_per_epoch": (self.validations_per_epoch >= 1, "at least 1"),
            "folds": (self.folds >= 0, "at least 0"),
            "checkpoint_minutes": (self.checkpoint_minutes > 0, "above 0"),
            "checkpoint_steps": (self.checkpoint_steps is None or self.checkpoint_steps >= 1, "at least 1"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise TuningError(f"{name} must be {rule}; got {getattr(self, name.partition(' ')[0])!r}.")
        try:
            parse_metric(self.metric)
        except ValueError as error:
            raise TuningError(f"metric: {error}") from error

    def described(self) -> dict[str, Any]:
        """All options, as they stand in a file."""
        return {field.name: getattr(self, field.name) for field in fields(self)} | {"loss": described_loss(self.loss)}


def chosen_precision(precision: str, device: str) -> str:
    """``"fp32"`` or ``"bf16"`` for a device.

    bf16 without AMX or AVX512-BF16 is emulated on a CPU, up to a hundred times slower; so it is detected, never
    assumed. With them it pays for long texts only, so ``"auto"`` stays in float32 on a CPU.

    Args:
        precision: As in `Options`.
        device: torch's device type, such as ``"cpu"``.

    Raises:
        TuningError: If bf16 is demanded and the device cannot do it.
    """
    if device == "cuda":
        capable = torch.cuda.is_bf16_supported()
    elif device == "cpu":
        capable = _cpu_has("_is_amx_tile_supported") or _cpu_has("_is_avx512_bf16_supported")
    else:
        capable = False
    if precision == "bf16" and not capable:
        raise TuningError(
            f"precision='bf16' needs a GPU with bf16, or a processor with AMX or AVX512-BF16; this {device!r} has "
            "none. Give precision='fp32', or leave it 'auto'."
        )
    return "bf16" if precision == "bf16" or (precision == "auto" and device == "cuda" and capable) else "fp32"


def _cpu_has(probe: str) -> bool:
    # torch has no public probe for these yet; a torch without them counts as a processor without.
    function = getattr(torch.cpu, probe, None)
    return bool(function is not None and function())
