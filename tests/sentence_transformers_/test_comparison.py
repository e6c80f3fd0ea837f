"""Verdicts on real weights: a model against itself, and against what shuffling leaves of it."""

import copy
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from embedtune import compare
from embedtune.testing import tiny_dataset


def shuffled(model: SentenceTransformer) -> SentenceTransformer:
    """The same numbers in each tensor, in another order."""
    worse = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    for weights in worse.parameters():
        order = torch.randperm(weights.numel(), generator=generator)
        weights.data = weights.data.flatten()[order].reshape(weights.shape)
    return worse


def test_a_model_against_itself_differs_by_nothing(small_model: Path) -> None:
    found = compare(str(small_model), str(small_model), tiny_dataset(32), progress=False)
    assert found.verdict == "no difference within the margin"
    assert {(row.low, row.high, row.p) for row in found.rows} == {(0.0, 0.0, 1.0)}
    assert found.findings == ()


def test_a_model_whose_weights_were_shuffled_is_worse(minilm: Path) -> None:
    """All six layers: one alone, shuffled, still tells words apart, and so finds them."""
    model = SentenceTransformer(str(minilm), device="cpu")
    found = compare(model, shuffled(model), tiny_dataset(32), progress=False)
    assert found.verdict == "do not ship: worse"
    assert found.row("vector", "hit_rate", 5).p < 1e-3
    assert found.findings == ()
