"""Intervals and p values, checked against scipy, by simulation, and for what clusters do to them."""

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from embedtune.statistics import PairedDifference, paired_difference

Floats = npt.NDArray[np.float64]


def cluster_sums(differences: Floats, clusters: list[int]) -> Floats:
    return np.bincount(np.unique(clusters, return_inverse=True)[1], weights=differences)


def scipy_p(differences: Floats, clusters: list[int]) -> float:
    """Sign flips of cluster sums, every one of them where there are few (exact), else at random."""
    sums = cluster_sums(differences, clusters)
    found = stats.permutation_test(
        (sums,), np.sum, permutation_type="samples", vectorized=False, n_resamples=20_000, rng=np.random.default_rng(1)
    )
    return float(found.pvalue)


@pytest.mark.parametrize("seed", range(4))
def test_p_is_the_exact_sign_flip_p_of_few_clusters(seed: int) -> None:
    """Of 11 clusters there are 2,048 sign flips: scipy counts them all."""
    rng = np.random.default_rng(seed)
    clusters = list(rng.integers(0, 11, 40))
    differences = rng.choice([-1.0, 0.0, 0.0, 1.0], 40) + 0.2
    exact = scipy_p(differences, clusters)
    assert paired_difference(differences, clusters).p == pytest.approx(exact, abs=0.015)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.12])
def test_p_agrees_with_scipys_random_sign_flips(shift: float) -> None:
    rng = np.random.default_rng(5)
    clusters = list(np.repeat(np.arange(80), 3))
    differences = rng.choice([-1.0, 0.0, 1.0], 240, p=[0.1, 0.8, 0.1]) + shift
    assert paired_difference(differences, clusters).p == pytest.approx(scipy_p(differences, clusters), abs=0.02)


def test_p_of_equal_systems_is_one_and_the_interval_a_point() -> None:
    assert paired_difference(np.zeros(50), list(range(50))) == PairedDifference(0.0, 0.0, 0.0, 1.0, 50)


def test_p_is_never_zero() -> None:
    """The observed signs are one of the draws (Phipson and Smyth 2010)."""
    assert paired_difference(np.ones(100), list(range(100)), draws=999).p == 1 / 1000


def test_p_does_not_depend_on_clusters_without_a_difference() -> None:
    few = paired_difference(np.array([1.0, 1.0, 1.0, -1.0]), [0, 1, 2, 3])
    many = paired_difference(np.array([1.0, 1.0, 1.0, -1.0] + [0.0] * 50), list(range(54)))
    assert few.p == pytest.approx(10 / 16, abs=0.02)
    assert many.p == pytest.approx(10 / 16, abs=0.02)


def test_p_and_direction_are_two_sided() -> None:
    differences = np.array([1.0, 1.0, 0.0, 1.0, 1.0, -1.0] * 5)
    better, worse = (paired_difference(sign * differences, list(range(30))) for sign in (1, -1))
    assert better.p == worse.p
    assert (better.difference, better.low) == (-worse.difference, pytest.approx(-worse.high, abs=0.05))


def test_the_interval_is_that_of_scipys_bootstrap_where_each_query_is_a_cluster() -> None:
    rng = np.random.default_rng(0)
    differences = rng.choice([-1.0, 0.0, 1.0], 300, p=[0.1, 0.7, 0.2])
    found = paired_difference(differences, list(range(300)))
    expected = stats.bootstrap((differences,), np.mean, method="percentile", rng=rng).confidence_interval
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.01)
    assert found.difference == pytest.approx(differences.mean())


def test_repeating_questions_within_their_clusters_leaves_the_interval() -> None:
    """Ten questions on each chunk that stand or fall together are no more evidence than one."""
    rng = np.random.default_rng(0)
    differences = rng.choice([-1.0, 0.0, 1.0], 60)
    one = paired_difference(differences, list(range(60)))
    ten = paired_difference(np.repeat(differences, 10), list(np.repeat(np.arange(60), 10)))
    assert (ten.low, ten.high, ten.p) == (pytest.approx(one.low), pytest.approx(one.high), one.p)
    taken_alone = paired_difference(np.repeat(differences, 10), list(range(600)))
    assert taken_alone.high - taken_alone.low < 0.5 * (ten.high - ten.low)


def test_one_large_cluster_is_one_observation() -> None:
    found = paired_difference(np.ones(500), [7] * 500)
    assert (found.n_clusters, found.p) == (1, 1.0)


def test_names_of_clusters_do_not_matter() -> None:
    differences = np.array([1.0, 0.0, -1.0, 1.0])
    assert paired_difference(differences, [0, 0, 1, 2]) == paired_difference(differences, [5, 5, 70, 900])


def test_the_seed_decides_and_the_same_seed_gives_the_same_figures() -> None:
    differences = np.random.default_rng(0).standard_normal(40)
    one, same, other = (paired_difference(differences, list(range(40)), seed=seed) for seed in (1, 1, 2))
    assert one == same
    assert one != other


@pytest.mark.parametrize(("n_differences", "n_clusters"), [(0, 0), (3, 2), (2, 3)])
def test_lengths_that_differ_are_refused(n_differences: int, n_clusters: int) -> None:
    with pytest.raises(ValueError, match=f"Got {n_differences} differences and {n_clusters} clusters"):
        paired_difference(np.zeros(n_differences), list(range(n_clusters)))


def simulate(n_runs: int, effect: float) -> tuple[float, float]:
    """Shares of runs whose interval covers the true effect, and whose p is below 0.05.

    60 documents of 1 to 6 questions each, which share a part of their difference.
    """
    rng = np.random.default_rng(0)
    covered = rejected = 0
    for _ in range(n_runs):
        clusters = np.repeat(np.arange(60), rng.integers(1, 7, 60))
        shared = rng.normal(0, 0.3, 60)[clusters]
        differences = effect + shared + rng.normal(0, 0.3, len(clusters))
        found = paired_difference(differences, list(clusters), draws=500, seed=int(rng.integers(2**31)))
        covered += found.low <= effect <= found.high
        rejected += found.p < 0.05
    return covered / n_runs, rejected / n_runs


def test_coverage_and_false_alarms_are_near_their_names() -> None:
    """400 runs: three standard errors are 0.033. Drawing questions covers 0.71 here, with 27% false alarms."""
    covered, false_alarms = simulate(400, effect=0.0)
    assert 0.90 <= covered <= 0.98
    assert 0.02 <= false_alarms <= 0.085


def test_a_real_effect_is_found() -> None:
    covered, found = simulate(150, effect=0.2)
    assert covered >= 0.88
    assert found >= 0.95
