"""The choice among candidates, made by hand."""

from pathlib import Path

import pytest

from embedtune import QADataset
from embedtune_sentence_transformers.choosing import choose
from embedtune_sentence_transformers.scoring import Candidate, Candidates
from tuning_runs import cross_validated

METRIC = "ndcg@10"


def run(*values: list[float], shares: dict[int, float] | None = None) -> Candidates:
    """A run whose first candidate is the base; each step is one epoch."""
    points = [
        Candidate(i, 10 * i, float(i), {METRIC: tuple(per_query)}, (shares or {}).get(i, 1.0))
        for i, per_query in enumerate(values)
    ]
    return Candidates(Path("nowhere"), METRIC, points)


def test_a_gain_beyond_chance_is_taken() -> None:
    """Three of four queries gain 0.5: 0.375, with a standard error of 0.125."""
    choice = choose([run([0, 0, 0, 0], [0.5, 0.5, 0.5, 0])], [0, 1, 2, 3], METRIC)
    assert (choice.index, choice.kept_base_reason) == (1, None)
    assert choice.point.metrics == {METRIC: 0.375}


def test_a_gain_within_chance_keeps_the_base_and_says_why() -> None:
    """Two of five queries gain 0.4: 0.16, with a standard error of 0.098."""
    choice = choose([run([0] * 5, [0.4, 0.4, 0, 0, 0])], [0, 1, 2, 3, 4], METRIC)
    assert choice.index == 0
    assert choice.kept_base_reason == (
        "the best candidate, step 10, gained +0.1600 ndcg@10 on the 5 validation queries, within 1.64 standard errors "
        "of 0.0980"
    )


def test_queries_that_hang_together_count_as_one() -> None:
    """The same gains as those that are taken where each query stands alone."""
    gains = run([0] * 6, [0.5, 0.5, 0.5, 0, 0, 0])
    assert choose([gains], [0, 1, 2, 3, 4, 5], METRIC).index == 1
    assert choose([gains], [0, 0, 0, 1, 1, 1], METRIC).index == 0


def test_one_cluster_says_nothing_and_the_base_is_kept() -> None:
    choice = choose([run([0, 0], [1, 1])], [0, 0], METRIC)
    assert choice.index == 0
    assert "within 1.64 standard errors of inf" in str(choice.kept_base_reason)


def test_no_better_candidate_keeps_the_base_and_says_so() -> None:
    choice = choose([run([0.5, 0.5], [0.5, 0.4], [0.5, 0.5])], [0, 1], METRIC)
    assert choice.kept_base_reason == "no candidate had a better ndcg@10 on the 2 validation queries"
    assert choice.point.step == 0


def test_of_equal_candidates_the_earlier_is_taken() -> None:
    assert choose([run([0, 0], [0.5, 0.5], [0.5, 0.5])], [0, 1], METRIC).index == 1


def test_weights_between_can_be_the_best() -> None:
    choice = choose([run([0, 0], [0.5, 0.5], [0.6, 0.6], shares={2: 0.5})], [0, 1], METRIC)
    assert (choice.index, choice.point.share) == (2, 0.5)


def test_all_folds_together_choose() -> None:
    """The first candidate is the best of one fold, the second of both."""
    folds = [run([0, 0], [0.9, 0.9], [0.7, 0.7]), run([0, 0], [0.1, 0.1], [0.6, 0.6])]
    choice = choose(folds, [0, 1, 2, 3], METRIC)
    assert choice.index == 2
    assert choice.history[1].metrics[METRIC] == pytest.approx(0.5)


def test_folds_count_by_their_queries() -> None:
    folds = [run([0, 0, 0], [0.3, 0.3, 0.3]), run([0], [0.7])]
    assert choose(folds, [0, 1, 2, 3], METRIC).history[1].metrics[METRIC] == pytest.approx(0.4)


def test_folds_of_unlike_candidates_are_not_mixed() -> None:
    with pytest.raises(ValueError, match="zip"):
        choose([run([0], [1]), run([0])], [0, 1], METRIC)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_shuffled_answers_keep_the_base(tiny_model: Path, code_words: QADataset, tmp_path: Path, seed: int) -> None:
    """Nothing that holds on other questions can be learned from them."""
    import random

    chunks = list(code_words.corpus)
    random.Random(seed).shuffle(chunks)
    relevant = {query: [chunk] for query, chunk in zip(code_words.queries, chunks, strict=True)}
    shuffled = QADataset(code_words.queries, code_words.corpus, relevant)
    result = cross_validated(str(tiny_model), shuffled, tmp_path / "m", seed=seed, epochs=2)
    assert result.kept_base
