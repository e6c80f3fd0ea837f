"""Texts as tokens: those of the model's own preprocessing, each text once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.pairs import pairs_of
from embedtune_sentence_transformers.tokens import TokenisedTexts
from small_models import tiny_model as make_tiny_model

TEXTS = ["apple", "river tower candle", "", "a much longer text about nothing, " * 20, "雲は白い", "  two  spaces "]


@pytest.fixture
def model(tiny_model: Path) -> SentenceTransformer:
    return SentenceTransformer(str(tiny_model), device="cpu")


def same(features: dict[str, Any], expected: dict[str, Any]) -> bool:
    """Beside padding that comes to a multiple of eight."""
    tensors = {name for name, value in expected.items() if isinstance(value, torch.Tensor)}
    rest = {name: value for name, value in expected.items() if name not in tensors}
    assert {name: features[name] for name in rest} == rest
    if "attention_mask" not in expected:
        return features.keys() == expected.keys() and all(
            torch.equal(features[name], expected[name]) for name in tensors
        )
    read, wanted = features["attention_mask"].bool(), expected["attention_mask"].bool()
    assert read.shape[1] % 8 == 0
    assert 0 <= read.shape[1] - wanted.shape[1] < 8
    rows = zip(read, wanted, strict=True)
    assert all(int(ours.sum()) == int(theirs.sum()) for ours, theirs in rows)
    return features.keys() == expected.keys() and all(
        torch.equal(features[name][read], expected[name][wanted]) for name in tensors
    )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("indices", [[0, 1, 2, 3, 4, 5], [4, 0], [2]])
def test_features_are_those_of_the_model(model: SentenceTransformer, side: str, indices: list[int]) -> None:
    model.tokenizer.padding_side = side
    texts = TokenisedTexts(model, "document", TEXTS)
    texts.features([5, 3])
    assert same(texts.features(indices), model.preprocess([TEXTS[i] for i in indices], prompt=None, task="document"))


@pytest.mark.parametrize("task", ["query", "document"])
@pytest.mark.parametrize("include_prompt", [True, False])
def test_prompts_are_part_of_them(tmp_path: Path, task: str, include_prompt: bool) -> None:
    """And its length goes along, for a pooling that leaves it out."""
    folder = make_tiny_model(tmp_path / "prompted", ["apple"], query="ask of it : ", document="read : ")
    model = SentenceTransformer(str(folder), device="cpu")
    model.set_pooling_include_prompt(include_prompt)
    expected = model.preprocess(TEXTS, prompt=model.prompts[task], task=task)
    assert same(TokenisedTexts(model, task, TEXTS).features(range(len(TEXTS))), expected)
    assert expected["prompt_length"] == len(model.tokenizer(model.prompts[task])["input_ids"]) - 1


def test_no_more_tokens_are_kept_than_the_model_reads(model: SentenceTransformer) -> None:
    assert TokenisedTexts(model, "document", TEXTS).length(3) == model.max_seq_length == 64


def test_the_length_is_without_padding(model: SentenceTransformer) -> None:
    texts = TokenisedTexts(model, "document", TEXTS)
    texts.features([0, 1])
    assert [texts.length(0), texts.length(1)] == [3, 5]


@pytest.fixture
def calls(model: SentenceTransformer, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The texts of each call of the model's preprocessing."""
    found: list[list[str]] = []
    preprocess = model.preprocess

    def counted(texts: list[str], **options: object) -> dict[str, Any]:
        found.append(list(texts))
        features: dict[str, Any] = preprocess(texts, **options)
        return features

    monkeypatch.setattr(model, "preprocess", counted)
    return found


@pytest.fixture
def batches(model: SentenceTransformer) -> Callable[..., None]:
    """Makes a batch of four of twelve pairs, beginning at each of the given ones."""
    texts = {f"q{i}": f"query {i}" for i in range(12)}, {f"c{i}": f"chunk {i}" for i in range(12)}
    pairs = pairs_of(QADataset(*texts, {f"q{i}": [f"c{i}"] for i in range(12)}))
    rows = [{"chunk": chunk, "queries": queries} for chunk, queries in zip(*pairs.rows().values(), strict=True)]
    collator = RowCollator(model, pairs)

    def make(*starts: int) -> None:
        for start in starts:
            collator(rows[start : start + 4])

    return make


def test_each_text_is_tokenised_once(batches: Callable[..., None], calls: list[list[str]]) -> None:
    """However often batches come by."""
    batches(0, 4, 8, 2, 6)
    expected = [f"{kind} {i}" for kind in ("query", "chunk") for i in range(12)]
    assert sorted(text for texts in calls for text in texts) == sorted(expected)


def test_a_batch_is_tokenised_together(batches: Callable[..., None], calls: list[list[str]]) -> None:
    """In one call for its queries and one for its chunks: a call for each text costs five times as much."""
    batches(0)
    assert [sorted(texts) for texts in calls] == [[f"{kind} {i}" for i in range(4)] for kind in ("query", "chunk")]


def test_input_of_another_kind_is_made_anew_for_each_batch(tmp_path: Path) -> None:
    """A model of embeddings alone takes all tokens of a batch in one row."""
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding

    tokenizer = SentenceTransformer(str(make_tiny_model(tmp_path / "t", ["apple"])), device="cpu").tokenizer
    model = SentenceTransformer(modules=[StaticEmbedding(tokenizer.backend_tokenizer, embedding_dim=8)], device="cpu")
    texts = TokenisedTexts(model, "document", TEXTS)
    assert texts.length(1) == len(TEXTS[1])
    assert same(texts.features([1, 0]), model.preprocess([TEXTS[1], TEXTS[0]], prompt=None, task="document"))
