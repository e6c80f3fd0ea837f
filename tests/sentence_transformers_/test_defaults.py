"""What is chosen where an option is left open."""

import pytest
import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.defaults import settled
from embedtune_sentence_transformers.options import Options, Settled
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from embedtune_sentence_transformers.training import schedule_of


def pairs_on(n_chunks: int) -> TrainingPairs:
    return pairs_of(
        QADataset(
            {f"q{i}": f"question {i}" for i in range(n_chunks)},
            {f"c{i}": f"chunk {i}" for i in range(n_chunks)},
            {f"q{i}": [f"c{i}"] for i in range(n_chunks)},
        )
    )


class Sized(torch.nn.Linear):
    """A model of so many parameters, none of which takes memory."""

    def __init__(self, n_parameters: int) -> None:
        super().__init__(1, n_parameters, bias=False, device="meta")


def model_of(n_parameters: int) -> SentenceTransformer:
    return SentenceTransformer(modules=[Sized(n_parameters)], device="meta")


@pytest.mark.parametrize(
    ("n_chunks", "batch_size", "epochs"),
    [(20, 32, 10), (500, 32, 4), (999, 32, 2), (1000, 64, 4), (2000, 64, 2), (10_000, 64, 1)],
)
def test_small_sets_take_smaller_batches_and_more_epochs(n_chunks: int, batch_size: int, epochs: int) -> None:
    """At least 60 steps, at most ten epochs."""
    options, chosen = settled(Options(), None, pairs_on(n_chunks), model_of(22_000_000))
    assert (options.batch_size, chosen) == (batch_size, epochs)


@pytest.mark.parametrize(("n_parameters", "rate"), [(22_000_000, 1e-4), (110_000_000, 5e-5), (335_000_000, 2e-5)])
def test_larger_models_take_smaller_steps(n_parameters: int, rate: float) -> None:
    assert settled(Options(), 1, pairs_on(4), model_of(n_parameters))[0].learning_rate == rate


def test_what_is_given_stays() -> None:
    given = Options(batch_size=8, learning_rate=3e-4, symmetric=True)
    options, epochs = settled(given, 7, pairs_on(2000), model_of(22_000_000))
    assert (options.batch_size, options.learning_rate, options.symmetric, epochs) == (8, 3e-4, True, 7)


def test_a_small_batch_that_was_asked_for_takes_smaller_steps() -> None:
    options, _ = settled(Options(batch_size=8), 1, pairs_on(2000), model_of(22_000_000))
    assert options.learning_rate == pytest.approx(5e-5)


@pytest.mark.parametrize(("epochs", "n_validations"), [(1, 1), (9, 1), (10, 2), (24, 4), (100, 4)])
def test_a_run_validates_once_for_so_many_steps(epochs: int, n_validations: int) -> None:
    """Each of these epochs has ten steps."""
    schedule = schedule_of(640, epochs, Settled(batch_size=64))
    assert (schedule.total_steps, schedule.n_validations) == (10 * epochs, n_validations)
    assert max(schedule.points) == schedule.total_steps


def test_validations_are_counted_by_epoch_where_asked() -> None:
    assert schedule_of(640, 3, Settled(validations_per_epoch=2)).n_validations == 6
