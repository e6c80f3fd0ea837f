"""`evaluate_dims`: the first numbers of each vector as models of their own, for one embedding of all texts."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from embedtune import EvaluationError, evaluate
from embedtune.evaluation import evaluate_dims
from embedtune.protocols import Vectors
from embedtune.records import ModelRecord, SeenTexts
from embedtune.testing import HashEmbedder, WordSearch, tiny_dataset


class Cut(HashEmbedder):
    """The first numbers of a longer embedder's vectors."""

    def __init__(self, kept: int) -> None:
        super().__init__(dim=16)
        self.kept = kept

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return super().embed_documents(texts)[:, : self.kept]


def test_each_is_the_evaluation_of_cut_vectors() -> None:
    dataset = tiny_dataset(40)
    found = evaluate_dims(HashEmbedder(dim=16), dataset, [4, 8, 16], top_k=3)
    assert len({evaluation.hit_rate for evaluation in found.values()}) == 3
    for dim, evaluation in found.items():
        expected = evaluate(Cut(dim), dataset, top_k=3)
        assert evaluation.metrics == expected.metrics
        assert list(evaluation) == list(expected)


def test_all_texts_are_embedded_once() -> None:
    n_texts: list[int] = []

    class Counting(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            n_texts.append(len(texts))
            return super().embed_documents(texts)

    evaluate_dims(Counting(), tiny_dataset(), [2, 8, 64])
    assert n_texts == [4, 8]


def test_the_answer_is_in_rising_order_and_each_number_stands_once() -> None:
    assert list(evaluate_dims(HashEmbedder(), tiny_dataset(), [64, 2, 8, 2])) == [2, 8, 64]


@pytest.mark.parametrize(
    ("dims", "message"),
    [
        ([], r"dims must name at least one .* got \(\)"),
        ([8, 0], r"each at least 1; got \(8, 0\)"),
        ([65], "The model's vectors have 64 dimensions; dims asks for 65"),
    ],
)
def test_dimensions_that_are_none_are_refused(dims: list[int], message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        evaluate_dims(HashEmbedder(64), tiny_dataset(), dims)


def test_a_search_has_no_dimensions() -> None:
    with pytest.raises(EvaluationError, match="WordSearch is no model"):
        evaluate_dims(WordSearch({}), tiny_dataset(), [2])


def test_seen_questions_are_marked_and_warned_of_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    dataset = tiny_dataset()
    fields = {"base_model": "b", "base_fingerprint": None, "fingerprint": "f", "tuner": "custom"}
    ModelRecord(**fields, chosen_step=1, kept_base=False, seen=SeenTexts.of([dataset])).write(tmp_path)

    class FolderEmbedder(HashEmbedder):
        folder = tmp_path

    found = evaluate_dims(FolderEmbedder(), dataset, [2, 64])
    assert [evaluation.n_seen for evaluation in found.values()] == [8, 8]
    assert caplog.text.count("its score is flattered") == 1
