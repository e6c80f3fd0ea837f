"""The rule of all tuners: a candidate takes the base model's place if it is better beyond chance."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from embedtune.statistics import clustered_standard_error

__all__ = ["STANDARD_ERRORS", "why_chance"]

STANDARD_ERRORS = 1.64
"""One-sided 95%. With one, a tuning on shuffled answers passes in a quarter to a third of all seeds; with two, one on
50 questions that gains three points does not."""


def why_chance(candidate: str, gains: npt.NDArray[np.float64], clusters: Sequence[int], metric: str) -> str | None:
    """Why a gain on validation queries may well be chance; None if it is more.

    Several candidates are looked at, and the best of several looks better than it is: a gain has to be above
    `STANDARD_ERRORS` standard errors.

    Args:
        candidate: What it is called in the reason.
        gains: Of each query over the base model.
        clusters: Of each query: those that hang together have one.
        metric: What the gains are of.

    >>> why_chance("step 5", np.array([0.2, 0.1]), [0, 1], "ndcg@10") is None
    True
    >>> why_chance("step 5", np.array([0.2, -0.1]), [0, 1], "ndcg@10")[:44]
    'the best candidate, step 5, gained +0.0500 n'
    """
    error = clustered_standard_error(gains, clusters)
    if gains.mean() > STANDARD_ERRORS * error:
        return None
    return (
        f"the best candidate, {candidate}, gained {gains.mean():+.4f} {metric} on the {len(clusters)} validation "
        f"queries, within {STANDARD_ERRORS} standard errors of {error:.4f}"
    )
