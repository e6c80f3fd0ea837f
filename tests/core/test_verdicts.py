"""Verdict and reason: what each is made of, and what a reader is told with it."""

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedtune import Comparison, Evaluation, EvaluationError, GenerationReport, QADataset, compare
from embedtune.comparison import ComparisonRow, Finding, summarise
from embedtune.comparison.verdicts import Evidence, decide
from embedtune.evaluation import evaluate_search
from embedtune.statistics import holm, mcnemar_p
from embedtune.testing import HashEmbedder, tiny_dataset


def evidence(low: float, high: float, p: float = 0.01, p_holm: float | None = None, **changes: Any) -> Evidence:
    row = ComparisonRow(
        query_type="vector",
        metric="hit_rate",
        k=5,
        base=0.5,
        tuned=0.5 + (low + high) / 2,
        difference=(low + high) / 2,
        low=low,
        high=high,
        p=p,
        p_holm=p if p_holm is None else p_holm,
    )
    whole = Evidence(
        row=row,
        margin=0.01,
        n_queries=900,
        n_clusters=90,
        n_seen=0,
        n_left_out=0,
        n_tests=1,
        n_needed=1234,
        detectable=0.034,
    )
    return replace(whole, **changes)


def answers(dataset: QADataset, found: Sequence[bool] | np.ndarray) -> Evaluation:  # type: ignore[type-arg]
    """The evaluation of a search that answers what is said."""
    known = {
        text: dataset.relevant_docs[query] if hit else []
        for (query, text), hit in zip(dataset.queries.items(), found, strict=True)
    }
    return evaluate_search(SimpleNamespace(search=lambda queries, k: [known[query] for query in queries]), dataset)


def on_chunks(n_chunks: int, per_chunk: int = 1) -> QADataset:
    corpus = {f"c{i}": f"chunk {i}" for i in range(n_chunks)}
    queries = {f"q{i}-{n}": f"question {i} {n}" for i in range(n_chunks) for n in range(per_chunk)}
    return QADataset(queries, corpus, {query: [f"c{query[1:].split('-')[0]}"] for query in queries})


def compared(dataset: QADataset, base: Sequence[bool], tuned: Sequence[bool], **options: Any) -> Comparison:
    return summarise({"vector": (answers(dataset, base), answers(dataset, tuned))}, dataset, 5, **options)


# What decides


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.05, "ship"),
        (0.001, 0.009, "ship"),
        (-0.05, -0.001, "do not ship: worse"),
        (-0.009, -0.001, "do not ship: worse"),
        (-0.01, 0.01, "no difference within the margin"),
        (0.0, 0.0, "no difference within the margin"),
        (0.0, 0.011, "cannot tell"),
        (-0.011, 0.0, "cannot tell"),
        (-0.05, 0.05, "cannot tell"),
    ],
)
def test_the_interval_decides(low: float, high: float, verdict: str) -> None:
    assert decide(evidence(low, high))[0] == verdict


@pytest.mark.parametrize(("p", "verdict"), [(0.049, "ship"), (0.05, "cannot tell")])
def test_ship_also_needs_the_test(p: float, verdict: str) -> None:
    assert decide(evidence(0.02, 0.08, p))[0] == verdict


def test_ship_needs_the_adjusted_p_where_several_query_types_were_compared() -> None:
    verdict, reason = decide(evidence(0.02, 0.08, p=0.03, p_holm=0.06, n_tests=2))
    assert verdict == "cannot tell"
    assert "p=0.03, 0.06 by Holm over 2 query types, 900 questions)" in reason


def test_worse_needs_no_test() -> None:
    """A warning may rest on less than a promise."""
    assert decide(evidence(-0.08, -0.02, p=0.2))[0] == "do not ship: worse"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.02, 0.08, "cannot tell"), (-0.001, 0.001, "cannot tell"), (-0.08, -0.02, "do not ship: worse")],
)
def test_on_seen_questions_only_a_loss_is_told(low: float, high: float, verdict: str) -> None:
    assert decide(evidence(low, high, n_seen=1))[0] == verdict


