"""The figures of a data set, on sets small enough to count by hand."""

import pytest

from embedtune import QADataset
from embedtune.overview import Lengths, overview, sample_queries
from embedtune.testing import tiny_dataset

DATASET = QADataset(
    {"a": "red apples", "b": "RED  apples", "c": "where do blue pears come from then", "d": "x?"},
    {
        "c1": "Red apples and pears.",
        "c2": "red  apples and pears.",
        "c3": "red apples and pears!",
        "c4": "nothing like it",
    },
    {"a": ["c1"], "b": ["c1", "c2"], "c": ["c3"], "d": ["c3"]},
    {"c1": {"document_id": "one"}, "c2": {"document_id": "one"}},
    {"a": "keyword", "b": "natural", "c": "natural"},
    {"b": {"c2": 3}},
)


def test_counts_are_of_what_is_there() -> None:
    found = overview(DATASET)
    assert (found.queries, found.chunks, found.pairs, found.distractors) == (4, 4, 5, 1)
    assert (found.queries_with_several_answers, found.graded_queries) == (1, 1)
    assert (found.documents, found.chunks_without_document) == (1, 2)
    assert list(found.styles.items()) == [("natural", 2), ("keyword", 1)]


def test_repeats_are_counted_once_each() -> None:
    found = overview(DATASET)
    assert (found.equal_chunks, found.near_equal_chunks) == (1, 1)
    assert (found.equal_queries, found.near_equal_queries) == (1, 0)


def test_overlap_is_of_the_chunk_that_repeats_most() -> None:
    """Queries in turn: 2 of 2 words, 2 of 2, 1 of 7, 0 of 1."""
    assert overview(DATASET).overlap_quartiles == pytest.approx((3 / 28, 4 / 7, 1.0))


def test_lengths_are_of_characters_and_words() -> None:
    found = overview(QADataset({"a": "12 45", "b": "雲は白い"}, {"c": "x" * 100_000}, {"a": ["c"], "b": ["c"]}))
    assert found.query_characters == Lengths(4.5, 4.95, 5)
    assert found.query_words == Lengths(2.5, 2.95, 3)
    assert found.chunk_characters == Lengths(100_000.0, 100_000.0, 100_000)


def test_samples_are_the_same_for_one_seed_whatever_the_order() -> None:
    dataset = tiny_dataset()
    turned = dataset.subset(list(dataset.queries)[::-1])
    assert sample_queries(dataset, 3, seed=1) == sample_queries(turned, 3, seed=1)
    assert sample_queries(dataset, 3, seed=1) != sample_queries(dataset, 3, seed=2)


def test_no_more_samples_than_queries_are_drawn() -> None:
    assert len(sample_queries(tiny_dataset(), 1000)) == 8
    assert sample_queries(tiny_dataset(), 0) == []


def test_a_sample_shows_the_query_with_its_first_chunk() -> None:
    sample = next(sample for sample in sample_queries(DATASET, 4) if sample.style == "keyword")
    assert (sample.query, sample.chunk, sample.chunk_id, sample.document) == (
        "red apples",
        "Red apples and pears.",
        "c1",
        "one",
    )
    assert sample.overlap == 1.0
