"""`summarise`: from evaluations to rows, slices, verdict and findings."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from embedtune.comparison.pairing import clusters_of, paired_rows, part_of, with_holm
from embedtune.comparison.rows import Comparison, ComparisonRow, Finding
from embedtune.comparison.slices import slice_rows
from embedtune.comparison.verdicts import Evidence, check_margin, check_seed, decide
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation
from embedtune.statistics import FEW_CLUSTERS, design_effect, detectable_difference, questions_needed
from embedtune.texts import printable

__all__ = ["summarise"]

Doctor = Callable[[tuple[Evaluation, Evaluation]], tuple[Finding, ...]]
"""Looks for what explains base's and tuned's evaluation of the primary query type."""


def summarise(
    evaluations: Mapping[str, tuple[Evaluation, Evaluation]],
    dataset: QADataset,
    top_k: int,
    *,
    margin: float = 0.01,
    seed: int = 0,
    model_free: frozenset[str] = frozenset(),
    is_one_model: bool = False,
    settings: Mapping[str, Any] | None = None,
    notes: Sequence[str] = (),
    doctor: Doctor | None = None,
) -> Comparison:
    """The comparison of evaluations that are there already.

    Args:
        evaluations: Base's and tuned's by query type, of the same questions; at least one.
        dataset: The questions that were asked.
        top_k: Cut-off of the primary metric, one of those evaluated.
        margin: A difference that does not matter, as a fraction in [0, 1).
        seed: Seeds bootstrap and sign flips.
        model_free: Query types whose ranking the model cannot change.
        is_one_model: Whether both sides are the same model, which is then known to be as good as itself.
        settings: How the evaluations were made; JSON must be able to hold it.
        notes: What a reader must know besides.
        doctor: Asked for findings if the verdict is not *ship*; `diagnose` with its first arguments given.

    Raises:
        EvaluationError: If ``margin`` or ``seed`` is out of range.
    """
    check_margin(margin)
    check_seed(seed)
    clusters, metric = clusters_of(dataset), f"hit_rate@{top_k}"
    changeable = {name: pair for name, pair in evaluations.items() if name not in model_free}
    primary = next(iter(changeable or evaluations))
    rows_of = partial(_rows, top_k=top_k, seed=seed, model_free=model_free, is_one_model=is_one_model)
    rows = rows_of(evaluations, clusters)
    # What was seen flatters a model, so the verdict is of the others; of all only where there are no others.
    seen = [before["seen"] or after["seen"] for before, after in zip(*evaluations[primary], strict=True)]
    counted = [place for place in range(len(seen)) if not seen[place]] or list(range(len(seen)))
    parts = {
        name: (part_of(base, counted, metric), part_of(tuned, counted, metric))
        for name, (base, tuned) in evaluations.items()
    }
    counted_clusters = [clusters[place] for place in counted]
    deciding = next(row for row in rows_of(parts, counted_clusters) if row.query_type == primary)
    evidence = _evidence(deciding, parts[primary], margin, counted_clusters, len(changeable), sum(seen))
    verdict, reason = decide(evidence)
    asks = verdict != "ship" and primary in changeable and not is_one_model
    is_open = verdict == "cannot tell" and not evidence.n_seen
    return Comparison(
        verdict=verdict,
        reason=reason,
        rows=rows,
        deciding=deciding,
        n_queries=len(clusters),
        n_clusters=len(set(clusters)),
        n_seen=sum(seen),
        evaluations=dict(evaluations),
        primary=primary,
        top_k=top_k,
        margin=margin,
        n_needed=evidence.n_needed if is_open else None,
        detectable=evidence.detectable if is_open else None,
        notes=(*notes, *_notes(dataset, evaluations, evidence.n_clusters)),
        slices=slice_rows(changeable, dataset, top_k, seed),
        findings=doctor(evaluations[primary]) if doctor is not None and asks else (),
        settings=settings or {},
    )


def _rows(
    evaluations: Mapping[str, tuple[Evaluation, Evaluation]],
    clusters: Sequence[int],
    *,
    top_k: int,
    seed: int,
    model_free: frozenset[str],
    is_one_model: bool,
) -> tuple[ComparisonRow, ...]:
    paired = [
        row
        for name, pair in evaluations.items()
        for row in paired_rows(name, *pair, clusters, seed, is_same=is_one_model or name in model_free)
    ]
    return with_holm(paired, top_k, model_free)


def _evidence(
    row: ComparisonRow,
    pair: tuple[Evaluation, Evaluation],
    margin: float,
    clusters: Sequence[int],
    n_tests: int,
    n_seen: int,
) -> Evidence:
    base, tuned = (side.per_query[f"{row.metric}@{row.k}"] for side in pair)
    effect = design_effect(tuned - base, clusters)
    discordant = (row.wins + row.losses) / len(clusters)
    is_seen = any(side.n_seen for side in pair)
    return Evidence(
        row=row,
        margin=margin,
        n_queries=len(clusters),
        n_clusters=len(set(clusters)),
        n_seen=n_seen if is_seen else 0,
        n_left_out=0 if is_seen else n_seen,
        n_tests=n_tests,
        n_needed=None if effect is None else questions_needed(margin, discordant, effect),
        detectable=None if effect is None else detectable_difference(len(clusters), discordant, effect),
    )


def _notes(
    dataset: QADataset, evaluations: Mapping[str, tuple[Evaluation, Evaluation]], n_clusters: int
) -> Iterator[str]:
    llm = getattr(dataset.report, "llm", None)
    if llm is not None:
        yield f"These questions were written by an LLM, {printable(llm)}: people may ask others."
    if n_clusters < FEW_CLUSTERS:
        yield (
            f"There are {n_clusters} documents, or groups of questions and chunks that hang together; with fewer than "
            f"{FEW_CLUSTERS} the intervals are unreliable."
        )
    for query_type, pair in evaluations.items():
        for name, side in zip(("base", "tuned"), pair, strict=True):
            if side.failed_queries:
                yield (
                    f"{query_type}: {len(side.failed_queries)} of {len(side)} searches with the {name} model failed; "
                    "they count as not found."
                )
