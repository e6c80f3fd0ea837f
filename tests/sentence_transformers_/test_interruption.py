"""A killed run leaves the old model whole or the new one whole, and can be gone on with."""

import json
import multiprocessing
import random
import time
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from embedtune import ModelFolderError, QADataset, TuningError, read_record, tune
from embedtune.folders import claim_target, heal, partial_of
from tuning_runs import interrupted, tune_a_file, tuned, weights

OPTIONS = {
    "batch_size": 8,
    "learning_rate": 1e-3,
    "epochs": 3,
    "validations_per_epoch": 1,
    "device": "cpu",
    "progress": False,
    "precision": "fp32",
}

PROCESSES = multiprocessing.get_context("forkserver")
"""The libraries are loaded once, so that a kill meets the tuning and not its imports."""


def start(base: Path, data: Path, path: Path, *, resume: bool = False, **options: object) -> ForkServerProcess:
    PROCESSES.set_forkserver_preload(["embedtune_sentence_transformers.tuner", "tuning_runs"])
    process = PROCESSES.Process(
        target=tune_a_file, args=(base, data, path), kwargs=OPTIONS | options | {"resume": resume}
    )
    process.start()
    return process


def assert_ends_well(process: ForkServerProcess) -> None:
    process.join()
    assert process.exitcode == 0


@pytest.fixture
def data(code_words: QADataset, tmp_path: Path) -> Path:
    code_words.save(tmp_path / "words.json")
    return tmp_path / "words.json"


def reference(small_model: Path, data: Path, path: Path, **options: object) -> bytes:
    """The weights of a run that nobody interrupts."""
    tune_a_file(small_model, data, path, **(OPTIONS | options))
    return weights(path)


@pytest.mark.slow
def test_kills_at_random_moments_leave_the_old_model_and_a_resumed_run_ends_the_same(
    small_model: Path, data: Path, tmp_path: Path
) -> None:
    """Ten kills in one run over a model of another seed, resumed each time."""
    target = tmp_path / "model"
    old = reference(small_model, data, target, seed=7)
    new = reference(small_model, data, tmp_path / "reference", seed=8)
    rng = random.Random(0)
    assert_ends_well(start(small_model, data, tmp_path / "first", seed=8))  # loads what the others have loaded then
    started = time.monotonic()
    assert_ends_well(start(small_model, data, tmp_path / "timed", seed=8))
    duration = time.monotonic() - started
    for _ in range(10):
        process = start(small_model, data, target, resume=True, seed=8)
        time.sleep(rng.uniform(0, duration))
        process.kill()
        process.join()
        heal(target)
        record = read_record(target)
        assert record is not None
        assert weights(target) == {7: old, 8: new}[record.configuration["seed"]]
    assert_ends_well(start(small_model, data, target, resume=True, seed=8))
    assert weights(target) == new
    assert not partial_of(target).exists()


@pytest.mark.slow
def test_a_run_killed_after_a_checkpoint_goes_on_from_it(small_model: Path, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "model"
    expected = reference(small_model, data, tmp_path / "reference")
    process = start(small_model, data, target)
    while not list(partial_of(target).glob("run-0/checkpoint-*/trainer_state.json")):
        assert process.is_alive()
        time.sleep(0.01)
    process.kill()
    process.join()
    assert not target.exists()
    steps = {path.name for path in partial_of(target).glob("run-0/checkpoint-*")}
    assert_ends_well(start(small_model, data, target, resume=True))
    assert steps
    assert weights(target) == expected
    # A table made with the one is good for the other.
    assert read_record(target).fingerprint == read_record(tmp_path / "reference").fingerprint  # type: ignore[union-attr]


def test_resuming_another_job_is_refused(small_model: Path, data: Path, tmp_path: Path) -> None:
    """With what differs; the interrupted run stays as it is."""
    split = QADataset.load(data).split(val=0.3, test=0)
    partial = partial_of(tmp_path / "model")
    partial.mkdir()
    (partial / "job.json").write_text(json.dumps({"tuner": "sentence-transformers", "epochs": 99}))
    with pytest.raises(TuningError, match=r"the interrupted run differs in .*base, .*epochs, "):
        tune(str(small_model), split.train, split.val, tmp_path / "model", resume=True, **OPTIONS)
    assert json.loads((partial / "job.json").read_text())["epochs"] == 99


def test_a_checkpoint_that_a_kill_cut_off_is_not_used(small_model: Path, data: Path, tmp_path: Path) -> None:
    """The trainer writes its state last; without it the checkpoint before counts."""
    from embedtune_sentence_transformers.training import _last_checkpoint

    for step, state in ((2, "{}"), (4, '{"global'), (6, None)):
        (tmp_path / f"checkpoint-{step}").mkdir()
        if state is not None:
            (tmp_path / f"checkpoint-{step}" / "trainer_state.json").write_text(state)
    assert _last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")


def test_a_damaged_state_is_told_by_its_file(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    interrupted(str(small_model), code_words, tmp_path / "m", 2)
    candidates = tmp_path / ".m.partial" / "run-0" / "candidates.json"
    for file in (candidates, tmp_path / ".m.partial" / "job.json"):
        file.write_text(file.read_text()[:20])
        with pytest.raises(ModelFolderError, match=rf"{file.name}', the state of an interrupted run, is damaged"):
            tuned(str(small_model), code_words, tmp_path / "m", resume=True, checkpoint_steps=1)


def test_a_run_that_another_one_holds_is_not_told_as_dropped(
    small_model: Path, code_words: QADataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    interrupted(str(small_model), code_words, tmp_path / "m", 2)
    with claim_target(tmp_path / "m", keep=True), pytest.raises(ModelFolderError, match="Another process is writing"):
        tuned(str(small_model), code_words, tmp_path / "m")
    assert "dropped" not in caplog.text
