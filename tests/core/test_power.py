"""How many questions would show a difference: against hand calculation, and by asking so many."""

import numpy as np
import numpy.typing as npt
import pytest

from embedtune.statistics import design_effect, detectable_difference, paired_differences, questions_needed

Floats = npt.NDArray[np.float64]


def test_the_number_is_connors() -> None:
    """By hand: ((1.95996 * sqrt(0.25) + 0.84162 * sqrt(0.25 - 0.0225)) / 0.15) ** 2 = 84.8."""
    assert questions_needed(0.15, 0.25) == 85


def test_the_design_effect_multiplies_the_number() -> None:
    assert questions_needed(0.01, 0.15, 2.0) == pytest.approx(2 * (questions_needed(0.01, 0.15) or 0), abs=1)


@pytest.mark.parametrize(("margin", "discordant"), [(0.0, 0.1), (0.01, 0.0)])
def test_what_cannot_be_shown_has_no_number(margin: float, discordant: float) -> None:
    assert questions_needed(margin, discordant) is None


def test_a_difference_larger_than_what_was_discordant_is_all_that_is_discordant() -> None:
    assert questions_needed(0.05, 0.001) == questions_needed(0.05, 0.05)


def test_equal_questions_in_a_cluster_count_as_one() -> None:
    """Where n stand and fall together, 1 + (n - 1) * 1 times as many are needed."""
    each = np.random.default_rng(0).choice([-1.0, 0.0, 1.0], 400)
    effect = design_effect(np.repeat(each, 5), list(np.repeat(np.arange(400), 5)))
    assert effect == pytest.approx(5, rel=0.01)


def test_independent_questions_have_no_design_effect() -> None:
    differences = np.random.default_rng(0).standard_normal(3000)
    assert design_effect(differences, list(range(3000))) == pytest.approx(1, abs=1e-9)
    assert design_effect(differences, list(np.arange(3000) // 3)) == pytest.approx(1, abs=0.1)


def test_the_effect_is_that_of_an_analysis_of_variance() -> None:
    """Kish: 1 + (n - 1) * intraclass correlation, here 0.5 by construction."""
    rng = np.random.default_rng(0)
    differences = np.repeat(rng.standard_normal(2000), 4) + rng.standard_normal(8000)
    assert design_effect(differences, list(np.repeat(np.arange(2000), 4))) == pytest.approx(1 + 3 * 0.5, rel=0.05)


def test_clusters_that_even_out_are_given_as_no_effect() -> None:
    assert design_effect(np.array([1.0, -1.0] * 10), list(np.repeat(np.arange(10), 2))) == 1.0


@pytest.mark.parametrize("differences", [np.zeros(4), np.ones(4)])
def test_without_variance_the_effect_is_unknown(differences: Floats) -> None:
    assert design_effect(differences, [0, 0, 1, 1]) is None


def test_one_cluster_has_no_known_effect() -> None:
    assert design_effect(np.array([1.0, 0.0]), [3, 3]) is None


@pytest.mark.parametrize("share_of_clusters", [False, True])
def test_so_many_questions_find_the_margin_in_four_of_five_tests(share_of_clusters: bool) -> None:
    """300 sets of as many questions as are said, alone or four to a cluster: three standard errors are 0.07."""
    rng, margin, discordant = np.random.default_rng(0), 0.05, 0.15
    per_cluster, effect = (4, 4.0) if share_of_clusters else (1, 1.0)
    n_queries = questions_needed(margin, discordant, effect) or 0
    chances = [(discordant + margin) / 2, (discordant - margin) / 2, 1 - discordant]
    n_clusters = n_queries // per_cluster
    each = rng.choice([1.0, -1.0, 0.0], (300, n_clusters), p=chances)
    clusters = np.repeat(np.arange(n_clusters), per_cluster).tolist()
    found = paired_differences(np.repeat(each, per_cluster, axis=1), clusters, draws=10)
    assert np.mean([paired.p < 0.05 for paired in found]) == pytest.approx(0.8, abs=0.07)


def test_trap_37_the_smallest_difference_that_a_set_shows_is_the_one_that_needs_as_many_questions() -> None:
    """220 questions, of which one in ten changes, show no 3 points but 6."""
    found = detectable_difference(220, 0.1, 1.2)
    assert found is not None
    assert questions_needed(found, 0.1, 1.2) == pytest.approx(220, rel=0.03)
    assert 0.03 < (detectable_difference(220, 0.1) or 0) == pytest.approx(0.06, abs=0.001)


@pytest.mark.parametrize(("n_queries", "discordant"), [(300, 0.0), (2, 1.0)])
def test_what_no_difference_shows_has_no_smallest(n_queries: int, discordant: float) -> None:
    assert detectable_difference(n_queries, discordant) is None
