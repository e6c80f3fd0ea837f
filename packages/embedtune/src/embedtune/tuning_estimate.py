"""What tuning would do and cost, told before it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.dataset import QADataset

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["TuningEstimate", "estimate_tuning"]


@dataclass(frozen=True, kw_only=True)
class TuningEstimate:
    """What a run would do: counts are exact, time and memory are measured on a few steps of it."""

    n_steps: int
    """Optimiser steps of all runs together; those of a cross-validation are its folds and a last run on everything."""
    batch_size: int
    """Distinct chunks in the largest step."""
    n_pairs: int
    """Pairs of query and chunk in one epoch of the run that is kept."""
    n_chunks: int
    """Distinct chunk texts that answer a query of it."""
    n_validation_queries: int
    """Queries that choose the checkpoint, over all folds."""
    n_folds: int
    """Folds of the cross-validation; 0 where one run is validated as it goes."""
    max_seq_length: int | None
    """Tokens of a text that the tuned model reads; None where the model cannot say."""
    truncated_share: float
    """Share of the training chunks that are longer than that, in [0, 1]."""
    precision: str
    """``"fp32"`` or ``"bf16"``."""
    device: str
    """What it would run on, such as ``"cpu"`` or ``"cuda"``."""
    seconds_per_step: float
    """Of a typical step, by the timed ones."""
    validation_minutes: float
    """Of ``minutes``: scoring the base model and every candidate."""
    minutes: float
    """Wall time of the whole run, if the machine is then as busy as it is now."""
    peak_memory_mib: float | None
    """What the whole process holds on a CPU, what PyTorch holds on a GPU, after the longest batch that the data can
    give and a few others; a long run on a CPU ends higher, since memory is kept in it. MiB; None where the system does
    not say."""
    disk_mib: float
    """Most that lies beside the target while it is written, the new model among it; MiB."""
    notes: tuple[str, ...] = ()
    """What the figures leave out."""


def estimate_tuning(
    model: object,
    trainset: QADataset,
    valset: QADataset | None = None,
    path: str | Path | None = None,
    *,
    tuner: str = "sentence-transformers",
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    plugins: "PluginManager | None" = None,
    **options: object,
) -> TuningEstimate:
    """What `tune` with the same arguments would do and cost; trains a copy for a few steps and writes nothing.

    Args:
        model: As for `tune`, and so are all others.
        trainset: Pairs to train on.
        valset: Chooses the checkpoint.
        path: The folder that the model would be written to; checked as in the run.
        tuner: Which way of tuning.
        epochs: Passes over the pairs; chosen by the tuner if None.
        seed: As of the run.
        resume: Whether the run would go on from where an interrupted one stopped; the whole run is counted.
        plugins: Where the tuner is looked up.
        options: Of the tuner.

    Raises:
        BackendNotFoundError: If the tuner is not installed; the message says how to install it.
        TuningError: As `BaseEmbeddingTuner`, or if the tuner gives no estimate.
    """
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    tuner_class = (plugins or plugin_manager()).tuner(tuner).load()
    return tuner_class(
        model, trainset, valset, path, epochs=epochs, seed=seed, resume=resume, plugins=plugins, **options
    ).estimate()
