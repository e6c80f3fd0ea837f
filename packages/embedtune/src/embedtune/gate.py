"""`gate`: whether a model is still as good as the one whose figures are stored, for continuous integration."""

from dataclasses import dataclass
from typing import Literal

from embedtune.comparison import Comparison, summarise
from embedtune.comparison.verdicts import with_unseen
from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.evaluation import Evaluation

__all__ = ["GateOutcome", "GateResult", "gate"]

GateOutcome = Literal["pass", "worse", "cannot tell"]


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """What a gate says."""

    outcome: GateOutcome
    """``pass``: not worse by more than the margin; ``worse``: worse by more than it; else ``cannot tell``."""
    reason: str
    """The figures in a sentence."""
    comparison: Comparison
    """The stored evaluation as base, the new one as tuned."""


def gate(
    evaluation: Evaluation,
    baseline: Evaluation,
    dataset: QADataset,
    *,
    margin: float = 0.01,
    seed: int = 0,
    is_one_model: bool = False,
) -> GateResult:
    """Hold an evaluation against a stored one of the same questions.

    It is a test of non-inferiority: *pass* if the whole 95% interval of the difference in ``hit_rate@top_k`` lies above
    ``-margin``, *worse* if all of it lies below, else *cannot tell*. Where no question was lost, as many losses are
    allowed for as so many documents may hide: with a margin of one point that takes 368 of them. Questions
    that a model has seen do not count, and where it has seen all it never passes.

    Args:
        evaluation: Of the model that wants to pass.
        baseline: Of the model before, on the same questions.
        dataset: The questions.
        margin: A loss that does not matter, as a fraction.
        seed: Seeds the interval.
        is_one_model: Whether both are one model, by their fingerprint: it is as good as itself.

    Raises:
        EvaluationError: If the two have another cut-off, or ``margin`` or ``seed`` is out of range.

    >>> from embedtune import evaluate
    >>> from embedtune.testing import HashEmbedder, tiny_dataset
    >>> found = evaluate(HashEmbedder(), tiny_dataset())
    >>> gate(found, found, tiny_dataset()).outcome
    'cannot tell'
    >>> gate(found, found, tiny_dataset(), is_one_model=True).outcome
    'pass'
    """
    if evaluation.top_k != baseline.top_k:
        raise EvaluationError(f"The baseline was taken at top_k={baseline.top_k}; use that, not {evaluation.top_k}.")
    both = {"vector": (baseline, evaluation)}
    comparison = summarise(both, dataset, evaluation.top_k, margin=margin, seed=seed, is_one_model=is_one_model)
    row, n_counted = comparison.deciding, comparison.n_queries - comparison.n_seen
    figures = (
        f"hit_rate@{row.k} {row.base:.3f} -> {row.tuned:.3f} ({row.difference:+.3f}, 95% interval {row.low:+.3f} to "
        f"{row.high:+.3f}), margin {margin:g}, {n_counted or comparison.n_queries} questions"
    )
    if comparison.n_seen:
        figures = f"{comparison.n_seen} of the questions were seen in training or selection; {figures}"
    # Each seen question takes at most one cluster with it.
    low, high = with_unseen(row, max(comparison.n_clusters - comparison.n_seen, 1))
    outcome: GateOutcome = "cannot tell"
    if high < -margin:
        outcome = "worse"
    elif low >= -margin and n_counted:
        outcome = "pass"
    elif comparison.n_needed is not None:
        figures += f"; about {comparison.n_needed:,} such questions would show such a difference with 80% power"
    return GateResult(outcome=outcome, reason=figures, comparison=comparison)
