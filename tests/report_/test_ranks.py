"""Hit rate over k, movement between ranks, and which questions changed."""

import dataclasses

import pytest

from embedtune.report.changes import changed_questions
from embedtune.report.ranks import curve_of, movement_of, outcome
from reported import compared, dataset_of

RANKS = [(None, 1), (1, None), (3, 3), (6, 5), (2, 4), (10, 6), (None, None)]


def test_curves_agree_with_the_evaluations_metrics() -> None:
    evaluations = compared(RANKS, dataset_of(7)).evaluations["vector"]
    curve = curve_of(*evaluations)
    for evaluation, rates, mrr in zip(
        evaluations, (curve.base_hit_rate, curve.tuned_hit_rate), (curve.base_mrr, curve.tuned_mrr), strict=True
    ):
        assert [rates[k - 1] for k in (1, 5, 10)] == pytest.approx(
            [evaluation.metrics[f"hit_rate@{k}"] for k in (1, 5, 10)]
        )
        assert mrr[-1] == pytest.approx(evaluation.metrics["mrr@10"])
        assert len(rates) == 10


def test_curves_of_complete_ranks_end_at_20() -> None:
    base, tuned = (
        dataclasses.replace(evaluation, depth=None)
        for evaluation in compared([(30, 15)], dataset_of(1)).evaluations["vector"]
    )
    curve = curve_of(base, tuned)
    assert (len(curve.base_hit_rate), curve.base_hit_rate[-1], curve.tuned_hit_rate[-1]) == (20, 0.0, 1.0)


def test_movement_counts_every_question_once() -> None:
    movement = movement_of(compared(RANKS, dataset_of(7)), "vector")
    assert [str(band) for band in movement.bands] == ["1", "2\u20133", "4\u20135", "6\u201310", "not found"]
    assert movement.counts == ((0, 0, 0, 0, 1), (0, 1, 1, 0, 0), (0, 0, 0, 0, 0), (0, 0, 1, 1, 0), (1, 0, 0, 0, 1))
    assert movement.outcomes == {"won": 2, "lost": 1, "same": 2, "down": 1, "up": 1}


def test_a_band_ends_where_hits_end() -> None:
    comparison = dataclasses.replace(compared([(7, 8)], dataset_of(1)), top_k=7)
    movement = movement_of(comparison, "vector")
    assert [(band.first, band.last) for band in movement.bands][3:] == [(6, 7), (8, 10), (0, 0)]
    assert movement.counts[3][4] == 1


def test_complete_ranks_have_a_band_without_an_end() -> None:
    comparison = compared([(4000, 21), (21, 4000), (20, None)], dataset_of(3))
    evaluations = tuple(dataclasses.replace(one, depth=None) for one in comparison.evaluations["vector"])
    movement = movement_of(dataclasses.replace(comparison, evaluations={"vector": evaluations}), "vector")
    assert [str(band) for band in movement.bands][-3:] == ["11\u201320", "21+", "not found"]
    assert (movement.counts[-2][-2], movement.counts[-3][-1]) == (2, 1)


def test_complete_ranks_have_no_row_for_what_was_not_found() -> None:
    comparison = compared([(4000, 21)], dataset_of(1))
    evaluations = tuple(dataclasses.replace(one, depth=None) for one in comparison.evaluations["vector"])
    movement = movement_of(dataclasses.replace(comparison, evaluations={"vector": evaluations}), "vector")
    assert str(movement.bands[-1]) == "21+"
    assert len(movement.counts) == len(movement.counts[0]) == len(movement.bands)


def test_gains_that_round_alike_are_one() -> None:
    movement = movement_of(
        compared([(None, 1), (None, 1), (1, 2), (1999, 2000), (2000, 1999)], dataset_of(5)), "vector"
    )
    told = [(gain.change, gain.n_questions, gain.ranks) for gain in movement.gains]
    assert told == [(-0.5, 1, (1, 2)), (0.0, 2, None), (1.0, 2, (None, 1))]


@pytest.mark.parametrize(
    ("base", "tuned", "told"),
    [(6, 5, "won"), (5, 6, "lost"), (5, 1, "up"), (1, 5, "down"), (None, 9, "up"), (9, None, "down"), (2, 2, "same")],
)
def test_outcome_tells_hits_from_mere_movement(base: int | None, tuned: int | None, told: str) -> None:
    assert outcome(base, tuned, 5) == told


def test_changed_questions_put_the_primary_query_type_first() -> None:
    dataset = dataset_of(4)
    first = compared([(1, 1), (2, 3), (1, None), (1, 1)], dataset).evaluations["vector"]
    second = compared([(1, None), (1, 1), (1, 1), (1, 1)], dataset).evaluations["vector"]
    comparison = dataclasses.replace(compared([(1, 1)] * 4, dataset), evaluations={"vector": first, "fts": second})
    assert changed_questions(comparison) == ([2, 0, 1], 2)
