"""Validation on a part of a large corpus."""

import json
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune.folders import partial_of
from embedtune_sentence_transformers import scoring
from embedtune_sentence_transformers.scoring import Scorer
from tuning_runs import interrupted, tuned, weights


@pytest.fixture(autouse=True)
def _small_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "SEARCHED_WHOLE", 4)
    monkeypatch.setattr(scoring, "NEAREST", 2)


@pytest.fixture
def scorer(code_words: QADataset) -> Scorer:
    """Of three questions on 56 chunks."""
    return Scorer(code_words.subset(["q0", "q1", "q2"]), "ndcg@10", "fp32", progress=False)


def narrowed(scorer: Scorer, model: Path, folder: Path) -> Scorer:
    return scorer.narrowed(scorer.embedder(SentenceTransformer(str(model), device="cpu")), folder)


def test_a_small_corpus_is_searched_whole(
    scorer: Scorer, tiny_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "SEARCHED_WHOLE", 56)
    assert narrowed(scorer, tiny_model, tmp_path) is scorer


def test_the_pool_holds_all_answers_and_the_nearest_and_no_more(
    scorer: Scorer, tiny_model: Path, tmp_path: Path
) -> None:
    pool = narrowed(scorer, tiny_model, tmp_path).valset
    assert list(pool.queries) == ["q0", "q1", "q2"]
    assert pool.relevant_docs == scorer.valset.relevant_docs
    assert {"c0", "c1", "c2"} <= set(pool.corpus)
    assert len(pool.corpus) <= 3 + 3 * 2 < len(scorer.valset.corpus)
    assert set(json.loads((tmp_path / "pool.json").read_text())) <= set(pool.corpus)


def test_the_pool_is_in_the_order_of_the_corpus(scorer: Scorer, tiny_model: Path, tmp_path: Path) -> None:
    """So that equal scores are ranked the same way."""
    pool = narrowed(scorer, tiny_model, tmp_path).valset
    assert list(pool.corpus) == [chunk for chunk in scorer.valset.corpus if chunk in pool.corpus]


def test_the_pool_is_the_base_models_after_a_resume(
    scorer: Scorer, tiny_model: Path, small_model: Path, tmp_path: Path
) -> None:
    """Whatever the model has become since."""
    before = narrowed(scorer, tiny_model, tmp_path).valset.corpus
    assert narrowed(scorer, small_model, tmp_path / "other").valset.corpus != before
    assert narrowed(scorer, small_model, tmp_path).valset.corpus == before


def test_the_figures_are_of_all_validation_queries(scorer: Scorer, tiny_model: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(tiny_model), device="cpu")
    part = narrowed(scorer, tiny_model, tmp_path)
    whole, some = (one.score(one.embedder(model)) for one in (scorer, part))
    assert {len(values) for values in some.values()} == {3}
    assert all(a <= b for a, b in zip(whole["ndcg@10"], some["ndcg@10"], strict=True))


@pytest.mark.slow
def test_a_resumed_run_validates_on_the_same_pool_and_ends_the_same(
    tiny_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    whole = tuned(str(tiny_model), code_words, tmp_path / "whole", epochs=2)
    interrupted(str(tiny_model), code_words, tmp_path / "m", 7, epochs=2)
    assert (partial_of(tmp_path / "m") / "run-0" / "pool.json").is_file()
    resumed = tuned(str(tiny_model), code_words, tmp_path / "m", epochs=2, resume=True)
    assert resumed.history == whole.history
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")
