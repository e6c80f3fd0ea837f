"""What a data set looks like: how much there is, how long it is, what repeats, how easy its questions are."""

import random
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embedtune.dataset import QADataset
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.overlap import lexical_overlap, words
from embedtune.texts import fold

__all__ = ["Lengths", "Overview", "Sample", "overview", "sample_queries"]


@dataclass(frozen=True)
class Lengths:
    """Lengths of texts."""

    median: float
    """Half of the texts are shorter."""
    percentile_95: float
    """One text in twenty is longer."""
    longest: int
    """Of all."""


@dataclass(frozen=True, kw_only=True)
class Overview:
    """The figures of a data set."""

    queries: int
    """Queries."""
    chunks: int
    """Chunks of the corpus."""
    pairs: int
    """Pairs of a query and a chunk that answers it."""
    distractors: int
    """Chunks that answer no query."""
    queries_with_several_answers: int
    """Queries that more than one chunk answers."""
    graded_queries: int
    """Queries whose answers have grades."""
    documents: int
    """Documents that are known."""
    chunks_without_document: int
    """Chunks whose document is not known; each counts as a document of its own where data are split."""
    styles: Mapping[str, int]
    """Queries by style, the most frequent first; those without one are not counted."""
    query_characters: Lengths
    query_words: Lengths
    """Words as of `embedtune.overlap.words`, here and for chunks."""
    chunk_characters: Lengths
    chunk_words: Lengths
    equal_queries: int
    """Queries whose text, but for case and white space, stood before."""
    near_equal_queries: int
    """Further queries that share 80% of their runs of five characters with one before."""
    equal_chunks: int
    """Chunks whose text stood before; as of queries."""
    near_equal_chunks: int
    """Further chunks; as of queries."""
    overlap_quartiles: tuple[float, float, float]
    """Of the share of a query's words that stand in its chunk: a quarter, half and three quarters of the queries are
    below. Near 1, searching for the words alone would do."""

    def to_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Sample:
    """One query with its first chunk."""

    query: str
    """Its text."""
    style: str | None
    """How it was written, if that is known."""
    chunk_id: str
    """Of its first chunk."""
    chunk: str
    """The chunk's text."""
    document: str | None
    """The chunk's document, if it is known."""
    overlap: float
    """Share of the query's words that stand in the chunk."""


def overview(dataset: QADataset) -> Overview:
    """Look at a data set; a few seconds per 10,000 chunks.

    >>> from embedtune.testing import tiny_dataset
    >>> found = overview(tiny_dataset())
    >>> found.queries, found.chunks, found.documents, found.overlap_quartiles[1]
    (8, 4, 4, 0.775)
    """
    answering = {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}
    documents = [document for document in dataset.documents.values() if document is not None]
    equal_queries, near_queries = _repeated(dataset.queries)
    equal_chunks, near_chunks = _repeated(dataset.corpus)
    low, middle, high = np.percentile([_overlap(dataset, query) for query in dataset.queries], [25, 50, 75])
    return Overview(
        queries=len(dataset),
        chunks=len(dataset.corpus),
        pairs=sum(map(len, dataset.relevant_docs.values())),
        distractors=len(dataset.corpus) - len(answering),
        queries_with_several_answers=sum(len(chunks) > 1 for chunks in dataset.relevant_docs.values()),
        graded_queries=len(dataset.grades),
        documents=len(set(documents)),
        chunks_without_document=len(dataset.corpus) - len(documents),
        styles=dict(Counter(dataset.styles.values()).most_common()),
        query_characters=_lengths(map(len, dataset.queries.values())),
        query_words=_lengths(len(words(text)) for text in dataset.queries.values()),
        chunk_characters=_lengths(map(len, dataset.corpus.values())),
        chunk_words=_lengths(len(words(text)) for text in dataset.corpus.values()),
        equal_queries=equal_queries,
        near_equal_queries=near_queries,
        equal_chunks=equal_chunks,
        near_equal_chunks=near_chunks,
        overlap_quartiles=(float(low), float(middle), float(high)),
    )


def sample_queries(dataset: QADataset, n: int, seed: int = 0) -> list[Sample]:
    """Some queries with their first chunk, drawn by chance.

    Args:
        dataset: Where they are drawn from.
        n: How many; all of them if there are fewer.
        seed: Same seed, same queries.
    """
    drawn = random.Random(seed).sample(sorted(dataset.queries), min(n, len(dataset)))
    return [_sample(dataset, query) for query in drawn]


def _sample(dataset: QADataset, query: str) -> Sample:
    text, chunk = dataset.queries[query], dataset.relevant_docs[query][0]
    answer = dataset.corpus[chunk]
    style, document = dataset.styles.get(query), dataset.documents[chunk]
    return Sample(text, style, chunk, answer, document, lexical_overlap(text, answer))


def _overlap(dataset: QADataset, query: str) -> float:
    """With the chunk of the query that repeats most of it."""
    text = dataset.queries[query]
    return max(lexical_overlap(text, dataset.corpus[chunk]) for chunk in dataset.relevant_docs[query])


def _lengths(lengths: Iterable[int]) -> Lengths:
    found = list(lengths)
    median, percentile = np.percentile(found, [50, 95])
    return Lengths(float(median), float(percentile), max(found))


def _repeated(texts: Mapping[str, str]) -> tuple[int, int]:
    """Texts that repeat one before, to the letter and nearly."""
    equal = len(texts) - len({fold(text) for text in texts.values()})
    grouped = sum(len(group) - 1 for group in near_duplicate_groups(texts))
    return equal, grouped - equal
