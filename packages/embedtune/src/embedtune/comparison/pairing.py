"""The rows of a comparison: each metric of each query type, base against tuned, question by question."""

from collections.abc import Collection, Sequence
from dataclasses import replace

import numpy as np

from embedtune.comparison.rows import ComparisonRow
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation
from embedtune.grouping import connected_groups
from embedtune.statistics import holm, paired_differences

__all__ = ["clusters_of", "paired_rows", "part_of", "with_holm"]

_ROUNDING = 1e-12
"""A smaller difference is none: the same ranks may be summed in another order."""


def clusters_of(dataset: QADataset, *, by_document: bool = True) -> list[int]:
    """The cluster of each query: its document, or the queries and relevant chunks that hang together.

    Args:
        dataset: Queries and chunks.
        by_document: Whether chunks of one document hang together.
    """
    groups = connected_groups(dataset, by_document=by_document)
    cluster_of = {query: number for number, group in enumerate(groups) for query in group.queries}
    return [cluster_of[query] for query in dataset.queries]


def part_of(evaluation: Evaluation, places: Sequence[int], metric: str) -> Evaluation:
    """One metric of some of the questions.

    Args:
        evaluation: Of all of them.
        places: Which, in their order.
        metric: Such as ``hit_rate@5``.
    """
    rows = tuple(evaluation.rows[place] for place in places)
    values = {metric: evaluation.per_query[metric][np.array(places, dtype=np.intp)]}
    return Evaluation(rows, values, evaluation.top_k, depth=evaluation.depth)


def paired_rows(
    query_type: str,
    base: Evaluation,
    tuned: Evaluation,
    clusters: Sequence[int],
    seed: int,
    *,
    is_same: bool = False,
) -> list[ComparisonRow]:
    """One row for each metric that both evaluations have.

    Args:
        query_type: Which search it was.
        base: The base model's evaluation.
        tuned: The tuned model's, of the same queries in the same order.
        clusters: The cluster of each query.
        seed: Seeds bootstrap and sign flips.
        is_same: Whether both are one search, so that there is no difference to be found on any question.
    """
    names = [name for name in base.per_query if name in tuned.per_query]
    differences = np.array([tuned.per_query[name] - base.per_query[name] for name in names])
    differences[np.abs(differences) < _ROUNDING] = 0.0
    rows = []
    for name, values, paired in zip(
        names, differences, paired_differences(differences, clusters, seed=seed), strict=True
    ):
        metric, _, k = name.partition("@")
        wins, losses = int((values > 0).sum()), int((values < 0).sum())
        row = ComparisonRow(
            query_type=query_type,
            metric=metric,
            k=int(k),
            base=base.metrics[name],
            tuned=tuned.metrics[name],
            difference=paired.difference,
            low=0.0 if is_same else paired.low,
            high=0.0 if is_same else paired.high,
            p=paired.p,
            wins=wins,
            losses=losses,
            ties=len(values) - wins - losses,
        )
        rows.append(row)
    return rows


def with_holm(rows: Sequence[ComparisonRow], top_k: int, model_free: Collection[str]) -> tuple[ComparisonRow, ...]:
    """The rows, those of the primary metric with p adjusted over the query types that the model can change.

    Args:
        rows: Of all query types.
        top_k: Cut-off of the primary metric, the hit rate.
        model_free: Query types that the model cannot change: they have no difference to be found by chance.
    """
    tested = [
        place
        for place, row in enumerate(rows)
        if (row.metric, row.k) == ("hit_rate", top_k) and row.query_type not in model_free
    ]
    adjusted = dict(zip(tested, holm([rows[place].p for place in tested]), strict=True))
    return tuple(replace(row, p_holm=adjusted.get(place)) for place, row in enumerate(rows))
