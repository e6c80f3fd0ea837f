"""The tuner: what it writes, what it refuses, what it never changes."""

import logging
import shutil
from pathlib import Path

import pytest
from sentence_transformers import SentenceTransformer

from embedtune import (
    BaseEmbeddingTuner,
    EmbedtuneError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    TrainingEvent,
    TuningError,
    compare,
    evaluate,
    hookimpl,
    plugin_manager,
    read_record,
    tune,
)
from embedtune.plugins import PluginManager
from embedtune.testing import TunerContract, tiny_dataset
from embedtune_sentence_transformers import SentenceTransformersTuner
from embedtune_sentence_transformers.precision import chosen_precision

QUICK = {"device": "cpu", "progress": False, "precision": "fp32"}


class TestTunerContract(TunerContract):
    @pytest.fixture(autouse=True)
    def _model(self, small_model: Path) -> None:
        self.folder = small_model

    def make(self, trainset: QADataset, path: Path, **options: object) -> BaseEmbeddingTuner:
        return SentenceTransformersTuner(str(self.folder), trainset, path=path, **QUICK, **options)


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


@pytest.mark.slow
def test_the_folder_is_a_plain_sentence_transformers_model(small_model: Path, tmp_path: Path) -> None:
    """Safetensors only, and it loads without embedtune."""
    result = tune(str(small_model), tiny_dataset(8), path=tmp_path / "m", learning_rate=1e-3, **QUICK)
    names = {path.name for path in (tmp_path / "m").rglob("*")}
    assert {"model.safetensors", "modules.json", "embedtune.json", "README.md"} <= names
    assert not {name for name in names if name.endswith((".bin", ".pt", ".pkl"))}
    assert SentenceTransformer(str(tmp_path / "m"), device="cpu").encode("x").shape == (384,)
    assert result.record.fingerprint == plugin_manager().embedder(str(tmp_path / "m")).fingerprint


@pytest.mark.slow
def test_prompts_are_saved_with_the_model(prompted_model: Path, tmp_path: Path) -> None:
    """Trap 21."""
    tune(str(prompted_model), tiny_dataset(8), path=tmp_path / "m", **QUICK)
    assert SentenceTransformer(str(tmp_path / "m")).prompts == {"query": "ask: ", "document": "read: "}
    assert "'prompt_name': 'query'" in (tmp_path / "m" / "README.md").read_text()


def test_fewer_examples_than_a_batch_still_train(small_model: Path, tmp_path: Path) -> None:
    """Trap 18: such a set gave a schedule of no steps, and nobody was told."""
    split = tiny_dataset(8).split(val=0.25, test=0)
    options = {"batch_size": 512, "epochs": 2, "validations_per_epoch": 1, **QUICK}
    result = tune(str(small_model), split.train, split.val, tmp_path / "m", **options)
    assert [(point.step, point.share) for point in result.history] == [(0, 1), (1, 1), (2, 1), (2, 0.5)]
    assert len(result.losses) == 2


