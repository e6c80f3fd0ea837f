"""`gate`: whether a model is still as good as the one whose figures are stored, for continuous integration."""

from dataclasses import dataclass
from typing import Literal

from embedtune.comparison import Comparison, summarise
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
    evaluation: Evaluation, baseline: Evaluation, dataset: QADataset, *, margin: float = 0.01, seed: int = 0
) -> GateResult:
    """Hold an evaluation against a stored one of the same questions.

    It is a test of non-inferiority: *pass* if the whole 95% interval of the difference in ``hit_rate@top_k`` lies above
    ``-margin``, *worse* if all of it lies below, else *cannot tell*. A model that has seen some of the questions never
    passes.

    Args:
        evaluation: Of the model that wants to pass.
        baseline: Of the model before, on the same questions.
        dataset: The questions.
        margin: A loss that does not matter, as a fraction.
        seed: Seeds the interval.

    Raises:
        EvaluationError: If the two have another cut-off, or ``margin`` is below 0.

    >>> from embedtune import evaluate
    >>> from embedtune.testing import HashEmbedder, tiny_dataset
    >>> found = evaluate(HashEmbedder(), tiny_dataset())
    >>> gate(found, found, tiny_dataset()).outcome
    'pass'
    """
    if not margin >= 0:
        raise EvaluationError(f"margin must be a fraction of at least 0; got {margin!r}.")
    if evaluation.top_k != baseline.top_k:
        raise EvaluationError(f"The baseline was taken at top_k={baseline.top_k}; use that, not {evaluation.top_k}.")
    comparison = summarise({"vector": (baseline, evaluation)}, dataset, evaluation.top_k, margin=margin, seed=seed)
    row = comparison.row("vector", "hit_rate", evaluation.top_k)
    figures = (
        f"hit_rate@{row.k} {row.base:.3f} -> {row.tuned:.3f} ({row.difference:+.3f}, 95% interval {row.low:+.3f} to "
        f"{row.high:+.3f}), margin {margin:g}, {comparison.n_queries} questions"
    )
    if row.high < -margin:
        return GateResult(outcome="worse", reason=figures, comparison=comparison)
    if evaluation.n_seen:
        seen = f"{evaluation.n_seen} of the questions were seen in training or selection; {figures}"
        return GateResult(outcome="cannot tell", reason=seen, comparison=comparison)
    outcome: GateOutcome = "pass" if row.low >= -margin else "cannot tell"
    return GateResult(outcome=outcome, reason=figures, comparison=comparison)
