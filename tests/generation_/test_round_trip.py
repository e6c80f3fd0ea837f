"""The round trip: training questions that do not find their chunk go; the measuring sides stay whole."""

import logging

import pytest

from embedtune import QADataset, TextChunk, compare
from embedtune.errors import DatasetError
from embedtune.splitting import Split
from embedtune.testing import HashEmbedder, tiny_dataset

THINGS = ["apples", "bicycles", "clouds", "drums", "engines", "ferries"]


def split_with_a_bad_question() -> Split:
    """Six training questions; one of them speaks of another chunk than its own."""
    chunks = [TextChunk(f"All about {thing} and how {thing} are made.", thing) for thing in THINGS]
    queries = {thing: f"how are {thing} made" for thing in THINGS} | {"bad": "how are clouds made of drums"}
    relevant = {thing: [thing] for thing in THINGS} | {"bad": ["ferries"]}
    train = QADataset.from_responses(chunks, queries, relevant)
    return Split(train=train, val=tiny_dataset(2), test=tiny_dataset(3))


def test_a_question_that_does_not_find_its_chunk_goes_and_the_others_stay() -> None:
    split = split_with_a_bad_question()
    filtered = split.round_trip(HashEmbedder(), depth=2)
    assert set(filtered.train.queries) == set(THINGS)
    assert filtered.train.corpus == split.train.corpus


def test_val_and_test_stay_whole_whatever_the_model_misses_there() -> None:
    split = split_with_a_bad_question()
    filtered = split.round_trip(HashEmbedder(), depth=1)
    assert (filtered.val, filtered.test) == (split.val, split.test)


def test_deeper_keeps_more() -> None:
    split = split_with_a_bad_question()
    assert len(split.round_trip(HashEmbedder(), depth=6).train) == 7


def test_the_report_names_the_model_and_counts_what_went() -> None:
    report = split_with_a_bad_question().round_trip(HashEmbedder(), depth=2).train.report
    assert report is not None
    assert report.filtered_by == (HashEmbedder().fingerprint,)
    assert "not found in the round trip" in report.model_dump_json()


def test_compare_warns_where_the_filtering_model_is_judged_on_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    filtered = split_with_a_bad_question().round_trip(HashEmbedder(), depth=2).train
    with caplog.at_level(logging.WARNING):
        comparison = compare(HashEmbedder(), HashEmbedder(dim=64), filtered, top_k=2)
    assert "round trip" in caplog.text + str(comparison)


def test_a_model_that_finds_nothing_is_told_and_drops_nothing() -> None:
    chunks = [TextChunk(f"All about {thing}.", thing) for thing in THINGS]
    wrong = QADataset.from_responses(chunks, {"q": "all about apples"}, {"q": ["drums"]})
    with pytest.raises(DatasetError, match=r"finds the chunk of none of 1 queries among the first 1; .* Raise depth"):
        Split(train=wrong, val=tiny_dataset(2), test=tiny_dataset(2)).round_trip(HashEmbedder(), depth=1)


@pytest.mark.parametrize("depth", [0, -1, True, 1.5])
def test_a_depth_that_cannot_be_meant_is_refused(depth: object) -> None:
    with pytest.raises(DatasetError, match="depth must be a whole number of at least 1"):
        split_with_a_bad_question().round_trip(HashEmbedder(), depth=depth)  # type: ignore[arg-type]
