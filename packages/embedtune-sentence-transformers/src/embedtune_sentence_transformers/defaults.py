"""What the options that were left open become, by the size of data and model; docs/tuning.md has the evidence."""

import math
from dataclasses import replace

from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers.options import Options
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.schedule import Schedule

__all__ = ["filled"]

_SMALL_SET, _SMALL_BATCH, _BATCH = 1000, 32, 64
"""Rows under which a step takes fewer: more steps teach more than more negatives do."""
_LEAST_STEPS, _MOST_EPOCHS = 60, 10
"""A run of fewer steps has hardly left the warm-up; a small set is passed over several times to get there."""
_RATES = ((40_000_000, 1e-4), (150_000_000, 5e-5), (math.inf, 2e-5))
"""Learning rate up to so many parameters. The first is measured; the others go by what such models are published
with, as larger ones take smaller steps."""


def filled(
    options: Options, epochs: int | None, pairs: TrainingPairs, model: SentenceTransformer
) -> tuple[Options, int]:
    """The options with every choice made, and the epochs.

    Args:
        options: With None where the user left it open.
        epochs: As given, or None.
        pairs: All that may be trained on.
        model: The base.
    """
    rows = len((pairs.rows(1) if options.loss is not None else pairs.rows())["chunk"])
    batch_size = options.batch_size or (_SMALL_BATCH if rows < _SMALL_SET else _BATCH)
    rate = options.learning_rate
    if rate is None:
        size = sum(parameter.numel() for parameter in model.parameters())
        rate = next(rate for limit, rate in _RATES if size <= limit)
    if epochs is None:
        steps = Schedule(rows, 1, batch_size, 1).total_steps
        epochs = min(_MOST_EPOCHS, math.ceil(_LEAST_STEPS / steps))
    return replace(options, batch_size=batch_size, learning_rate=rate), epochs
