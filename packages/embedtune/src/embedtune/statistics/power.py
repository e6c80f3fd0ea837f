"""How many questions would show a difference, and how small a one so many show."""

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

__all__ = ["clustered_standard_error", "design_effect", "detectable_difference", "questions_needed"]


def design_effect(differences: npt.NDArray[np.float64], clusters: Sequence[int]) -> float | None:
    """How many times as many questions are needed as if no two shared a cluster.

    The variance of the mean difference by clusters, linearised as that of a ratio of sums, over its variance if the
    questions were independent (Kish 1965, sections 5.4 and 8.2). With equal clusters of n questions it is
    1 + (n - 1) times their correlation. A value below 1 is given as 1: chance, not a gain to plan with.

    Args:
        differences: Tuned minus base per query, shape (n_queries,).
        clusters: The cluster of each query.

    Returns:
        At least 1; None where all differences are equal, or there is but one cluster.

    >>> round(design_effect(np.array([1.0, 1.0, 0.0, 0.0, -1.0, -1.0]), [0, 0, 1, 1, 2, 2]), 3)
    2.5
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    n_clusters, n_queries = int(index.max()) + 1, len(differences)
    apart = differences - differences.mean()
    independent = float((apart**2).sum()) * n_queries / max(n_queries - 1, 1)
    if n_clusters < 2 or independent == 0:
        return None
    clustered = float((np.bincount(index, weights=apart) ** 2).sum()) * n_clusters / (n_clusters - 1)
    return max(1.0, clustered / independent)


def clustered_standard_error(differences: npt.NDArray[np.float64], clusters: Sequence[int]) -> float:
    """Standard error of a mean over queries that are drawn by cluster.

    Linearised as that of a ratio of sums (Kish 1965, section 6.3); with clusters of one query it is the usual one.

    Args:
        differences: Shape (n_queries,).
        clusters: The cluster of each query.

    Returns:
        Infinity where there is but one cluster.

    >>> clustered_standard_error(np.array([1.0, 1.0, 0.0, 0.0]), [0, 0, 1, 1])
    0.5
    """
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    n_clusters = int(index.max()) + 1
    if n_clusters < 2:
        return math.inf
    sums = np.bincount(index, weights=differences - differences.mean())
    return math.sqrt(float((sums**2).sum()) * n_clusters / (n_clusters - 1)) / len(differences)


def questions_needed(
    margin: float, discordant: float, design_effect: float = 1.0, *, power: float = 0.8, alpha: float = 0.05
) -> int | None:
    """Questions that show a true difference of ``margin`` in a share ``power`` of such tests.

    The size of a two-sided test of paired proportions (Connor 1987), times the design effect (Kish 1965). The
    normal distribution stands in for the exact tests: under 100 questions it is a little low.

    Args:
        margin: The difference to be shown, as a fraction in [0, 1).
        discordant: Share of the questions that one of two models alone answers, in [0, 1].
        design_effect: As `design_effect` gives it.
        power: Chance of showing it.
        alpha: Level of the test.

    Returns:
        A number of questions, rounded up; None where the margin is 0 or nothing is discordant.

    >>> questions_needed(0.15, 0.25)
    85
    """
    if margin <= 0 or discordant <= 0:
        return None
    discordant = max(discordant, margin)  # a difference is a part of what is discordant
    z_level, z_power = NormalDist().inv_cdf(1 - alpha / 2), NormalDist().inv_cdf(power)
    # Under no difference the variance of one question is the discordant share, under the margin a little less.
    apart = z_level * math.sqrt(discordant) + z_power * math.sqrt(discordant - margin**2)
    return math.ceil((apart / margin) ** 2 * design_effect)


def detectable_difference(
    n_queries: int, discordant: float, design_effect: float = 1.0, *, power: float = 0.8, alpha: float = 0.05
) -> float | None:
    """The smallest true difference that so many questions show in a share ``power`` of such tests.

    `questions_needed` the other way round, with the variance under no difference on both sides: a little high.

    Args:
        n_queries: Questions that are asked, at least 1.
        discordant: Share of the questions that one of two models alone answers, in [0, 1].
        design_effect: As `design_effect` gives it.
        power: Chance of showing it.
        alpha: Level of the test.

    Returns:
        A fraction; None where nothing is discordant, or not even a difference of 1 would be shown.

    >>> round(detectable_difference(220, 0.10), 3)
    0.06
    """
    z_both = NormalDist().inv_cdf(1 - alpha / 2) + NormalDist().inv_cdf(power)
    found = z_both * math.sqrt(discordant * design_effect / n_queries)
    return found if 0 < found <= 1 else None
