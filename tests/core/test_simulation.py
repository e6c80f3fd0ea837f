"""False alarms and coverage by simulation: 1,000 comparisons of each kind, whose truth is known.

200 documents of 1 to 10 questions, of which 15% are answered by one of two systems alone. With 1,000 draws three
standard errors of a rate of 5% are 2 points.
"""

import numpy as np
import numpy.typing as npt
import pytest

from embedtune.statistics import PairedDifference, paired_difference, paired_differences

Floats = npt.NDArray[np.float64]

N_CLUSTERS, N_DRAWS, DISCORDANT = 200, 1000, 0.15
ROUNDS = 5
"""Each with other sizes of documents."""

together = pytest.mark.parametrize("dependence", ["none", "some", "all"])
"""Whether the questions on one document go to the same system: each by itself, more or less, or all of them."""


def draw(rng: np.random.Generator, clusters: npt.NDArray[np.intp], effect: float, dependence: str) -> Floats:
    """Differences of one comparison, shape (n_queries,): 1, -1 or 0, with ``effect`` as their expectation."""
    n_queries, wins = len(clusters), 0.5 + effect / DISCORDANT / 2
    discordant, chances = np.full(n_queries, DISCORDANT), np.full(n_queries, wins)
    if dependence != "none":
        discordant = rng.beta(3 * DISCORDANT, 3 * (1 - DISCORDANT), N_CLUSTERS)[clusters]
        chances = rng.beta(2 * wins, 2 * (1 - wins), N_CLUSTERS)[clusters]
    if dependence == "all":
        chances = (rng.random(N_CLUSTERS) < wins)[clusters].astype(np.float64)
    return np.where(rng.random(n_queries) < discordant, np.where(rng.random(n_queries) < chances, 1.0, -1.0), 0.0)


def simulate(effect: float, dependence: str) -> list[PairedDifference]:
    """1,000 comparisons through the real functions; those of a round share their documents' sizes."""
    rng = np.random.default_rng(0)
    found = []
    for seed in range(ROUNDS):
        clusters = np.repeat(np.arange(N_CLUSTERS), rng.integers(1, 11, N_CLUSTERS))
        differences = np.stack([draw(rng, clusters, effect, dependence) for _ in range(N_DRAWS // ROUNDS)])
        found += paired_differences(differences, clusters.tolist(), draws=2000, seed=seed)
    return found


@together
def test_exchangeable_systems_are_called_different_in_one_of_twenty_comparisons(dependence: str) -> None:
    found = simulate(0.0, dependence)
    assert 0.03 <= np.mean([paired.p < 0.05 for paired in found]) <= 0.07
    assert 0.03 <= np.mean([paired.low > 0 or paired.high < 0 for paired in found]) <= 0.07


@together
@pytest.mark.parametrize("effect", [0.02, 0.1])
def test_the_interval_covers_the_true_difference_in_nineteen_of_twenty_comparisons(
    effect: float, dependence: str
) -> None:
    found = simulate(effect, dependence)
    assert 0.93 <= np.mean([paired.low <= effect <= paired.high for paired in found]) <= 0.97


def test_questions_taken_one_by_one_raise_false_alarms() -> None:
    """Why clusters are drawn: questions that stand and fall together, taken as if each were by itself."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(N_CLUSTERS), rng.integers(1, 11, N_CLUSTERS))
    differences = np.stack([draw(rng, clusters, 0.0, "all") for _ in range(300)])
    alone = paired_differences(differences, list(range(len(clusters))), draws=10)
    assert np.mean([paired.p < 0.05 for paired in alone]) > 0.09


def test_values_between_0_and_1_have_their_false_alarms_too() -> None:
    """Reciprocal ranks and the like: sign flips are drawn, not counted."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), rng.integers(1, 7, 60))
    shared = rng.normal(0, 0.3, (N_DRAWS, 60))[:, clusters]
    found = paired_differences(shared + rng.normal(0, 0.3, shared.shape), clusters.tolist(), draws=1000)
    assert 0.03 <= np.mean([paired.p < 0.05 for paired in found]) <= 0.07
    assert 0.93 <= np.mean([paired.low <= 0 <= paired.high for paired in found]) <= 0.97


def test_a_real_effect_is_found() -> None:
    """As large as the spread within and between 60 documents."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(60), rng.integers(1, 7, 60))
    found = [
        paired_difference(0.2 + rng.normal(0, 0.3, 60)[clusters] + rng.normal(0, 0.3, len(clusters)), clusters.tolist())
        for _ in range(20)
    ]
    assert np.mean([paired.low > 0 and paired.p < 0.05 for paired in found]) >= 0.95