@pytest.mark.slow
def test_one_seed_gives_the_same_weights_and_another_seed_others(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    split = code_words.split(val=0.3, test=0)
    options = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 2, **QUICK}
    results = [
        tune(str(small_model), split.train, split.val, tmp_path / name, seed=seed, **options)
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert not any(result.kept_base for result in results)
    trained = [weights(tmp_path / name) for name in "abc"]
    assert trained[0] == trained[1] != trained[2]


def test_training_teaches_and_the_best_step_is_kept(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """On words held back from training in these combinations, measured by `evaluate` afterwards."""
    split = code_words.split(val=0.3, test=0)
    options = {"batch_size": 8, "learning_rate": 1e-3, "epochs": 6, "validations_per_epoch": 1, **QUICK}
    result = tune(str(small_model), split.train, split.val, tmp_path / "m", **options)
    values = [point.metrics["ndcg@10"] for point in result.history]
    assert len(values) == 8  # base, six checkpoints, half way
    assert result.record.metrics_after["ndcg@10"] == max(values) > values[0] + 0.2
    assert split.val is not None
    measured = evaluate(str(tmp_path / "m"), split.val).metrics["ndcg@10"]
    assert measured == pytest.approx(max(values), abs=1e-6)


@pytest.mark.slow
def test_cross_validation_chooses_and_the_last_run_learns_from_everything(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    result = tune(
        str(small_model), code_words, path=tmp_path / "m", batch_size=8, learning_rate=1e-3, epochs=4, **QUICK
    )
    assert result.n_pairs == len(code_words)
    assert not result.kept_base
    assert evaluate(str(tmp_path / "m"), code_words).hit_rate > evaluate(str(small_model), code_words).hit_rate + 0.2


@pytest.mark.slow
def test_other_functions_of_the_same_base_score_the_same_afterwards(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    """Trap 19: within one process, before and after a tuning of the same name."""
    before = evaluate(str(small_model), code_words).metrics
    tune(str(small_model), code_words, path=tmp_path / "m", learning_rate=1e-3, **QUICK)
    assert evaluate(str(small_model), code_words).metrics == before


def test_the_base_is_kept_where_no_step_is_better(small_model: Path, tmp_path: Path) -> None:
    """Trap 23: a rate that wrecks the model, and step 0 among the candidates."""
    split = tiny_dataset(8).split(val=0.25, test=0)
    result = tune(str(small_model), split.train, split.val, tmp_path / "m", learning_rate=0.9, epochs=3, **QUICK)
    assert result.kept_base
    assert result.record.chosen_step == 0
    assert result.record.metrics_after == result.record.metrics_before
    assert evaluate(str(tmp_path / "m"), split.val).metrics == evaluate(str(small_model), split.val).metrics


@pytest.mark.slow
def test_a_loaded_model_given_as_base_stays_as_it_is(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """Trap 19: the base scored by the tuned weights."""
    model = SentenceTransformer(str(small_model), device="cpu")
    before = model.encode("a text").tolist()
    tune(model, code_words, path=tmp_path / "m", learning_rate=1e-3, **QUICK)
    assert model.encode("a text").tolist() == before


@pytest.mark.slow
def test_small_sets_are_validated_by_all_their_queries(small_model: Path, tmp_path: Path) -> None:
    """Cross-validation: each query is held back once."""
    result = tune(str(small_model), tiny_dataset(8), path=tmp_path / "m", **QUICK)
    assert result.record.configuration["cross_validation_folds"] == 3
    assert result.record.configuration["validation_queries"] == 16


@pytest.mark.slow
def test_the_share_of_chunks_cut_is_told(small_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Trap 22, with texts of a hundred thousand characters."""
    data = tiny_dataset(4)
    long = QADataset(data.queries, {c: text + " more" * 20_000 for c, text in data.corpus.items()}, data.relevant_docs)
    with caplog.at_level(logging.WARNING):
        result = tune(str(small_model), long, path=tmp_path / "m", **QUICK)
    assert result.truncated_share == 1.0
    assert "100.0% of the training chunks were cut, now 100.0%" in caplog.text


def test_all_plugins_hear_of_training(small_model: Path, tmp_path: Path) -> None:
    """And one that raises stops nothing."""
    heard: list[TrainingEvent] = []

    class Listener:
        @hookimpl
        def embedtune_training_event(self, event: TrainingEvent) -> None:
            heard.append(event)
            raise RuntimeError("no")

    manager = PluginManager()
    manager.register(Listener(), "listener", "test 1")
    split = tiny_dataset(8).split(val=0.25, test=0)
    tune(str(small_model), split.train, split.val, tmp_path / "m", plugins=manager, batch_size=4, epochs=1, **QUICK)
    assert [event.kind for event in heard] == ["start", "step", "step", "validation", "end"]
    assert heard[1].loss is None or heard[1].loss > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_siez": 8}, r"has no option 'batch_siez'. Options: batch_size, learning_rate"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"learning_rate": 0}, "learning_rate must be above 0"),
        ({"metric": "accuracy"}, "metric: No metric 'accuracy'"),
        ({"precision": "fp16"}, "precision must be one of 'auto', 'fp32', 'bf16'; got 'fp16'"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    """Trap 26: an option that is dropped in silence is worse than an error."""
    with pytest.raises(TuningError, match=message):
        tune("anything", tiny_dataset(), path=tmp_path / "m", **options)
    assert not list(tmp_path.iterdir())


def test_a_missing_base_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model folder at"):
        tune(str(tmp_path / "nowhere"), tiny_dataset(), path=tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_leaking_validation_set_is_refused(small_model: Path, tmp_path: Path) -> None:
    """Trap 1."""
    data = tiny_dataset(8)
    with pytest.raises(TuningError, match="not independent of the training set: shared are 16 query texts"):
        tune(str(small_model), data, data, tmp_path / "m", **QUICK)


def test_a_folder_that_is_not_ours_is_left_alone(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelFolderError, match=r"was not written by embedtune \(it holds 'thesis.txt'"):
        tune(str(small_model), tiny_dataset(), path=tmp_path / "mine", **QUICK)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine", "thesis.txt"]


def test_one_pair_is_refused(small_model: Path, tmp_path: Path) -> None:
    one = QADataset({"q": "how?"}, {"c": "so"}, {"q": ["c"]})
    with pytest.raises(TuningError, match="at least 2 pairs of query and chunk to tell apart; got 1"):
        tune(str(small_model), one, path=tmp_path / "m", **QUICK)


def test_questions_on_one_chunk_are_refused(small_model: Path, tmp_path: Path) -> None:
    data = QADataset({"a": "how?", "b": "why?"}, {"c": "so"}, {"a": ["c"], "b": ["c"]})
    with pytest.raises(TuningError, match="form one connected group"):
        tune(str(small_model), data, path=tmp_path / "m", **QUICK)


@pytest.mark.slow
def test_a_tuned_model_is_replaced_by_the_next(small_model: Path, tmp_path: Path) -> None:
    for seed in (1, 2):
        tune(str(small_model), tiny_dataset(8), path=tmp_path / "m", seed=seed, **QUICK)
    assert read_record(tmp_path / "m").configuration["seed"] == 2  # type: ignore[union-attr]
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_bf16_is_detected_and_never_assumed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Trap 20: emulated on a processor without it, a hundred times slower."""
    import torch

    for probe in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.setattr(torch.cpu, probe, lambda: False, raising=False)
    assert chosen_precision("auto", "cpu") == "fp32"  # without bf16 it is a safe path, not an error
    with pytest.raises(TuningError, match="needs a GPU with bf16, or a processor with AMX or AVX512-BF16"):
        chosen_precision("bf16", "cpu")


@pytest.mark.slow
def test_a_loaded_model_still_knows_what_it_has_seen(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    """As the README loads it: no comparison on its own training questions says "ship"."""
    tune(str(small_model), code_words, path=tmp_path / "m", batch_size=16, learning_rate=1e-3, **QUICK)
    comparison = compare(
        SentenceTransformer(str(small_model), device="cpu"),
        SentenceTransformer(str(tmp_path / "m"), device="cpu"),
        code_words,
    )
    assert comparison.n_seen == len(code_words)
    assert comparison.verdict != "ship"


@pytest.mark.slow
def test_a_model_tuned_twice_has_seen_both_sets(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    tune(str(small_model), code_words, path=tmp_path / "first", **QUICK)
    tune(str(tmp_path / "first"), tiny_dataset(8), path=tmp_path / "second", **QUICK)
    assert evaluate(str(tmp_path / "second"), code_words).n_seen == len(code_words)
    assert evaluate(str(tmp_path / "second"), tiny_dataset(8)).n_seen == 16


@pytest.mark.parametrize("broken", ["model.safetensors", "config.json", "modules.json", "tokenizer.json"])
def test_a_broken_base_is_named(small_model: Path, tmp_path: Path, broken: str) -> None:
    """And no framework's traceback."""
    shutil.copytree(small_model, tmp_path / "base")
    content = (tmp_path / "base" / broken).read_bytes()
    (tmp_path / "base" / broken).write_bytes(content[: len(content) // 2])
    with pytest.raises(EmbedtuneError, match=r"model .*base'"):
        tune(str(tmp_path / "base"), tiny_dataset(8), path=tmp_path / "m", **QUICK)
    assert not (tmp_path / "m").exists()


def test_weights_in_a_pickle_are_not_loaded(small_model: Path, tmp_path: Path) -> None:
    """A pickle can run code."""
    shutil.copytree(small_model, tmp_path / "base")
    (tmp_path / "base" / "model.safetensors").rename(tmp_path / "base" / "pytorch_model.bin")
    with pytest.raises(EmbedtuneError, match=r"Cannot load the model .*: save the model as safetensors"):
        tune(str(tmp_path / "base"), tiny_dataset(8), path=tmp_path / "m", **QUICK)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": "8"}, "batch_size must be a whole number or None; got '8'"),
        ({"batch_size": True}, "batch_size must be a whole number or None; got True"),
        ({"freeze_layers": 0.5}, "freeze_layers must be a whole number; got 0.5"),
        ({"learning_rate": float("nan")}, "learning_rate must be a number or None; got nan"),
        ({"matryoshka_dims": 64}, r"matryoshka_dims must be whole numbers such as \(256, 128\); got 64"),
        ({"interpolations": ("half",)}, r"interpolations must be numbers such as \(0.25, 0.5\); got \('half',\)"),
        ({"metric": None}, "metric must be text; got None"),
        ({"seed": -1}, "seed must be a whole number"),
        ({"seed": "x"}, "seed must be a whole number"),
    ],
)
def test_options_of_a_wrong_type_are_refused(tmp_path: Path, options: dict[str, object], said: str) -> None:
    with pytest.raises(TuningError, match=said):
        tune("anything", tiny_dataset(), path=tmp_path / "m", **options)
