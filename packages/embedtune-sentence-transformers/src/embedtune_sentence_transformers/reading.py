"""How many tokens of a text the tuned model reads, chosen from the texts."""

import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers.loading import DOCUMENT_PROMPTS, positions_of, prompt_for
from embedtune_sentence_transformers.pairs import TrainingPairs

__all__ = ["Reading", "chosen_reading"]

logger = logging.getLogger(__name__)

LARGEST_UNASKED = 512
"""Tokens; attention's cost grows with the square, so more than this is for the user to ask for."""
CUT_BY_BASE = 0.1
"""From so many cut chunks on, more is read unasked: on tatqa, with 4.5% cut, it cost twice and gained nothing."""
CUT_SHARE = 0.01
"""So many may still be cut then."""
_STEP = 64
"""Lengths are rounded up to a multiple of it."""


@dataclass(frozen=True)
class Reading:
    """Tokens read of a text, and what that leaves out."""

    base: int | None
    """What the base model reads; None where it reads all, or cannot say."""
    chosen: int | None
    """What the tuned model reads."""
    cut_by_base: float
    """Share of the training chunks that are longer than ``base``."""
    cut: float
    """Share of the training chunks that are longer than ``chosen``."""
    cost: float
    """Tokens read of the training chunks, as a multiple of what the base reads."""

    def told(self) -> str:
        """A sentence for the user."""
        if self.base == self.chosen:
            return (
                f"{self.cut:.0%} of the training chunks are longer than the {self.chosen} tokens that the model reads"
            )
        return (
            f"the tuned model reads {self.chosen} tokens, the base {self.base}: {self.cut_by_base:.1%} of the training "
            f"chunks were cut, now {self.cut:.1%}; embedding them costs {self.cost:.2f} times as much"
        )


def chosen_reading(model: SentenceTransformer, pairs: TrainingPairs, wanted: int | None) -> Reading:
    """As asked for; else the base's own length where it cuts next to nothing, or one that does not.

    Args:
        model: The base, at the length that it came with.
        pairs: Whose chunks are measured.
        wanted: As `Options.max_seq_length`, checked already.
    """
    base = model.max_seq_length
    if base is None or math.isinf(base):  # a model of embeddings alone reads all
        return Reading(None, wanted, 0.0, 0.0, 1.0)
    lengths = _token_counts(model, pairs, max(base, wanted or 0, LARGEST_UNASKED))
    if lengths is None:
        return Reading(base, wanted or base, 0.0, 0.0, 1.0)
    chosen = wanted or _length_for(lengths, base, positions_of(model))
    reading = Reading(
        base=base,
        chosen=chosen,
        cut_by_base=float(np.mean(lengths > base)),
        cut=float(np.mean(lengths > chosen)),
        cost=float(np.minimum(lengths, chosen).sum() / np.minimum(lengths, base).sum()),
    )
    if reading.cut_by_base > 0 or reading.cut > 0:
        logger.warning("%s", reading.told())
    return reading


def _length_for(lengths: npt.NDArray[np.int64], base: int, positions: int | None) -> int:
    if np.mean(lengths > base) <= CUT_BY_BASE:
        return base
    needed = math.ceil(float(np.quantile(lengths, 1 - CUT_SHARE)) / _STEP) * _STEP
    return max(base, min(needed, LARGEST_UNASKED, positions or LARGEST_UNASKED))


def _token_counts(model: SentenceTransformer, pairs: TrainingPairs, limit: int) -> npt.NDArray[np.int64] | None:
    tokenizer: Any = getattr(model, "tokenizer", None)
    if not callable(tokenizer):
        return None
    prompt = prompt_for(model, DOCUMENT_PROMPTS) or ""
    # A token is at least one character, and a chunk of 20 characters a token is cut for sure.
    texts = [(prompt + chunk)[: 20 * limit] for chunk in pairs.answer_chunks]
    return np.array([len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]])
