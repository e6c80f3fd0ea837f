"""The metrics are those of trec_eval, checked against ir_measures and by hand."""

import math
import random
from collections.abc import Iterable

import ir_measures
import numpy as np
import pytest
from ir_measures import AP, RR, R, Success, nDCG

from embedtune.metrics import (
    METRICS,
    average_precision,
    hit_rate,
    metric_names,
    mrr,
    ndcg,
    parse_metric,
    per_query,
    recall,
    relevant_ranks,
)

CUT_OFFS = (1, 3, 5, 10)
N_RUNS = 200
MEASURES = {
    f"{name}@{k}": measure @ k
    for name, measure in {"hit_rate": Success, "mrr": RR, "ndcg": nDCG, "recall": R, "map": AP}.items()
    for k in CUT_OFFS
}

Run = dict[str, list[str]]
Grades = dict[str, dict[str, int]]


def random_run(seed: int) -> tuple[Run, Grades]:
    """Rankings with repeats, empty and missing ones, and several graded positives, some of them not found."""
    rng = random.Random(seed)
    ids = [f"c{i}" for i in range(rng.randint(2, 30))]
    grades: Grades = {}
    run: Run = {}
    for query in (f"q{i}" for i in range(rng.randint(1, 8))):
        grades[query] = {chunk: rng.randint(1, 3) for chunk in rng.sample(ids, rng.randint(1, min(6, len(ids))))}
        kind = rng.random()
        if kind < 0.15:
            continue
        run[query] = [] if kind < 0.3 else rng.choices(ids, k=rng.randint(1, 25))
    return run, grades


def oracle(run: Run, grades: Grades) -> dict[str, dict[str, float]]:
    """ir_measures' value by measure and query; 0 for a query without results, which it leaves out."""
    qrels = [ir_measures.Qrel(q, c, grade) for q, by_chunk in grades.items() for c, grade in by_chunk.items()]
    # Ties are exported with strictly falling scores: trec_eval sorts by score and would break them by id.
    scored = [
        ir_measures.ScoredDoc(query, chunk, -float(rank))
        for query, ranking in run.items()
        for rank, chunk in enumerate(dict.fromkeys(ranking))
    ]
    names = {str(measure): name for name, measure in MEASURES.items()}
    values = {name: dict.fromkeys(grades, 0.0) for name in MEASURES}
    for found in ir_measures.iter_calc(list(MEASURES.values()), qrels, scored) if scored else ():
        values[names[str(found.measure)]][found.query_id] = found.value
    return values


def ours(run: Run, grades: Grades, names: Iterable[str]) -> dict[str, np.ndarray]:
    ranks = [relevant_ranks(run.get(query, []), by_chunk) for query, by_chunk in grades.items()]
    return per_query(ranks, [list(map(float, by_chunk.values())) for by_chunk in grades.values()], names)


def test_every_metric_equals_ir_measures_on_200_random_runs() -> None:
    compared = 0
    for seed in range(N_RUNS):
        run, grades = random_run(seed)
        expected, values = oracle(run, grades), ours(run, grades, MEASURES)
        for name in MEASURES:
            np.testing.assert_allclose(values[name], list(expected[name].values()), atol=1e-9, err_msg=f"{seed} {name}")
            compared += len(values[name])
    assert compared > N_RUNS * len(MEASURES)


