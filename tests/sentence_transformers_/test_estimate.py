"""What a run would do and cost: the figures against those of the run, and nothing written."""

import shutil
import tempfile
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer
from sentence_transformers.losses import MultipleNegativesRankingLoss

from embedtune import BaseEmbeddingTuner, ModelFolderError, QADataset, TuningError, estimate_tuning, hookimpl, tune
from embedtune.plugins import PluginManager, TrainingEvent
from embedtune.testing import HashEmbedder, tiny_dataset

QUICK = {"device": "cpu", "progress": False, "precision": "fp32"}


@pytest.fixture
def temporary(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary folders go."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.mark.slow
def test_the_counts_are_those_of_the_run(
    small_model: Path, code_words: QADataset, tmp_path: Path, temporary: Path
) -> None:
    split = code_words.split(val=0.3, test=0)
    given = (str(small_model), split.train, split.val, tmp_path / "m")
    options = {"batch_size": 8, "epochs": 2, **QUICK}
    estimate = estimate_tuning(*given, **options)
    assert not list(tmp_path.iterdir())
    assert not list(temporary.iterdir())
    result = tune(*given, **options)
    configuration = result.record.configuration
    assert estimate.n_steps == len(result.losses)
    assert (estimate.n_pairs, estimate.truncated_share) == (result.n_pairs, result.truncated_share)
    assert estimate.n_validation_queries == configuration["validation_queries"]
    assert (estimate.n_folds, estimate.precision) == (0, "fp32")
    assert estimate.max_seq_length == SentenceTransformer(str(tmp_path / "m"), device="cpu").max_seq_length
    size = sum(file.stat().st_size for file in (tmp_path / "m").rglob("*") if file.is_file())
    assert size < estimate.disk_mib * 2**20 < 6 * size
    assert 0 < estimate.validation_minutes < estimate.minutes < 1


@pytest.mark.slow
def test_the_steps_of_a_cross_validation_are_those_of_all_its_runs(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    last_steps: list[int] = []

    class Listener:
        @hookimpl
        def embedtune_training_event(self, event: TrainingEvent) -> None:
            if event.kind == "end":
                last_steps.append(event.step)

    plugins = PluginManager()
    plugins.register(Listener(), "listener", "test 1")
    options = {"path": tmp_path / "m", "batch_size": 8, "learning_rate": 1e-3, "epochs": 4, "plugins": plugins}
    estimate = estimate_tuning(str(small_model), code_words, **options, **QUICK)
    assert last_steps == []
    assert not list(tmp_path.iterdir())
    result = tune(str(small_model), code_words, **options, **QUICK)
    assert not result.kept_base
    assert estimate.n_folds == 3
    assert len(last_steps) == 4
    # The last run is planned to the end, and ends where the folds found the best step.
    assert last_steps[3] == len(result.losses)
    n_last = -(-len(code_words) // 8) * 4
    assert sum(last_steps[:3]) + n_last == estimate.n_steps


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"hard_negatives": 3},
        {"hard_negatives": 2, "teacher": HashEmbedder(8)},
        {"loss": MultipleNegativesRankingLoss},
    ],
    ids=["negatives", "teacher", "own loss"],
)
def test_every_kind_of_batch_is_tried(small_model: Path, tmp_path: Path, options: dict[str, object]) -> None:
    """The teacher is not asked."""
    estimate = estimate_tuning(str(small_model), tiny_dataset(8), path=tmp_path / "m", epochs=1, **options, **QUICK)
    assert estimate.n_steps == 4
    assert any("teacher" in note for note in estimate.notes) == ("teacher" in options)


@pytest.mark.slow
def test_longer_texts_and_larger_batches_need_more_memory(small_model: Path, tmp_path: Path) -> None:
    tiny = tiny_dataset(40)
    corpus = {id: f"{text} " * 40 for id, text in tiny.corpus.items()}
    dataset = QADataset(tiny.queries, corpus, tiny.relevant_docs)
    small, large = (
        estimate_tuning(
            str(small_model), dataset, path=tmp_path / "m", batch_size=size, max_seq_length=length, folds=0, **QUICK
        )
        for size, length in ((4, 32), (32, 256))
    )
    assert small.peak_memory_mib is not None
    assert large.peak_memory_mib is not None
    assert small.batch_size < large.batch_size
    assert small.peak_memory_mib < large.peak_memory_mib
    assert small.seconds_per_step < large.seconds_per_step


def test_what_the_run_would_refuse_the_estimate_refuses(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("not ours")
    with pytest.raises(ModelFolderError):
        estimate_tuning(str(small_model), tiny_dataset(8), path=tmp_path, **QUICK)
    with pytest.raises(TuningError, match="has no option 'batchsize'"):
        estimate_tuning(str(small_model), tiny_dataset(8), path=tmp_path / "m", batchsize=8)
    with pytest.raises(TuningError, match="progress must be True or False; got 'no'"):
        estimate_tuning(str(small_model), tiny_dataset(8), path=tmp_path / "m", progress="no")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


@pytest.mark.slow
def test_a_model_that_was_given_loaded_stays_as_it_is(small_model: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(small_model), device="cpu")
    before = model.encode("a text").tolist()
    estimate_tuning(model, tiny_dataset(8), path=tmp_path / "m", learning_rate=1e-2, **QUICK)
    assert model.encode("a text").tolist() == before


def test_a_tuner_without_an_estimate_says_so(tmp_path: Path) -> None:
    class Mine(BaseEmbeddingTuner):
        name = "mine"

        def finetune(self) -> None:
            shutil.rmtree("nothing")

    with pytest.raises(TuningError, match=r"'mine' gives no estimate: Mine has no estimate\(\) of its own"):
        Mine("model", tiny_dataset(8), path=tmp_path / "m").estimate()
