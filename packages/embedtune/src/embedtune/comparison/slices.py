"""The primary metric on parts of the questions: where a model gains or loses, to be looked into."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embedtune.comparison.pairing import clusters_of
from embedtune.comparison.rows import SliceRow
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation
from embedtune.overlap import lexical_overlap, words
from embedtune.statistics import paired_difference

__all__ = ["slice_rows"]

_FEWEST_QUERIES = 10
"""A smaller part says nothing: one question is more than ten points."""
_FEWEST_CLUSTERS = 5
"""Fewer leave the bootstrap next to nothing to draw."""
_MOST_DOCUMENTS = 10
"""The largest are shown."""

_LENGTHS = {4: "1 to 4 words", 8: "5 to 8 words", 12: "9 to 12 words", math.inf: "13 words and more"}
"""By the most words of a question."""
_OVERLAPS = {0.25: "under 25%", 0.5: "25 to 50%", 0.75: "50 to 75%", math.inf: "75% and more"}
"""By the share that a question stays under."""


@dataclass(frozen=True)
class _Part:
    slice: str
    value: str
    places: npt.NDArray[np.intp]
    clusters: npt.NDArray[np.intp]


def slice_rows(
    evaluations: Mapping[str, tuple[Evaluation, Evaluation]], dataset: QADataset, top_k: int, seed: int = 0
) -> tuple[SliceRow, ...]:
    """The hit rate by document, query length, lexical overlap and style: exploratory, corrected for nothing.

    A part is shown if it has 10 questions in 5 clusters, and is not all there is. Of documents, the ten with the
    most questions; within one, the clusters are the groups of queries that share a chunk.

    Args:
        evaluations: Base's and tuned's by query type.
        dataset: The questions that were asked.
        top_k: Cut-off of the hit rate.
        seed: Seeds the bootstrap.
    """
    parts = list(_parts(dataset))
    rows = []
    for query_type, (base, tuned) in evaluations.items():
        before, after = (side.per_query[f"hit_rate@{top_k}"] for side in (base, tuned))
        rows += [_row(part, query_type, before[part.places], after[part.places], seed) for part in parts]
    return tuple(rows)


def _row(
    part: _Part, query_type: str, before: npt.NDArray[np.float64], after: npt.NDArray[np.float64], seed: int
) -> SliceRow:
    paired = paired_difference(after - before, part.clusters.tolist(), seed=seed)
    return SliceRow(
        slice=part.slice,
        value=part.value,
        query_type=query_type,
        n_queries=len(part.places),
        base=float(before.mean()),
        tuned=float(after.mean()),
        difference=paired.difference,
        low=paired.low,
        high=paired.high,
        n_clusters=paired.n_clusters,
    )


def _parts(dataset: QADataset) -> Iterator[_Part]:
    by_document = np.array(clusters_of(dataset))
    by_chunk = np.array(clusters_of(dataset, by_document=False))
    documents = [_document(dataset, query) for query in dataset.queries]
    styles = [dataset.styles.get(query) for query in dataset.queries]
    lengths = [_length(question) for question in dataset.queries.values()]
    overlaps = [_overlap(dataset, query) for query in dataset.queries]
    kinds: list[tuple[str, Sequence[str | None], Sequence[str], npt.NDArray[np.intp]]] = [
        ("document", documents, _largest(documents), by_chunk),
        ("query length", lengths, list(_LENGTHS.values()), by_document),
        ("lexical overlap", overlaps, list(_OVERLAPS.values()), by_document),
        ("style", styles, sorted({style for style in styles if style is not None}), by_document),
    ]
    for name, values, shown, clusters in kinds:
        for value in shown:
            places = np.flatnonzero([found == value for found in values])
            is_enough = len(places) >= _FEWEST_QUERIES and len(set(clusters[places])) >= _FEWEST_CLUSTERS
            if is_enough and len(places) < len(values):
                yield _Part(name, value, places, clusters[places])


def _largest(values: Sequence[str | None]) -> list[str]:
    """Those with the most questions; of equals by name, so that the order of the questions does not choose."""
    counted = Counter(value for value in values if value is not None)
    return sorted(counted, key=lambda value: (-counted[value], value))[:_MOST_DOCUMENTS]


def _document(dataset: QADataset, query: str) -> str | None:
    """The one document that answers a query; None if it is not known, or there are several."""
    documents = {dataset.documents[chunk] for chunk in dataset.relevant_docs[query]}
    return documents.pop() if len(documents) == 1 else None


def _length(question: str) -> str | None:
    n_words = len(words(question))
    return next(value for most, value in _LENGTHS.items() if n_words <= most) if n_words else None


def _overlap(dataset: QADataset, query: str) -> str:
    question = dataset.queries[query]
    share = max(lexical_overlap(question, dataset.corpus[chunk]) for chunk in dataset.relevant_docs[query])
    return next(value for limit, value in _OVERLAPS.items() if share < limit)
