"""What the options that were left open become, by the size of data and model; docs/tuning.md has the evidence."""

import math
from dataclasses import fields

from sentence_transformers import CrossEncoder, SentenceTransformer

from embedtune_sentence_transformers.options import Options, Settled
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.schedule import Schedule
from embedtune_sentence_transformers.training import rows_of

__all__ = ["epochs_for", "rate_for", "settled"]

_SMALL_SET, _SMALL_BATCH, _BATCH = 1000, 32, 64
"""Rows under which a step takes fewer: more steps teach more than more negatives do."""
_LEAST_STEPS, _MOST_EPOCHS = 60, 10
"""A run of fewer steps has hardly left the warm-up; a small set is passed over several times to get there."""
_RATES = ((40_000_000, 1e-4), (150_000_000, 5e-5), (math.inf, 2e-5))
"""Learning rate up to so many parameters. The first is measured; the others go by what such models are published
with, as larger ones take smaller steps."""


def settled(
    options: Options, epochs: int | None, pairs: TrainingPairs, model: SentenceTransformer
) -> tuple[Settled, int]:
    """The options with every choice made, and the epochs.

    Args:
        options: With None where the user left it open.
        epochs: As given, or None.
        pairs: All that may be trained on.
        model: The base.
    """
    n_rows = len(rows_of(pairs, options)["chunk"])
    batch_size = options.batch_size or (_SMALL_BATCH if n_rows < _SMALL_SET else _BATCH)
    if epochs is None:
        epochs = epochs_for(Schedule(n_rows, 1, batch_size, 1))
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    rate = options.learning_rate or rate_for(model, batch_size)
    return Settled(**{**given, "batch_size": batch_size, "learning_rate": rate}), epochs


def epochs_for(one: Schedule) -> int:
    """Passes that make enough steps, of the schedule of one."""
    return min(_MOST_EPOCHS, math.ceil(_LEAST_STEPS / one.steps_per_epoch))


def rate_for(model: SentenceTransformer | CrossEncoder, batch_size: int) -> float:
    """By the model's size; falling with the root of a batch smaller than any chosen here, whose gradient is noisier."""
    size = sum(parameter.numel() for parameter in model.parameters())
    rate = next(rate for limit, rate in _RATES if size <= limit)
    return rate * min(1.0, math.sqrt(batch_size / _SMALL_BATCH))
