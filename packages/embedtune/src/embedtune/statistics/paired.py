"""The mean difference between two systems on the same queries: interval and p value over clusters of queries.

Questions on one document stand or fall together, so whole clusters are drawn, not queries: the percentile
bootstrap of a mean (Efron and Tibshirani 1993, chapter 13) and the sign-flip permutation test, both by cluster.
The percentiles lie a little further out than 2.5 and 97.5, the more so the fewer the clusters: the plain interval
is too narrow by the factors that Student's t and n / (n - 1) correct elsewhere (Hesterberg 2015, "expanded").
Where all clusters have one mean there is nothing to draw, and an exact bound says how many others may exist.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from embedtune.statistics.exact import exact_sign_flip_p, mcnemar_p, unseen_share

__all__ = ["FEW_CLUSTERS", "PairedDifference", "paired_difference", "paired_differences"]

FEW_CLUSTERS = 30
"""Under so many clusters a bootstrap interval is too narrow to be relied on."""

_BLOCK_NUMBERS = 2_000_000
"""Numbers drawn at once: 16 MiB."""

_Floats = npt.NDArray[np.float64]


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
    differences: _Floats, clusters: Sequence[int], *, draws: int = 10_000, seed: int = 0
) -> PairedDifference:
    """Interval and p value of a mean difference.

    The p value is exact where it can be: McNemar's test if each cluster is one query and each difference -1, 0 or 1;
    all sign flips of clusters if their sums are whole numbers, or at most 13; else sign flips are drawn.

    Args:
        differences: Tuned minus base per query, shape (n_queries,), in [-1, 1].
        clusters: The cluster of each query.
        draws: Bootstrap draws, and sign flips.
        seed: Same seed, same figures.

    Returns:
        Mean, 95% interval, p value and number of clusters.

    Raises:
        ValueError: If there is no query, or the lengths differ.

    >>> paired_difference(np.array([0.0, 0.0]), [0, 1]).p
    1.0
    """
    return paired_differences(differences[None, :], clusters, draws=draws, seed=seed)[0]


def paired_differences(
    differences: _Floats, clusters: Sequence[int], *, draws: int = 10_000, seed: int = 0
) -> list[PairedDifference]:
    """As `paired_difference`, of several metrics on the same queries: the same clusters are drawn for all.

    Args:
        differences: Tuned minus base, shape (n_metrics, n_queries), in [-1, 1].
        clusters: The cluster of each query.
        draws: Bootstrap draws, and sign flips.
        seed: Same seed, same figures.

    Returns:
        One for each metric, in their order.

    Raises:
        ValueError: If there is no query, or the lengths differ.
    """
    n_queries = differences.shape[1]
    if n_queries != len(clusters) or not n_queries:
        raise ValueError(f"Got {n_queries} differences and {len(clusters)} clusters; give one each, at least one.")
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    sizes = np.bincount(index).astype(np.float64)
    sums = np.array([np.bincount(index, weights=row) for row in differences]).reshape(-1, len(sizes))
    rng = np.random.default_rng(seed)
    lows, highs = _intervals(sums, sizes, draws, rng)
    figures = zip(differences.mean(axis=1), lows, highs, _p_values(sums, n_queries, draws, rng), strict=True)
    return [PairedDifference(float(d), float(low), float(high), float(p), len(sizes)) for d, low, high, p in figures]


def _intervals(sums: _Floats, sizes: _Floats, draws: int, rng: np.random.Generator) -> _Floats:
    """Lower and upper ends, shape (2, n_metrics)."""
    n_clusters = len(sizes)
    means = []
    for n_rows in _blocks(draws, n_clusters):
        places = rng.integers(0, n_clusters, size=(n_rows, n_clusters)) + np.arange(n_rows)[:, None] * n_clusters
        times = np.bincount(places.ravel(), minlength=n_rows * n_clusters).reshape(n_rows, n_clusters)
        times = times.astype(np.float64)
        means.append((times @ sums.T) / (times @ sizes)[:, None])
    tail = _expanded_tail(n_clusters)
    ends = np.quantile(np.concatenate(means), [tail, 1 - tail], axis=0)
    each = sums / sizes
    is_one, mean = np.ptp(each, axis=1) == 0, each[:, 0]
    bounds = np.array([mean - (1 + mean) * unseen_share(n_clusters), mean + (1 - mean) * unseen_share(n_clusters)])
    return np.where(is_one, bounds, ends)


def _expanded_tail(n_clusters: int) -> float:
    """The share of draws below a 95% interval: 0.025 for many clusters, less for few.

    Of Student's t the expansion of Cornish and Fisher (Abramowitz and Stegun 1964, 26.7.5): within 1% from 4 degrees
    of freedom on, and under that the interval ends at the outermost draws anyway.
    """
    normal, freedom = NormalDist(), n_clusters - 1
    if not freedom:
        return 0.0
    z = normal.inv_cdf(0.975)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    t = z + sum(term / freedom**power for power, term in enumerate(terms, 1))
    return normal.cdf(-t * math.sqrt(n_clusters / freedom))


def _p_values(sums: _Floats, n_queries: int, draws: int, rng: np.random.Generator) -> _Floats:
    """Two-sided p value of each metric, shape (n_metrics,)."""
    is_single = sums.shape[1] == n_queries
    p_values = np.empty(len(sums))
    to_draw = []
    for i, row in enumerate(sums):
        if is_single and np.isin(row, (-1.0, 0.0, 1.0)).all():
            p_values[i] = mcnemar_p(int((row > 0).sum()), int((row < 0).sum()))
        elif (exact := exact_sign_flip_p(row)) is not None:
            p_values[i] = exact
        else:
            to_draw.append(i)
    if to_draw:
        p_values[to_draw] = _drawn_p_values(sums[to_draw], draws, rng)
    return p_values


def _drawn_p_values(sums: _Floats, draws: int, rng: np.random.Generator) -> _Floats:
    """Share of random sign flips of whole clusters that give a sum as far from 0, the observed one counted."""
    observed = np.abs(sums.sum(axis=1))
    as_far = np.ones(len(sums))
    for n_rows in _blocks(draws, sums.shape[1]):
        signs = rng.integers(0, 2, size=(n_rows, sums.shape[1])) * 2.0 - 1.0
        as_far += (np.abs(signs @ sums.T) >= observed - 1e-9).sum(axis=0)
    return np.asarray(as_far / (1 + draws))


def _blocks(draws: int, n_clusters: int) -> Iterator[int]:
    """Rows drawn at once, ``draws`` in all."""
    rows = max(1, _BLOCK_NUMBERS // n_clusters)
    for start in range(0, draws, rows):
        yield min(rows, draws - start)
