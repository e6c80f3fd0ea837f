"""Paired intervals and tests over clusters of queries.

Questions on one document stand or fall together, so whole clusters are drawn, not queries: the percentile
bootstrap of a mean (Efron and Tibshirani 1993, chapter 13) and the sign-flip permutation test, both by cluster.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["PairedDifference", "paired_difference"]

FEW_CLUSTERS = 30
"""Under so many clusters a bootstrap interval is too narrow to be relied on."""

_BLOCK_DRAWS = 500


@dataclass(frozen=True)
class PairedDifference:
    """The mean difference between two systems on the same queries."""

    difference: float
    """Mean of (tuned - base)."""
    low: float
    """Lower end of the 95% interval."""
    high: float
    """Upper end of the 95% interval."""
    p: float
    """Two-sided p value: how often chance alone gives a difference as large."""
    n_clusters: int
    """Clusters that were drawn; under 30 the interval is unreliable."""


def paired_difference(
    differences: npt.NDArray[np.float64], clusters: Sequence[int], *, draws: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Interval and p value of a mean difference.

    Args:
        differences: Tuned minus base per query, shape (n_queries,).
        clusters: The cluster of each query.
        draws: Bootstrap draws, and sign flips.
        seed: Same seed, same figures.

    Returns:
        Mean, 95% percentile interval, p value and number of clusters.

    Raises:
        ValueError: If there is no query, or the lengths differ.

    >>> paired_difference(np.array([0.0, 0.0]), [0, 1]).p
    1.0
    """
    if len(differences) != len(clusters) or not len(differences):
        raise ValueError(
            f"Got {len(differences)} differences and {len(clusters)} clusters; give one each, at least one."
        )
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.bincount(index, weights=differences).astype(np.float64)
    sizes = np.bincount(index).astype(np.float64)
    rng = np.random.default_rng(seed)
    n = len(sums)
    means = np.empty(draws)
    for start in range(0, draws, _BLOCK_DRAWS):
        drawn = rng.integers(0, n, size=(min(_BLOCK_DRAWS, draws - start), n))
        means[start : start + len(drawn)] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return PairedDifference(float(differences.mean()), float(low), float(high), _sign_flip_p(sums, draws, rng), n)


def _sign_flip_p(sums: npt.NDArray[np.float64], draws: int, rng: np.random.Generator) -> float:
    """Share of random sign flips of whole clusters that give a sum as far from 0, the observed one counted."""
    moving = sums[sums != 0]
    observed = abs(moving.sum())
    as_far = 0
    for start in range(0, draws, _BLOCK_DRAWS):
        signs = rng.integers(0, 2, size=(min(_BLOCK_DRAWS, draws - start), len(moving))) * 2 - 1
        as_far += int((np.abs(signs @ moving) >= observed - 1e-9).sum())
    return (1 + as_far) / (1 + draws)
