"""One seed, one model: with what draws at random, and whether a run was interrupted or not."""

import random
from pathlib import Path

import pytest

from embedtune import QADataset
from tuning_runs import resumed_weights, tuned, weights

DRAWING = {"hard_negatives": 1, "negative_margin": 1.0, "symmetric": True, "epochs": 3, "dropout": None}
"""Order of the rows, hard negatives, dropout; three epochs of five steps."""


@pytest.fixture(scope="module")
def whole(tiny_model: Path, code_words: QADataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "m"
    assert not tuned(str(tiny_model), code_words, folder, **DRAWING).kept_base
    return weights(folder)


def test_one_seed_gives_the_same_weights(whole: bytes, tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    tuned(str(tiny_model), code_words, tmp_path / "m", **DRAWING)
    assert weights(tmp_path / "m") == whole


def test_another_seed_gives_others(whole: bytes, tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    tuned(str(tiny_model), code_words, tmp_path / "m", seed=1, **DRAWING)
    assert weights(tmp_path / "m") != whole


@pytest.mark.slow
@pytest.mark.parametrize("step", random.Random(0).sample(range(1, 16), 4))
def test_a_run_interrupted_after_any_step_ends_the_same(
    whole: bytes, tiny_model: Path, code_words: QADataset, tmp_path: Path, step: int
) -> None:
    assert resumed_weights(str(tiny_model), code_words, tmp_path / "m", step, **DRAWING) == whole
