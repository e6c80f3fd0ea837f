"""What a tuning has left of the base model's view of general text."""

import pytest

from embedtune import EmbeddingError
from embedtune.general_text import GENERAL_SENTENCES, neighbours_kept
from embedtune.testing import HashEmbedder


def test_sentences_are_distinct_and_cover_twenty_subjects() -> None:
    assert len(GENERAL_SENTENCES) == len(set(GENERAL_SENTENCES)) == 108


def test_a_model_keeps_all_of_its_own_neighbours() -> None:
    assert neighbours_kept(HashEmbedder(64), HashEmbedder(64)) == 1.0


def test_another_model_keeps_few() -> None:
    """Hashes of words in 4 and in 512 buckets have little in common."""
    assert neighbours_kept(HashEmbedder(4), HashEmbedder(512)) < 0.5


@pytest.mark.parametrize("k", [0, 108])
def test_more_neighbours_than_sentences_are_refused(k: int) -> None:
    with pytest.raises(EmbeddingError, match=rf"k must be in \[1, 107\]; got {k}"):
        neighbours_kept(HashEmbedder(), HashEmbedder(), k)
