"""Intervals and p values, checked against scipy, and for what clusters do to them."""

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from embedtune.statistics import PairedDifference, holm, mcnemar_p, paired_difference, paired_differences
from embedtune.statistics.exact import exact_sign_flip_p
from embedtune.statistics.paired import _expanded_tail

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


# p values


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("shift", [0.0, 0.2])
def test_p_is_the_exact_sign_flip_p_of_few_clusters(seed: int, shift: float) -> None:
    """Of 11 clusters there are 2,048 sign flips: scipy counts them all, and so do we, of whole numbers and others."""
    rng = np.random.default_rng(seed)
    clusters = list(rng.integers(0, 11, 40))
    differences = rng.choice([-1.0, 0.0, 0.0, 1.0], 40) + shift
    assert paired_difference(differences, clusters).p == pytest.approx(scipy_p(differences, clusters), abs=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.05, 0.12])
def test_p_agrees_with_scipys_random_sign_flips(shift: float) -> None:
    rng = np.random.default_rng(5)
    clusters = list(np.repeat(np.arange(80), 3))
    differences = rng.choice([-1.0, 0.0, 1.0], 240, p=[0.1, 0.8, 0.1]) + shift
    assert paired_difference(differences, clusters).p == pytest.approx(scipy_p(differences, clusters), abs=0.02)


@pytest.mark.parametrize(("n_wins", "n_losses"), [(0, 0), (1, 0), (6, 0), (9, 3), (3, 9), (10, 10), (260, 210)])
def test_mcnemars_p_is_scipys_binomial_p(n_wins: int, n_losses: int) -> None:
    n_pairs = n_wins + n_losses
    expected = stats.binomtest(n_wins, n_pairs).pvalue if n_pairs else 1.0
    assert mcnemar_p(n_wins, n_losses) == pytest.approx(expected, rel=1e-9)


def test_questions_of_their_own_clusters_are_tested_by_mcnemars_test() -> None:
    differences = np.repeat([1.0, -1.0, 0.0], [14, 4, 82])
    assert paired_difference(differences, list(range(100))).p == mcnemar_p(14, 4)


def test_mcnemars_test_is_the_sign_flip_test_of_single_questions() -> None:
    sums = np.repeat([1.0, -1.0, 0.0], [14, 4, 82])
    assert exact_sign_flip_p(sums) == pytest.approx(mcnemar_p(14, 4))


def test_questions_that_share_a_cluster_are_not_tested_by_mcnemars_test() -> None:
    """Twelve wins in three documents are three wins: p is 2 / 8, not 2 / 4096."""
    assert paired_difference(np.ones(12), list(np.repeat(np.arange(3), 4))).p == 0.25


def test_whole_numbers_give_what_counting_all_flips_gives() -> None:
    sums = np.array([3.0, -1.0, 2.0, 2.0, 0.0, 5.0, -4.0, 1.0])
    assert exact_sign_flip_p(sums) == pytest.approx(exact_sign_flip_p(sums * 0.3))


def test_more_flips_than_can_be_counted_are_drawn() -> None:
    assert exact_sign_flip_p(np.linspace(0.1, 1.3, 20)) is None


def test_negative_numbers_of_wins_are_refused() -> None:
    with pytest.raises(ValueError, match="wins and losses must be at least 0; got -1 and 3"):
        mcnemar_p(-1, 3)


def test_p_of_equal_answers_is_one_and_the_interval_holds_what_was_not_seen() -> None:
    """50 questions without a change: as many as 7.1% of all may change, by the exact interval of 0 of 50."""
    unseen = stats.binomtest(0, 50).proportion_ci(0.95, "exact").high
    found = paired_difference(np.zeros(50), list(range(50)))
    assert found == PairedDifference(0.0, pytest.approx(-unseen), pytest.approx(unseen), 1.0, 50)


@pytest.mark.parametrize("n_clusters", [1, 2, 5, 6, 20])
def test_where_all_are_won_interval_and_test_agree(n_clusters: int) -> None:
    """The bootstrap has nothing else to draw; the exact bound leaves 0 outside from the clusters on that p does."""
    found = paired_difference(np.ones(3 * n_clusters), list(np.repeat(np.arange(n_clusters), 3)))
    assert (found.difference, found.high) == (1.0, 1.0)
    assert (found.low > 0) == (found.p < 0.05) == (n_clusters >= 6)


def test_a_drawn_p_is_never_zero() -> None:
    """The observed signs are one of the draws (Phipson and Smyth 2010)."""
    assert paired_difference(np.full(100, 0.5), list(range(100)), draws=999).p == 1 / 1000


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


# Several metrics, several tests


def test_metrics_are_given_as_if_each_were_alone() -> None:
    """Values of either kind: whole numbers, which have an exact p, and others."""
    rng = np.random.default_rng(0)
    clusters = list(np.repeat(np.arange(30), 2))
    metrics = np.stack([rng.choice([-1.0, 0.0, 1.0], 60), rng.standard_normal(60)])
    together = paired_differences(metrics, clusters)
    for values, found in zip(metrics, together, strict=True):
        alone = paired_difference(values, clusters)
        assert (found.p, found.n_clusters) == (alone.p, 30)
        assert (found.low, found.high) == pytest.approx((alone.low, alone.high))


def closed_test(p_values: list[float]) -> list[float]:
    """Holm's adjustment as what it is: the closed test with Bonferroni's test of each set of hypotheses."""
    sets = [s for n in range(1, len(p_values) + 1) for s in itertools.combinations(range(len(p_values)), n)]
    bonferroni = {s: min(1.0, len(s) * min(p_values[i] for i in s)) for s in sets}
    return [max(p for s, p in bonferroni.items() if i in s) for i in range(len(p_values))]


@pytest.mark.parametrize("seed", range(5))
def test_holm_is_the_closed_bonferroni_test(seed: int) -> None:
    p_values = list(np.random.default_rng(seed).random(5) ** 3)
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_holm_leaves_a_single_test_as_it_is() -> None:
    assert (holm([0.03]), holm([])) == ([0.03], [])


# Intervals


@pytest.mark.parametrize("n_clusters", [5, 10, 30, 200])
def test_the_percentiles_are_expanded_by_students_t(n_clusters: int) -> None:
    """Hesterberg (2015): the normal's share beyond t, times the root of n / (n - 1)."""
    t = stats.t.ppf(0.975, n_clusters - 1)
    expected = stats.norm.cdf(-t * np.sqrt(n_clusters / (n_clusters - 1)))
    assert _expanded_tail(n_clusters) == pytest.approx(expected, rel=0.03)


def test_the_interval_of_two_clusters_is_all_that_can_be_drawn() -> None:
    found = paired_difference(np.array([0.5, -0.25]), [0, 1])
    assert (found.low, found.high) == (-0.25, 0.5)
