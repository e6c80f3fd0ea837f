"""The fine-tuning engine: every argument reaches the tuner or is refused, and the result is LlamaIndex's to use."""

import ast
from pathlib import Path
from typing import Any

import pytest
import torch
from llama_index.core import VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode

from embedtune import (
    EmbeddingError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    TuningError,
    evaluate,
    read_record,
)
from embedtune.testing import tiny_dataset
from llama_index.embeddings.embedtune import (
    EmbeddingQAFinetuneDataset,
    EmbedtuneEmbedding,
    SentenceTransformersFinetuneEngine,
)
from rooms import ADAPTERS

QUICK: dict[str, Any] = {"device": "cpu", "show_progress_bar": False, "epochs": 1, "batch_size": 8}


def half(first: bool) -> EmbeddingQAFinetuneDataset:
    """Four chunks of eight, with their questions."""
    known = tiny_dataset(8)
    chunks = list(known.corpus)[:4] if first else list(known.corpus)[4:]
    queries = [query for query, found in known.relevant_docs.items() if found[0] in chunks]
    return EmbeddingQAFinetuneDataset.from_qa_dataset(known.subset(queries, chunks))


@pytest.fixture(scope="module")
def tuned(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> SentenceTransformersFinetuneEngine:
    """An engine that has tuned once, at a rate that shows."""
    folder = tmp_path_factory.mktemp("models") / "tuned"
    engine = SentenceTransformersFinetuneEngine(
        half(True), str(small_model), str(folder), val_dataset=half(False), **QUICK
    )
    engine.finetune(learning_rate=5e-3, seed=3)
    return engine


def configuration(engine: SentenceTransformersFinetuneEngine) -> dict[str, Any]:
    assert engine.result is not None
    return dict(engine.result.record.configuration)


def test_it_gives_an_embedding_of_llama_index_that_remembers_its_tuning(
    tuned: SentenceTransformersFinetuneEngine, small_model: Path
) -> None:
    model = tuned.get_finetuned_model()
    assert isinstance(model, BaseEmbedding)
    assert isinstance(model, EmbedtuneEmbedding)
    assert model.record == read_record(tuned.model_output_path)
    assert configuration(tuned)["seed"] == 3, "train_kwargs reach the tuner"
    assert model.record is not None
    assert model.fingerprint == model.record.fingerprint != EmbedtuneEmbedding(small_model).fingerprint


def test_rows_that_it_has_seen_are_marked_also_through_an_index(
    tuned: SentenceTransformersFinetuneEngine, caplog: pytest.LogCaptureFixture
) -> None:
    known, model = tiny_dataset(8), tuned.get_finetuned_model()
    index = VectorStoreIndex([], embed_model=model)
    index.insert_nodes([TextNode(text=text, id_=chunk) for chunk, text in known.corpus.items()])
    for thing in (model, index, index.as_retriever()):
        assert evaluate(thing, known).n_seen == 16
    assert "its score is flattered" in caplog.text


def test_the_attributes_that_are_kept(tuned: SentenceTransformersFinetuneEngine, small_model: Path) -> None:
    assert isinstance(tuned.dataset, EmbeddingQAFinetuneDataset)
    assert (tuned.model_id, tuned.loss, tuned.epochs) == (str(small_model), None, 1)
    assert Path(tuned.model_output_path).is_dir()
    assert type(tuned.model).__name__ == "SentenceTransformer"
    for name in ("examples", "loader", "evaluator"):
        assert not hasattr(tuned, name)


def test_trap_21_prompts_are_used_in_training_and_saved(tuned: SentenceTransformersFinetuneEngine) -> None:
    assert {"query": "ask: ", "document": "read: "}.items() <= tuned.model.prompts.items()


def test_the_model_is_the_base_until_it_is_tuned(small_model: Path, tmp_path: Path) -> None:
    engine = SentenceTransformersFinetuneEngine(half(True), str(small_model), str(tmp_path / "m"), device="cpu")
    assert engine.model is engine.model
    assert engine.model.max_seq_length == 256


@pytest.mark.slow
def test_trap_18_fewer_pairs_than_a_batch_and_no_val_dataset_still_train(small_model: Path, tmp_path: Path) -> None:
    """All questions choose in turn; 0.4.2 needs a val_dataset on sentence-transformers 6."""
    engine = SentenceTransformersFinetuneEngine(
        tiny_dataset(8), str(small_model), str(tmp_path / "m"), **(QUICK | {"batch_size": 100})
    )
    engine.finetune()
    assert engine.result is not None
    assert engine.result.history[-1].step > 0
    assert configuration(engine)["cross_validation_folds"] == 3


@pytest.mark.slow
def test_arguments_reach_the_tuner(small_model: Path, tmp_path: Path) -> None:
    engine = SentenceTransformersFinetuneEngine(
        half(True),
        str(small_model),
        str(tmp_path / "m"),
        batch_size=2,
        val_dataset=half(False),
        loss=None,
        epochs=3,
        show_progress_bar=False,
        evaluation_steps=2,
        use_all_docs=True,
        device=torch.device("cpu"),
        save_checkpoints=True,
        checkpoint_save_steps=3,
        checkpoint_save_total_limit=2,
    )
    engine.finetune()
    assert configuration(engine) | {
        "batch_size": 2,
        "epochs": 3,
        "progress": False,
        "validations_per_epoch": 2,
        "all_answers": True,
        "device": "cpu",
        "checkpoint_steps": 3,
        "trust_remote_code": False,
    } == configuration(engine)
    assert not list(tmp_path.glob("**/checkpoint*"))
    assert [path.name for path in tmp_path.iterdir()] == ["m"], "nothing is written elsewhere"


def test_defaults_are_upstreams_whatever_the_tuners_are(small_model: Path, tmp_path: Path) -> None:
    engine = SentenceTransformersFinetuneEngine(half(True), str(small_model), str(tmp_path / "m"))
    assert engine._options["batch_size"] == 10
    assert engine._options["all_answers"] is False
    assert engine._options["checkpoint_steps"] is None
    assert engine.epochs == 2


@pytest.mark.slow
def test_trap_17_questions_on_one_chunk_teach_without_being_each_others_negatives(
    small_model: Path, tmp_path: Path
) -> None:
    """Four on each of four chunks, all in one batch of the loss that masks them: none is left out to avoid them."""
    corpus = {"a": "cats", "b": "dogs", "c": "birds", "d": "fish"}
    queries = {f"{chunk}{n}": f"{text} {n}" for chunk, text in corpus.items() for n in range(4)}
    train = QADataset(queries, corpus, {query: [query[0]] for query in queries})
    engine = SentenceTransformersFinetuneEngine(
        train, str(small_model), str(tmp_path / "m"), val_dataset=half(False), **(QUICK | {"batch_size": 16})
    )
    engine.finetune()
    assert engine.result is not None
    assert (engine.result.n_pairs, engine.result.history[-1].step) == (16, 1)
    assert configuration(engine)["loss"] is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch_size": 1}, "batch_size must be a whole number of at least 2; got 1"),
        ({"evaluation_steps": -1}, "evaluation_steps must be a whole number of at least 0; got -1"),
        ({"checkpoint_save_steps": 0}, "checkpoint_save_steps must be a whole number of at least 1; got 0"),
        ({"checkpoint_save_total_limit": None}, "checkpoint_save_total_limit must be a whole number"),
    ],
)
def test_what_cannot_be_meant_is_refused_at_once(
    arguments: dict[str, Any], message: str, small_model: Path, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=message):
        SentenceTransformersFinetuneEngine(half(True), str(small_model), str(tmp_path / "m"), **arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warmup_steps": 10}, "has no option 'warmup_steps'. Options: batch_size"),
        ({"path": "elsewhere"}, "'path' is set in the constructor"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1"),
    ],
)
def test_trap_26_an_unknown_train_kwarg_is_an_error(
    arguments: dict[str, Any], message: str, small_model: Path, tmp_path: Path
) -> None:
    engine = SentenceTransformersFinetuneEngine(half(True), str(small_model), str(tmp_path / "m"))
    with pytest.raises(TuningError, match=message):
        engine.finetune(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_trap_26_model_kwargs_are_used_or_refused(tuned: SentenceTransformersFinetuneEngine) -> None:
    model = tuned.get_finetuned_model(embed_batch_size=7, truncate_dim=16)
    assert model.embed_batch_size == 7
    assert len(model.get_query_embedding("a")) == 16
    with pytest.raises(EmbeddingError, match="has no setting 'normalise'"):
        tuned.get_finetuned_model(normalise=True)


def test_trap_27_the_folder_is_that_of_the_constructor(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = SentenceTransformersFinetuneEngine(half(True), str(small_model), "exp")
    monkeypatch.chdir(small_model)
    with pytest.raises(ModelNotFoundError, match=rf"no tuned model at '{tmp_path}/exp' yet: call finetune"):
        engine.get_finetuned_model()


def test_a_folder_that_is_not_ours_is_left_alone(small_model: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    engine = SentenceTransformersFinetuneEngine(half(True), str(small_model), str(tmp_path))
    with pytest.raises(ModelFolderError):
        engine.finetune()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_missing_base_is_told_by_the_constructor(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model folder"):
        SentenceTransformersFinetuneEngine(half(True), str(tmp_path / "none"))


def test_trap_1_a_val_dataset_on_the_chunks_of_training_is_refused(small_model: Path, tmp_path: Path) -> None:
    engine = SentenceTransformersFinetuneEngine(
        half(True), str(small_model), str(tmp_path / "m"), val_dataset=half(True)
    )
    with pytest.raises(TuningError, match="shared"):
        engine.finetune()


@pytest.mark.slow
def test_a_loss_is_made_of_the_model_in_training(small_model: Path, tmp_path: Path) -> None:
    from sentence_transformers.losses import MultipleNegativesRankingLoss

    models = []

    def loss(model: Any) -> torch.nn.Module:
        models.append(model)
        return MultipleNegativesRankingLoss(model)

    engine = SentenceTransformersFinetuneEngine(
        half(True), str(small_model), str(tmp_path / "m"), val_dataset=half(False), loss=loss, **QUICK
    )
    engine.finetune()
    assert engine.loss is loss
    assert len(models) == 1
    assert "loss" in configuration(engine)["loss"]


def test_no_training_code_stands_here() -> None:
    """Law 3: the engine calls core's `tune`, and names nothing that trains."""
    (room,) = (room for room in ADAPTERS if room.extra == "llama-index")
    names = {n.id for path in room.sources() for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Name)}
    assert "tune" in names
    assert not names & {"torch", "SentenceTransformer", "Trainer"}


def test_trap_27_a_relative_base_is_found_after_a_change_of_the_working_folder(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_model.parent)
    engine = SentenceTransformersFinetuneEngine(half(True), small_model.name, str(tmp_path / "m"), device="cpu")
    monkeypatch.chdir(tmp_path)
    assert engine.model.encode("a").shape == (384,)
