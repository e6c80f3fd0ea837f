"""The verdict of a comparison, and the sentence that gives its figures."""

from dataclasses import dataclass

from embedtune.comparison.rows import ComparisonRow, Verdict
from embedtune.errors import EvaluationError
from embedtune.statistics import FEW_CLUSTERS, unseen_share

__all__ = ["Evidence", "check_margin", "check_seed", "decide", "with_unseen"]

_SIGNIFICANT = 0.05


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a verdict is made of."""

    row: ComparisonRow
    """The primary metric of the primary query type."""
    margin: float
    """A difference that does not matter, as a fraction."""
    n_queries: int
    """Questions that count."""
    n_clusters: int
    """Documents or groups among them."""
    n_seen: int
    """Those of them that one of the models has seen in training or selection: all, or none."""
    n_left_out: int
    """Questions that do not count, since a model has seen them."""
    n_tests: int
    """Query types that the model can change, over which p was adjusted."""
    n_needed: int | None
    """Questions that would show the margin with 80% power; None if it cannot be known."""
    detectable: float | None
    """The smallest difference that these questions show with 80% power; None if it cannot be known."""


def check_margin(margin: float) -> None:
    """Refuse a margin that is no fraction, such as 1 for one point.

    Raises:
        EvaluationError: If it is not in [0, 1).
    """
    if not 0 <= margin < 1:
        raise EvaluationError(f"margin must lie in [0, 1); got {margin!r}. One point of the hit rate is 0.01.")


def check_seed(seed: int) -> None:
    """Refuse a seed that no generator of random numbers takes.

    Raises:
        EvaluationError: If it is no whole number of at least 0.
    """
    if not isinstance(seed, int) or seed < 0:
        raise EvaluationError(f"seed must be a whole number of at least 0; got {seed!r}.")


def with_unseen(row: ComparisonRow, n_clusters: int) -> tuple[float, float]:
    """The interval, with room for losses where no question was lost, and for wins where none was won.

    A bootstrap cannot draw what it has not seen: of 50 questions with one won and none lost, no draw is a loss. To
    say that a model is not worse, or not better, the losses that may exist must be counted.
    """
    if not (row.wins or row.losses):  # the interval is that bound already
        return row.low, row.high
    unseen = unseen_share(n_clusters)
    return row.low - (0 if row.losses else unseen), row.high + (0 if row.wins else unseen)


def decide(evidence: Evidence) -> tuple[Verdict, str]:
    """Verdict and reason.

    The interval decides: above 0 *ship*, below 0 *worse*, inside the margin *no difference*, else *cannot tell*.
    *Ship* also needs p < 0.05, adjusted by Holm if the model was compared over several query types, and no question
    that a model has seen: seen questions flatter a model, so a loss on them is a loss, and nothing else is known. A
    warning rests on less than a promise: *worse* needs the interval alone.
    """
    row, figures = evidence.row, _figures(evidence)
    if row.high < 0:
        return "do not ship: worse", figures
    if evidence.n_seen:
        seen = f"all {evidence.n_queries} questions were seen in training or selection"
        return "cannot tell", f"{seen}; {figures}"
    if row.low > 0 and (row.p if row.p_holm is None else row.p_holm) < _SIGNIFICANT:
        return "ship", figures
    low, high = with_unseen(row, evidence.n_clusters)
    if -evidence.margin <= low and high <= evidence.margin:
        return "no difference within the margin", figures
    return "cannot tell", figures + _power(evidence)


def _power(evidence: Evidence) -> str:
    told = []
    if evidence.detectable is not None:
        told.append(f"these questions show a difference of {evidence.detectable:.3f}")
    if evidence.n_needed is not None:
        told.append(f"about {evidence.n_needed:,} such questions would show one of {evidence.margin:g}")
    return f"; with 80% power {', '.join(told)}" if told else ""


def _figures(evidence: Evidence) -> str:
    row = evidence.row
    adjusted = ""
    if row.p_holm is not None and evidence.n_tests > 1:
        adjusted = f", {_number(row.p_holm)} by Holm over {evidence.n_tests} query types"
    figures = (
        f"{row.query_type} hit_rate@{row.k} {row.base:.3f} -> {row.tuned:.3f} "
        f"({row.difference:+.3f}, 95% interval {row.low:+.3f} to {row.high:+.3f}, p={_number(row.p)}{adjusted}, "
        f"{evidence.n_queries} questions)"
    )
    if evidence.n_left_out:
        figures += f"; {evidence.n_left_out} more were seen in training or selection, and do not count"
    if evidence.n_clusters < FEW_CLUSTERS:
        figures += f"; only {evidence.n_clusters} documents or groups, so the interval is unreliable"
    return figures


def _number(p: float) -> str:
    """A p value is never 0, however few bits a float has left for it."""
    return f"{p:.2g}" if p > 1e-99 else "1e-99 or less"
