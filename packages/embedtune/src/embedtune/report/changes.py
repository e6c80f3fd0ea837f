"""Which questions changed, and how."""

from collections.abc import Iterator, Mapping
from typing import Any

from embedtune.comparison import Comparison
from embedtune.report.ranks import outcome, reciprocal

__all__ = ["changed_questions", "question_rows"]


def changed_questions(comparison: Comparison) -> tuple[list[int], int]:
    """Places of the questions that any query type changed, and how many of them were won or lost.

    Those won or lost over the primary query type come first, then those over another, then those that moved;
    among equals, those that moved farthest.
    """
    places: dict[int, tuple[int, float]] = {}
    for query_type, (base, tuned) in comparison.evaluations.items():
        primary = query_type == comparison.primary
        for place, (before, after) in enumerate(zip(base, tuned, strict=True)):
            if before["rank"] == after["rank"]:
                continue
            is_decided = before["is_hit"] != after["is_hit"]
            urgency = (0 if primary else 1) if is_decided else (2 if primary else 3)
            distance = abs(reciprocal(after["rank"]) - reciprocal(before["rank"]))
            places[place] = min(places.get(place, (4, 0.0)), (urgency, -distance))
    ordered = sorted(places, key=lambda place: places[place])
    return ordered, sum(urgency < 2 for urgency, _ in places.values())


def question_rows(comparison: Comparison) -> Iterator[Mapping[str, Any]]:
    """Every question with both models' ranks and results, as JSON can hold it."""
    pairs = {query_type: list(zip(*both, strict=True)) for query_type, both in comparison.evaluations.items()}
    for place, (first, _) in enumerate(pairs[comparison.primary]):
        results = {query_type: _results(*both[place], comparison.top_k) for query_type, both in pairs.items()}
        seen = any(row["seen"] for both in pairs.values() for row in both[place])
        known = {name: first[name] for name in ("query_id", "query", "expected")}
        yield {**known, "seen": seen, "results": results}


def _results(before: Mapping[str, Any], after: Mapping[str, Any], top_k: int) -> dict[str, Any]:
    both = {"base": before, "tuned": after}
    rows = {name: {"rank": row["rank"], "retrieved": row["retrieved"]} for name, row in both.items()}
    return {"outcome": outcome(before["rank"], after["rank"], top_k), **rows}
