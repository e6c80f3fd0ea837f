"""What the options that were left open become."""

from dataclasses import fields

from sentence_transformers import CrossEncoder

from embedtune import QADataset
from embedtune_sentence_transformers.defaults import epochs_for, rate_for
from embedtune_sentence_transformers.reranking.options import RerankerOptions, SettledReranker
from embedtune_sentence_transformers.schedule import Schedule

__all__ = ["settled"]

_NEW_LAYER = 2.0
"""A new score layer starts from nothing: at 5e-5 MiniLM had learned nothing after 1,000 questions, at 2e-4 it had."""


def settled(
    options: RerankerOptions, epochs: int | None, trainset: QADataset, model: CrossEncoder, *, is_new: bool
) -> tuple[SettledReranker, int]:
    """The options with every choice made, and the epochs.

    Args:
        options: With None where the user left it open.
        epochs: As given, or None.
        trainset: All that may be trained on.
        model: The base.
        is_new: Whether its score layer is new.
    """
    if epochs is None:
        epochs = epochs_for(Schedule(_n_rows(options, trainset), 1, options.batch_size, 1))
    rate = options.learning_rate or rate_for(model, options.batch_size) * (_NEW_LAYER if is_new else 1.0)
    given = {field.name: getattr(options, field.name) for field in fields(options)}
    return SettledReranker(**{**given, "learning_rate": rate}), epochs


def _n_rows(options: RerankerOptions, trainset: QADataset) -> int:
    """About how many pairs there will be, before anything is looked for."""
    n_found = (options.negatives + options.random_negatives) * len(trainset) if options.embedder is not None else 0
    n_known = sum(map(len, (options.known_negatives or {}).values()))
    return sum(map(len, trainset.relevant_docs.values())) + n_found + n_known
