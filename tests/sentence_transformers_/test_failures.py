"""Runs that break down: what is said, what stays, and what can be gone on with."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

from embedtune import QADataset, TuningError, read_record
from embedtune.folders import partial_of
from embedtune_sentence_transformers.failures import telling_of_disk, telling_of_memory
from embedtune_sentence_transformers.options import Settled
from tuning_runs import tuned, weights

CPU_IS_FULL = "[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8"
GPU_IS_FULL = "CUDA out of memory. Tried to allocate 20.00 MiB."


def loss_that(fails: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[SentenceTransformer], torch.nn.Module]:
    """A loss of the library's that goes wrong at its third step."""

    class Loss(MultipleNegativesRankingLoss):
        steps = 0

        def forward(self, *arguments: object) -> torch.Tensor:
            self.steps += 1
            loss: torch.Tensor = super().forward(*arguments)
            return fails(loss) if self.steps == 3 else loss

    return Loss


def raising(error: BaseException) -> Callable[[torch.Tensor], torch.Tensor]:
    def fails(_: torch.Tensor) -> torch.Tensor:
        raise error

    return fails


@pytest.fixture(scope="module")
def finished(tiny_model: Path, code_words: QADataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder tuned earlier, which the broken runs were to replace."""
    folder = tmp_path_factory.mktemp("finished") / "m"
    tuned(str(tiny_model), code_words, folder, seed=3)
    return folder


# Memory


@pytest.mark.parametrize(
    "error", [RuntimeError(CPU_IS_FULL), torch.OutOfMemoryError(GPU_IS_FULL), MemoryError(), RuntimeError("bad_alloc")]
)
def test_no_memory_names_what_to_make_smaller_and_leaves_the_target(
    tiny_model: Path, code_words: QADataset, finished: Path, error: BaseException
) -> None:
    before = weights(finished)
    with pytest.raises(TuningError, match=r"Memory ran out in training, with batch_size=8 chunks of up to 64 tokens"):
        tuned(str(tiny_model), code_words, finished, loss=loss_that(raising(error)))
    assert weights(finished) == before
    assert read_record(finished).configuration["seed"] == 3  # type: ignore[union-attr]


def test_another_error_in_training_stays_what_it_is(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"^the sizes do not fit$"):
        tuned(
            str(tiny_model), code_words, tmp_path / "m", loss=loss_that(raising(RuntimeError("the sizes do not fit")))
        )


def test_what_the_user_may_give_is_in_the_message() -> None:
    with (
        pytest.raises(TuningError, match=r"batch_size=64 .* smaller max_seq_length, or\s+freeze_layers"),
        telling_of_memory(Settled(), 256),
    ):
        raise MemoryError


IN_LITTLE_MEMORY = """
import resource, sys
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
from embedtune import QADataset, tune
import embedtune_sentence_transformers.tuner
texts = {f"c{i}": f"apple {i} " * 280 for i in range(240)}
train = QADataset({f"q{i}": f"river {i}" for i in range(240)}, texts, {f"q{i}": [f"c{i}"] for i in range(240)})
val = QADataset({"a": "tower", "b": "candle"}, {"1": "violin", "2": "desert"}, {"a": ["1"], "b": ["2"]})
mapped = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = mapped + 400 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
tune(sys.argv[1], train, val, sys.argv[2], device="cpu", progress=False, precision="fp32",
     batch_size=240, loss=MultipleNegativesRankingLoss)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS and /proc are Linux's")
def test_a_process_that_may_take_no_more_memory_says_so(tiny_model: Path, tmp_path: Path) -> None:
    """240 chunks of 512 tokens at once, which take more than the 400 MiB that there are."""
    done = run(IN_LITTLE_MEMORY, tiny_model, tmp_path / "m")
    assert done.returncode == 1
    assert "embedtune.errors.TuningError: Memory ran out in training, with batch_size=240" in done.stderr
    assert not (tmp_path / "m").exists()


# Disk


def run(script: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


ON_A_SMALL_DISK = """
import resource, sys
from embedtune import QADataset
from tuning_runs import tuned
base, data, path, limit = sys.argv[1:]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
tuned(base, QADataset.load(data), path, epochs=3, checkpoint_steps=1)
"""


@pytest.fixture(scope="module")
def whole(tiny_model: Path, code_words: QADataset, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The weights of a run that nothing stops."""
    folder = tmp_path_factory.mktemp("whole") / "m"
    tuned(str(tiny_model), code_words, folder, epochs=3)
    return weights(folder)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no RLIMIT_FSIZE")
@pytest.mark.parametrize("share", [0.5, 1.5])
def test_a_full_disk_says_so_and_the_run_can_be_gone_on_with(
    whole: bytes, tiny_model: Path, code_words: QADataset, tmp_path: Path, share: float
) -> None:
    """No file may be longer than half of the weights, or than the weights and half of the optimiser's state."""
    code_words.save(tmp_path / "words.json")
    limit = int(share * (tiny_model / "model.safetensors").stat().st_size)
    done = run(ON_A_SMALL_DISK, tiny_model, tmp_path / "words.json", tmp_path / "m", limit)
    assert done.returncode == 1
    assert "embedtune.errors.TuningError: The disk is full while writing beside" in done.stderr
    assert "resume=True goes on from the last checkpoint" in done.stderr
    assert not (tmp_path / "m").exists()
    assert partial_of(tmp_path / "m").is_dir()
    tuned(str(tiny_model), code_words, tmp_path / "m", epochs=3, resume=True)
    assert weights(tmp_path / "m") == whole


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), OSError(122, "Quota"), RuntimeError("database or disk is full")]
)
def test_what_says_that_the_disk_is_full_is_told_as_such(error: Exception) -> None:
    with pytest.raises(TuningError, match="The disk is full while writing beside 'm'"), telling_of_disk(Path("m")):
        raise error


def test_another_error_in_writing_stays_what_it_is() -> None:
    with pytest.raises(PermissionError), telling_of_disk(Path("m")):
        raise PermissionError(13, "Permission denied")


# A loss that is no number


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_stops_at_its_step_and_leaves_the_target(
    tiny_model: Path, code_words: QADataset, finished: Path, value: float
) -> None:
    before = weights(finished)
    with pytest.raises(
        TuningError, match=rf"The loss is {value} at step 3: the weights are lost. .* Lower learning_rate"
    ):
        tuned(str(tiny_model), code_words, finished, loss=loss_that(lambda loss: loss * value))
    assert weights(finished) == before


def test_no_checkpoint_of_lost_weights_is_kept(tiny_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """Else a resumed run would begin with them."""
    with pytest.raises(TuningError, match="at step 3"):
        tuned(
            *(str(tiny_model), code_words, tmp_path / "m"),
            loss=loss_that(lambda loss: loss * float("nan")),
            checkpoint_steps=1,
        )
    (state,) = partial_of(tmp_path / "m").glob("run-0/checkpoint-*/trainer_state.json")
    assert json.loads(state.read_text())["global_step"] == 2