def test_mean_counts_queries_without_results_as_zero() -> None:
    """trec_eval and ir_measures average over the queries that the run holds: a failed search would raise the score."""
    run, grades = {"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}}
    assert ours(run, grades, ["hit_rate@5"])["hit_rate@5"].mean() == 0.5
    assert hit_rate([["a"], []], [{"a"}, {"b"}], k=5) == 0.5


def test_public_functions_agree_with_the_per_query_values() -> None:
    run, grades = random_run(7)
    rankings = [run.get(query, []) for query in grades]
    relevant = [set(by_chunk) for by_chunk in grades.values()]
    expected = {name: values.mean() for name, values in ours(run, grades, metric_names([5])).items()}
    assert hit_rate(rankings, relevant, 5) == pytest.approx(expected["hit_rate@5"])
    assert mrr(rankings, relevant, 5) == pytest.approx(expected["mrr@5"])
    assert recall(rankings, relevant, 5) == pytest.approx(expected["recall@5"])
    assert average_precision(rankings, relevant, 5) == pytest.approx(expected["map@5"])
    assert ndcg(rankings, relevant, 5, list(grades.values())) == pytest.approx(expected["ndcg@5"])


def test_hit_is_any_relevant_chunk_not_the_first_named() -> None:
    assert hit_rate([["x", "b"]], [{"a", "b"}], k=2) == 1.0


def test_repeated_ids_are_dropped_before_the_cut() -> None:
    assert hit_rate([["x", "x", "x", "a"]], [{"a"}], k=2) == 1.0
    assert mrr([["x", "x", "x", "a"]], [{"a"}], k=2) == 0.5


def test_a_repeated_relevant_id_counts_once() -> None:
    assert recall([["a", "a"]], [{"a", "b"}], k=2) == 0.5
    assert average_precision([["a", "a"]], [{"a", "b"}], k=2) == 0.5
    assert ndcg([["a", "a"]], [{"a"}], k=2) == 1.0


def test_order_is_judged_as_returned() -> None:
    assert mrr([["b", "a"]], [{"a"}], k=2) == 0.5


def test_a_cut_beyond_the_ranking_changes_nothing() -> None:
    assert recall([["a", "x"]], [{"a", "b"}], k=1000) == recall([["a", "x"]], [{"a", "b"}], k=2) == 0.5


def test_ndcg_has_linear_gain_and_an_ideal_that_is_cut() -> None:
    """Exponential gain would give 0.797 for the first; an ideal that is not cut, 0.469 for the second."""
    linear = (1 + 2 / math.log2(3)) / (2 + 1 / math.log2(3))
    assert linear == pytest.approx(0.860, abs=0.001)
    assert ndcg([["one", "two"]], [{"one", "two"}], 2, [{"one": 1, "two": 2}]) == pytest.approx(linear)
    assert ndcg([["a"]], [{"a", "b", "c"}], k=1) == 1.0


def test_recall_and_map_are_over_all_relevant_not_over_k() -> None:
    assert recall([["a"]], [{"a", "b"}], k=1) == 0.5
    assert average_precision([["a"]], [{"a", "b"}], k=1) == 0.5


@pytest.mark.parametrize("metric", [hit_rate, mrr, ndcg, recall, average_precision])
def test_a_perfect_ranking_scores_one_and_an_empty_one_zero(metric: object) -> None:
    assert callable(metric)
    assert metric([["a", "b"]], [{"a", "b"}], k=2) == pytest.approx(1.0)
    assert metric([[]], [{"a"}], k=2) == 0.0


@pytest.mark.parametrize(
    ("rankings", "relevant", "k", "message"),
    [
        ([["a"]], [], 1, "Got 1 rankings for 0 queries"),
        ([], [], 1, "at least one"),
        ([["a"]], [{"a"}], 0, "k must be at least 1; got 0"),
        ([["a"], ["b"]], [{"a"}, set()], 1, "1 of 2 queries have no relevant chunk"),
    ],
)
def test_bad_arguments_are_refused(rankings: list[list[str]], relevant: list[set[str]], k: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        hit_rate(rankings, relevant, k)


@pytest.mark.parametrize("grades", [[{"a": 0}], [{"a": -1}], [{"a": math.nan}], []])
def test_grades_that_are_no_relevance_are_refused(grades: list[dict[str, float]]) -> None:
    with pytest.raises(ValueError, match="with values above 0"):
        ndcg([["a"]], [{"a"}], 1, grades)


@pytest.mark.parametrize("text", ["ndcg", "ndcg@", "ndcg@0", "ndcg@-1", "ndcg@1.5", "precision@5", "@5", ""])
def test_an_unknown_metric_is_refused_with_the_known_names(text: str) -> None:
    with pytest.raises(ValueError, match="Write a name of hit_rate, mrr, ndcg, recall, map and a cut-off"):
        parse_metric(text)


def test_metric_names_are_sorted_and_without_repeats() -> None:
    assert metric_names([10, 1, 10]) == [f"{name}@{k}" for name in METRICS for k in (1, 10)]


@pytest.mark.parametrize(
    ("ranks", "grades"), [([[1.0], []], [[1.0], []]), ([[1.0]], [[1.0, 2.0]]), ([[1.0]], [])], ids=str
)
def test_per_query_wants_a_rank_and_a_grade_for_each_relevant_chunk(
    ranks: list[list[float]], grades: list[list[float]]
) -> None:
    with pytest.raises(ValueError, match="one rank and one grade for each relevant chunk of a query, and at least one"):
        per_query(ranks, grades, ["mrr@5"])


def test_no_queries_have_no_values() -> None:
    assert {name: values.tolist() for name, values in per_query([], [], metric_names([5])).items()} == {
        name: [] for name in metric_names([5])
    }
