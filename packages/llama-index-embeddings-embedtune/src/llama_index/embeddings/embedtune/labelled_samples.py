"""Samples of question, context and score, as LlamaIndex labels them for cross-encoders."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from embedtune import DatasetError, QADataset
from embedtune.texts import text_hash

__all__ = ["CrossEncoderFinetuningDatasetSample", "LabelledSamples", "labelled_samples"]

logger = logging.getLogger(__name__)


@dataclass
class CrossEncoderFinetuningDatasetSample:
    """Whether a context answers a question."""

    query: str
    """The question."""
    context: str
    """The text of a chunk."""
    score: int
    """1 if it answers, else 0."""


@dataclass(frozen=True)
class LabelledSamples:
    """The same as embedtune takes it."""

    dataset: QADataset
    """Questions with what answers them, among all contexts."""
    wrong: dict[str, list[str]]
    """Ids of contexts that do not answer, by query id."""
    n_pairs: int
    """Distinct pairs of the questions in the data set."""


def labelled_samples(samples: Iterable[Any], name: str = "dataset") -> LabelledSamples:
    """Samples as a data set and its wrong contexts; equal texts are one.

    A question without any answer shows no order: it is left out, with a warning.

    Args:
        samples: Anything with ``query``, ``context`` and ``score``, as attributes.
        name: What messages call them.

    Raises:
        DatasetError: If a sample has another shape, a score is neither 1 nor 0, or nothing answers any question.
    """
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    labels: dict[str, dict[int, dict[str, None]]] = {}
    for place, sample in enumerate(samples):
        query, context, score = _checked(sample, f"{name}[{place}]")
        query_id, chunk_id = f"q-{text_hash(query)}", text_hash(context)
        queries[query_id], corpus[chunk_id] = query, context
        labels.setdefault(query_id, {0: {}, 1: {}})[score][chunk_id] = None
    answered = {query: list(found[1]) for query, found in labels.items() if found[1]}
    if not answered:
        raise DatasetError(f"No sample of {name} has score 1: nothing says what an answer is.")
    if without := len(labels) - len(answered):
        logger.warning("%s: %d of %d questions have no context of score 1 and are left out", name, without, len(labels))
    dataset = QADataset({query: queries[query] for query in answered}, corpus, answered)
    wrong = {query: list(labels[query][0]) for query in answered if labels[query][0]}
    return LabelledSamples(dataset, wrong, sum(map(len, [*answered.values(), *wrong.values()])))


def _checked(sample: Any, name: str) -> tuple[str, str, int]:
    query, context, score = (getattr(sample, field, None) for field in ("query", "context", "score"))
    if not isinstance(query, str) or not isinstance(context, str):
        raise DatasetError(
            f"{name} must have the texts query and context, and a score; got a {type(sample).__name__}, {sample!r:.80}."
        )
    if score not in (0, 1):
        raise DatasetError(f"The score of {name} must be 1, where the context answers, or 0; got {score!r}.")
    return query, context, int(score)
