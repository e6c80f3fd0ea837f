"""Hard negatives: what is mined, what a batch draws, and mining anew."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from sentence_transformers import SentenceTransformer

from embedtune import Embedder, QADataset
from embedtune.folders import partial_of
from embedtune.testing import HashEmbedder
from embedtune_sentence_transformers import SentenceTransformerEmbedder
from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.loss import NEGATIVE
from embedtune_sentence_transformers.negatives import HardNegatives, mine
from embedtune_sentence_transformers.options import DEPTH
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from tuning_runs import interrupted, resumed_weights, tuned, weights


@pytest.fixture(scope="module")
def embedder(tiny_model: Path) -> Embedder:
    return SentenceTransformerEmbedder(SentenceTransformer(str(tiny_model), device="cpu"))


@pytest.fixture(scope="module")
def pairs(code_words: QADataset) -> TrainingPairs:
    return pairs_of(code_words)


def mined_texts(dataset: QADataset, margin: float = 0.95) -> list[list[str]]:
    """What is mined for each query, as texts, by shared words."""
    pairs = pairs_of(dataset)
    found = mine(pairs, HashEmbedder(256), margin=margin)
    return [[pairs.chunks[chunk] for chunk in row if chunk >= 0] for row in found]


def similarities(embedder: Embedder, pairs: TrainingPairs) -> np.ndarray:
    """Cosine of each query to each chunk, by torch."""
    sides = embedder.embed_queries(pairs.queries), embedder.embed_documents(pairs.chunks)
    queries, chunks = (torch.nn.functional.normalize(torch.from_numpy(side), dim=1) for side in sides)
    return np.asarray(queries @ chunks.T)


def test_no_answer_is_mined(embedder: Embedder, pairs: TrainingPairs) -> None:
    found = mine(pairs, embedder, margin=1.0)
    assert (found >= 0).sum() > len(pairs.queries)
    assert not any(set(row) & pairs.answers[query] for query, row in enumerate(found))


def test_a_chunk_with_the_text_of_an_answer_is_not_mined() -> None:
    corpus = {"1": "red apples grow", "2": "red apples grow", "3": "red bricks", "4": "blue sky"}
    (found,) = mined_texts(QADataset({"q": "red apples"}, corpus, {"q": ["1"]}))
    assert found == ["red bricks", "blue sky"]


@pytest.mark.parametrize("margin", [1.0, 0.95, 0.7])
def test_a_chunk_nearer_than_the_margin_is_not_mined(embedder: Embedder, pairs: TrainingPairs, margin: float) -> None:
    scores, found = similarities(embedder, pairs), mine(pairs, embedder, margin=margin)
    for query, row in enumerate(found):
        limit = margin * max(scores[query, chunk] for chunk in pairs.answers[query])
        assert (scores[query, row[row >= 0]] < limit + 1e-6).all()
    assert (found >= 0).any()


def test_the_nearest_come_first(embedder: Embedder, pairs: TrainingPairs) -> None:
    scores, found = similarities(embedder, pairs), mine(pairs, embedder, margin=1.0)
    assert all((np.diff(scores[query, row[row >= 0]]) <= 1e-6).all() for query, row in enumerate(found))


def test_a_near_copy_of_a_far_answer_is_not_mined() -> None:
    """The margin alone would take it: it is no nearer to the query than the far answer is."""
    corpus = {"near": "red apples", "far": "red grow on old trees", "copy": "trees old on grow red", "other": "red sky"}
    (found,) = mined_texts(QADataset({"q": "red apples"}, corpus, {"q": ["near", "far"]}))
    assert found == ["red sky"]


def test_where_there_are_fewer_the_rest_is_minus_one(embedder: Embedder) -> None:
    corpus = {"1": "apple", "2": "river", "3": "tower"}
    found = mine(pairs_of(QADataset({"q": "apple"}, corpus, {"q": ["1"]})), embedder, margin=1.0)
    assert found.shape == (1, DEPTH)
    assert sorted(found[0]) == [-1] * (DEPTH - 2) + [1, 2]


def test_a_corpus_of_one_chunk_has_none(embedder: Embedder) -> None:
    found = mine(
        pairs_of(QADataset({"a": "apple", "b": "river"}, {"1": "tower"}, {"a": ["1"], "b": ["1"]})),
        embedder,
        margin=1.0,
    )
    assert found.tolist() == [[-1] * DEPTH] * 2


def test_a_query_farther_from_its_answer_than_from_all_others_has_none() -> None:
    """Each of them may answer as well as the answer does."""
    corpus = {"right": "moon", "1": "red apples", "2": "red apples grow"}
    assert mined_texts(QADataset({"q": "red apples moon tea"}, corpus, {"q": ["right"]}), margin=0.5) == [[]]


def test_where_200_chunks_are_above_the_margin_those_below_are_still_found() -> None:
    corpus = {f"n{i}": f"red apples {i}" for i in range(200)} | {"right": "red a b c d e f", "far": "blue sky"}
    assert mined_texts(QADataset({"q": "red apples"}, corpus, {"q": ["right"]})) == [["blue sky"]]


# What a batch draws


def rows_of(pairs: TrainingPairs, n: int) -> list[dict[str, object]]:
    return [{"chunk": c, "queries": q} for c, q in zip(*pairs.rows().values(), strict=True)][:n]


@pytest.fixture(scope="module")
def collator(tiny_model: Path, embedder: Embedder, pairs: TrainingPairs) -> RowCollator:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    return RowCollator(model, pairs, HardNegatives(mine(pairs, embedder, margin=1.0), per_query=2))


def test_the_same_batch_draws_the_same(collator: RowCollator, pairs: TrainingPairs) -> None:
    """A resumed run draws what an uninterrupted one does, however many batches it has seen."""
    first = collator(rows_of(pairs, 4))
    collator(rows_of(pairs, 7))
    again = collator(rows_of(pairs, 4))
    assert first.keys() == again.keys()
    assert all(torch.equal(first[name], again[name]) for name in first if name.endswith(("input_ids", "label")))


def test_another_seed_draws_others(collator: RowCollator, pairs: TrainingPairs) -> None:
    other = RowCollator(collator.model, pairs, collator.negatives, seed=1)
    one, two = collator(rows_of(pairs, 4)), other(rows_of(pairs, 4))
    assert one["label"].shape != two["label"].shape or not torch.equal(
        one["document0_input_ids"], two["document0_input_ids"]
    )


def test_drawn_chunks_stand_beside_the_batch_as_negatives(collator: RowCollator, pairs: TrainingPairs) -> None:
    rows = rows_of(pairs, 1)
    label = collator(rows)["label"]
    assert label.shape == (1, 3)
    assert (label == NEGATIVE).sum() == 2


def test_no_more_are_drawn_than_there_are() -> None:
    import random

    negatives = HardNegatives(np.array([[5, 3, -1], [-1, -1, -1]], dtype=np.int32), per_query=8)
    assert sorted(negatives.draw(0, random.Random(0))) == [3, 5]
    assert negatives.draw(1, random.Random(0)) == []


# Mining anew

MINING = {"hard_negatives": 2, "negative_margin": 1.0, "epochs": 3}
"""Three epochs of five steps."""


def mined_files(path: Path) -> dict[str, list[list[int]]]:
    files = sorted(partial_of(path).glob("run-0/negatives-*.safetensors"))
    return {file.stem: load_file(file)["chunks"].tolist() for file in files}


def test_negatives_are_mined_once_by_the_base(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    interrupted(str(tiny_model), code_words, tmp_path / "m", 12, **MINING)
    assert list(mined_files(tmp_path / "m")) == ["negatives-0"]


def test_negatives_are_mined_anew_by_the_model_in_training(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    interrupted(str(tiny_model), code_words, tmp_path / "m", 12, refresh_negatives=1, **MINING)
    found = mined_files(tmp_path / "m")
    assert list(found) == ["negatives-0", "negatives-1", "negatives-2"]
    assert found["negatives-0"] != found["negatives-1"] != found["negatives-2"]


@pytest.mark.slow
@pytest.mark.parametrize("step", [5, 8])
def test_a_resumed_run_that_mines_anew_ends_the_same(
    tiny_model: Path, code_words: QADataset, tmp_path: Path, step: int
) -> None:
    """Interrupted after an epoch, before the next is mined for, and in the middle of one."""
    options = MINING | {"refresh_negatives": 1}
    tuned(str(tiny_model), code_words, tmp_path / "whole", **options)
    assert resumed_weights(str(tiny_model), code_words, tmp_path / "m", step, **options) == weights(tmp_path / "whole")


def test_hard_negatives_change_what_is_learned(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    tuned(str(tiny_model), code_words, tmp_path / "without", epochs=3)
    tuned(str(tiny_model), code_words, tmp_path / "with", **MINING)
    assert weights(tmp_path / "with") != weights(tmp_path / "without")