# How many questions would do


def test_cannot_tell_says_how_many_questions_would_do() -> None:
    reason = decide(evidence(-0.05, 0.05))[1]
    told = (
        "with 80% power these questions show a difference of 0.034, about 1,234 such questions would show one of 0.01"
    )
    assert reason.endswith(f"900 questions); {told}")


@pytest.mark.parametrize("changes", [{"n_seen": 3}, {"n_needed": None, "detectable": None}])
def test_the_number_is_not_said_where_it_would_not_help(changes: dict[str, int | None]) -> None:
    assert "power" not in decide(evidence(-0.05, 0.05, **changes))[1]


def test_the_number_is_in_the_comparison_and_grows_with_the_design_effect() -> None:
    """300 questions, 5% gained and 5% lost: on 300 chunks, then on 60, where five stand and fall together."""
    tuned = np.repeat([True, False], 150)
    base = np.r_[np.repeat([True, False], [135, 15]), np.repeat([True, False], [15, 135])]
    single = compared(on_chunks(300), base, tuned)
    together = compared(on_chunks(60, per_chunk=5), base, tuned)
    assert single.verdict == together.verdict == "cannot tell"
    assert single.n_needed == pytest.approx((2.8016 / 0.01) ** 2 * 0.1, rel=0.01)
    assert together.n_needed == pytest.approx(5 * (single.n_needed or 0), rel=0.02)
    assert f"about {single.n_needed:,} such questions would show one of 0.01" in single.reason
    assert single.detectable == pytest.approx(2.8016 * (0.1 / 300) ** 0.5, rel=0.01)
    assert f"these questions show a difference of {single.detectable:.3f}" in single.reason
    assert single.to_json()["n_needed"] == single.n_needed


def test_a_verdict_that_is_told_needs_no_more_questions() -> None:
    assert compared(on_chunks(40), [False] * 40, [True] * 40).n_needed is None


def test_the_whole_margin_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(EvaluationError, match=r"margin must lie in \[0, 1\); got 1. One point of the hit rate is 0.01"):
        compare("./no/such/model", "./nor/this", on_chunks(3), margin=1)


# Rows


def test_wins_losses_and_ties_are_counted() -> None:
    row = compared(on_chunks(10), [True] * 6 + [False] * 4, [True] * 3 + [False] * 6 + [True]).rows[0]
    assert (row.wins, row.losses, row.ties) == (1, 3, 6)


def test_single_questions_are_tested_by_mcnemars_test() -> None:
    found = compared(on_chunks(40), [True] * 3 + [False] * 37, [False] * 3 + [True] * 12 + [False] * 25)
    assert found.row("vector", "hit_rate", 5).p == mcnemar_p(12, 3)


def test_p_is_adjusted_over_the_types_that_the_model_can_change_for_the_primary_metric() -> None:
    dataset = on_chunks(60)
    base, tuned = answers(dataset, [False] * 60), {n: answers(dataset, [i < n for i in range(60)]) for n in (5, 8)}
    pairs = {"fts": (base, base), "vector": (base, tuned[5]), "hybrid": (base, tuned[8])}
    found = summarise(pairs, dataset, 5, model_free=frozenset({"fts"}))
    adjusted = {(row.query_type, row.metric, row.k): row.p_holm for row in found.rows if row.p_holm is not None}
    assert list(adjusted) == [("vector", "hit_rate", 5), ("hybrid", "hit_rate", 5)]
    assert list(adjusted.values()) == holm([mcnemar_p(5, 0), mcnemar_p(8, 0)])


def test_a_second_query_type_can_cost_the_verdict() -> None:
    """Six wins of 60 have p = 0.031; over two query types 0.0625."""
    dataset = on_chunks(60)
    pair = answers(dataset, [False] * 60), answers(dataset, [i < 6 for i in range(60)])
    assert summarise({"vector": pair}, dataset, 5).verdict == "ship"
    assert summarise({"vector": pair, "hybrid": pair}, dataset, 5).verdict == "cannot tell"
    assert summarise({"vector": pair, "fts": pair}, dataset, 5, model_free=frozenset({"fts"})).verdict == "ship"


