"""`compare`: base and tuned model on the same questions, with paired intervals and a verdict."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from embedtune.comparison.rows import Comparison, ComparisonRow, Verdict
from embedtune.comparison.searching import evaluate_both, prepare
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation, check_cut_offs
from embedtune.grouping import connected_groups
from embedtune.statistics import FEW_CLUSTERS, paired_difference

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["compare", "summarise"]

_SIGNIFICANT = 0.05


def compare(
    base: object,
    tuned: object,
    dataset: QADataset,
    query_types: Sequence[str] = ("vector",),
    top_k: int = 5,
    *,
    margin: float = 0.01,
    engine: str | None = None,
    seed: int = 0,
    plugins: "PluginManager | None" = None,
) -> Comparison:
    """Ask both models the same questions, over each way of searching.

    The verdict is *ship* if the 95% interval of the difference in hit rate lies above 0 and the sign-flip test
    agrees (p < 0.05: of a handful of documents the interval alone says too much), *do not ship: worse* if the
    interval lies below 0, *no difference within the margin* if inside the margin, else *cannot tell*. On questions
    that a model has seen in training it is never *ship*.

    Args:
        base: Model before, as for `evaluate`.
        tuned: Model after.
        dataset: Questions that neither model has seen.
        query_types: ``vector`` is searched exactly in core; ``fts`` and ``hybrid`` need an engine.
        top_k: Cut-off of the primary metric.
        margin: A difference that does not matter, as a fraction.
        engine: A search engine's name, such as ``lancedb``; if None, the installed one that has the types.
        seed: Seeds bootstrap and sign flips.
        plugins: Where models and engines are looked up.

    Raises:
        EvaluationError: If a query type is unknown or given twice, or ``top_k`` is below 1.
        BackendNotFoundError: If an engine is needed and none is installed.
    """
    check_cut_offs(top_k)
    sides = prepare(base, tuned, dataset, query_types, engine, plugins)
    evaluations = evaluate_both(sides, dataset, top_k)
    return summarise(evaluations, dataset, top_k, margin=margin, seed=seed, model_free=sides.model_free)


def summarise(
    evaluations: Mapping[str, tuple[Evaluation, Evaluation]],
    dataset: QADataset,
    top_k: int,
    *,
    margin: float = 0.01,
    seed: int = 0,
    model_free: frozenset[str] = frozenset(),
) -> Comparison:
    """The comparison of evaluations that are there already, base first, by query type."""
    cluster_of = {query: i for i, group in enumerate(connected_groups(dataset)) for query in group.queries}
    clusters = [cluster_of[query] for query in dataset.queries]
    rows = []
    for query_type, (base, tuned) in evaluations.items():
        for name in base.per_query:
            paired = paired_difference(tuned.per_query[name] - base.per_query[name], clusters, seed=seed)
            metric, _, k = name.partition("@")
            means = {"base": base.metrics[name], "tuned": tuned.metrics[name]}
            numbers = {key: getattr(paired, key) for key in ("difference", "low", "high", "p")}
            rows.append(ComparisonRow(query_type=query_type, metric=metric, k=int(k), **means, **numbers))
    n_seen = max(max(base.n_seen, tuned.n_seen) for base, tuned in evaluations.values())
    primary = next((name for name in evaluations if name not in model_free), next(iter(evaluations)))
    row = next(row for row in rows if (row.query_type, row.metric, row.k) == (primary, "hit_rate", top_k))
    verdict, reason = _verdict(row, margin, n_seen, len(dataset), len(set(clusters)))
    return Comparison(
        verdict=verdict,
        reason=reason,
        rows=tuple(rows),
        n_queries=len(dataset),
        n_clusters=len(set(clusters)),
        n_seen=n_seen,
        evaluations=dict(evaluations),
        primary=primary,
        top_k=top_k,
        margin=margin,
    )


def _verdict(row: ComparisonRow, margin: float, n_seen: int, n_queries: int, n_clusters: int) -> tuple[Verdict, str]:
    figures = (
        f"{row.query_type} hit_rate@{row.k} {row.base:.3f} -> {row.tuned:.3f} "
        f"({row.difference:+.3f}, 95% interval {row.low:+.3f} to {row.high:+.3f}, p={row.p:.2g}, {n_queries} questions)"
    )
    if n_clusters < FEW_CLUSTERS:
        figures += f"; only {n_clusters} documents or groups, so the interval is unreliable"
    if row.high < 0:
        return "do not ship: worse", figures
    if n_seen:
        return "cannot tell", f"{n_seen} of {n_queries} questions were seen in training or selection; {figures}"
    if row.low > 0 and row.p < _SIGNIFICANT:
        return "ship", figures
    if -margin <= row.low and row.high <= margin:
        return "no difference within the margin", figures
    return "cannot tell", figures
