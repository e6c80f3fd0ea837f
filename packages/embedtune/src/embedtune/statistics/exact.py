"""p values and bounds that need no random draws."""

import numpy as np
import numpy.typing as npt

__all__ = ["exact_sign_flip_p", "mcnemar_p", "unseen_share"]

_MOST_STEPS = 50_000_000
"""Additions in the exact distribution of whole numbers: about 0.1 s."""
_MOST_FLIPPED = 13
"""So many clusters have 8,192 sign flips, which are counted faster than 10,000 are drawn."""


def mcnemar_p(wins: int, losses: int) -> float:
    """Two-sided exact binomial test that a discordant pair falls on either side with equal chance.

    McNemar's test in its exact form (McNemar 1947; Fagerland, Lydersen and Laake 2013). Pairs must be
    independent: one question in each cluster.

    Args:
        wins: Questions that the tuned model alone answers.
        losses: Questions that the base model alone answers.

    Raises:
        ValueError: If one is negative.

    >>> mcnemar_p(6, 0)
    0.03125
    >>> mcnemar_p(0, 0)
    1.0
    """
    if min(wins, losses) < 0:
        raise ValueError(f"wins and losses must be at least 0; got {wins} and {losses}.")
    n_pairs = wins + losses
    ways = as_far = 1  # ways to draw 0 of the pairs; whole numbers, since 0.5 ** n_pairs can be too small for a float
    for drawn in range(min(wins, losses)):
        ways = ways * (n_pairs - drawn) // (drawn + 1)
        as_far += ways
    # Of two equal sides the middle would be counted twice.
    return min(1.0, 2 * as_far / (1 << n_pairs))


def exact_sign_flip_p(sums: npt.NDArray[np.float64]) -> float | None:
    """Share of all sign flips whose sum is as far from 0 as the observed one; None if they are too many to count.

    Whole numbers, as the wins less the losses of a cluster, have a sum that takes few values: its distribution is
    built up cluster by cluster (Pagano and Tritchler 1983). Of a few other numbers every flip is counted.

    Args:
        sums: Sum of the differences of each cluster, shape (n_clusters,).

    >>> exact_sign_flip_p(np.array([1.0, 2.0, 3.0]))
    0.25
    """
    moving = np.abs(sums[sums != 0])
    observed = abs(float(sums.sum()))
    whole = np.rint(moving).astype(np.int64)
    if np.array_equal(whole, moving) and len(whole) * whole.sum() <= _MOST_STEPS:
        distances, chances = _distribution(whole)
    elif len(moving) <= _MOST_FLIPPED:
        flips = (np.arange(2 ** len(moving))[:, None] >> np.arange(len(moving))) & 1
        distances = np.abs(moving.sum() - 2 * (flips @ moving))
        chances = np.full(len(flips), 1 / len(flips))
    else:
        return None
    return min(1.0, float(chances[distances >= observed - 1e-9].sum()))


def _distribution(moves: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Distances from 0 of the flipped sum, and their chances; a distance may stand there twice, once for each sign."""
    total = int(moves.sum())
    chances = np.zeros(total + 1)  # by the sum of those moves that keep their sign
    chances[0] = 1.0
    for move in moves:
        kept = 0.5 * chances
        chances = kept.copy()
        chances[move:] += kept[: total + 1 - move]
    return np.abs(2.0 * np.arange(total + 1) - total), chances


def unseen_share(n_clusters: int) -> float:
    """The largest share of clusters that may be of a kind of which none of so many was seen.

    The upper end of the exact 95% interval of a share at 0 (Clopper and Pearson 1934); about 3.7 / n.

    Args:
        n_clusters: At least 1.

    >>> round(unseen_share(100), 3)
    0.036
    """
    return float(1 - 0.025 ** (1 / n_clusters))