# What a reader is told


def test_questions_that_an_llm_wrote_are_named_as_such() -> None:
    dataset = tiny_dataset(40)
    written = replace(dataset, report=GenerationReport(llm="OpenAILLM gpt\x1b[2J", chunks=40, asked=80, written=80))
    found = compare(HashEmbedder(), HashEmbedder(), written)
    note = "These questions were written by an LLM, OpenAILLM gpt [2J: people may ask others."
    assert note in found.notes
    assert note not in compare(HashEmbedder(), HashEmbedder(), dataset).notes


@pytest.mark.parametrize(("n_chunks", "n_notes"), [(29, 1), (30, 0)])
def test_few_clusters_are_noted(n_chunks: int, n_notes: int) -> None:
    notes = compared(on_chunks(n_chunks), [True] * n_chunks, [True] * n_chunks).notes
    assert len([note for note in notes if "with fewer than 30 the intervals are unreliable" in note]) == n_notes


def test_searches_that_failed_are_noted() -> None:
    dataset = on_chunks(40)
    failed = replace(answers(dataset, [True] * 40), failed_queries=("q3-0",))
    found = summarise({"vector": (failed, failed)}, dataset, 5)
    assert found.notes[0] == "vector: 1 of 40 searches with the base model failed; they count as not found."


def test_settings_and_findings_are_kept() -> None:
    dataset, finding = on_chunks(40), Finding(name="leak", told="so it is")
    found = compared(dataset, [True] * 40, [False] * 40, settings={"seed": 3}, doctor=lambda pair: (finding,))
    assert (found.settings, found.findings) == ({"seed": 3}, (finding,))


def test_the_doctor_is_not_asked_where_the_model_ships_or_cannot_change_anything() -> None:
    def never(pair: object) -> tuple[Finding, ...]:
        raise AssertionError("asked")

    dataset = on_chunks(40)
    assert compared(dataset, [False] * 40, [True] * 40, doctor=never).verdict == "ship"
    flat = compared(dataset, [True] * 40, [True] * 40, doctor=never, model_free=frozenset({"vector"}))
    assert flat.verdict == "no difference within the margin"


def test_equal_answers_to_few_questions_are_no_proof_of_equality() -> None:
    """A model that loses one question in twenty answers ten like the base in three of five cases."""
    for n_chunks, verdict in ((10, "cannot tell"), (300, "cannot tell"), (400, "no difference within the margin")):
        assert compared(on_chunks(n_chunks), [True] * n_chunks, [True] * n_chunks).verdict == verdict


def test_losses_that_were_not_seen_are_allowed_for() -> None:
    """Of 50 questions one won and none lost: no draw of the bootstrap is a loss, and up to 7% of all may be."""
    found = compared(on_chunks(50), [False] + [True] * 49, [True] * 50, margin=0.06)
    row = found.row("vector", "hit_rate", 5)
    assert (row.low, row.high) == (0.0, pytest.approx(0.06))
    assert found.verdict == "cannot tell"


def test_a_model_is_as_good_as_itself_whatever_the_number_of_questions() -> None:
    found = compare(HashEmbedder(), HashEmbedder(), tiny_dataset(3))
    assert found.verdict == "no difference within the margin"
    assert "Base and tuned are one and the same model, by their fingerprint." in found.notes
    assert {(row.low, row.high, row.p) for row in found.rows} == {(0.0, 0.0, 1.0)}


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_none_is_refused_before_anything_is_loaded(seed: Any) -> None:
    with pytest.raises(EvaluationError, match=r"seed must be a whole number of at least 0; got "):
        compare("no such model", "nor this", tiny_dataset(), seed=seed)


def test_a_p_value_is_never_told_as_0() -> None:
    assert "p=1e-99 or less" in decide(evidence(0.1, 0.2, p=0.0))[1]
