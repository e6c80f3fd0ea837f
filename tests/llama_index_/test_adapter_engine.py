"""The adapter engine: queries mapped, chunks as they were, over any model; every argument counts or is told."""

import asyncio
import copy
import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from llama_index.core import MockEmbedding, VectorStoreIndex
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.schema import TextNode

from embedtune import (
    DatasetError,
    EmbeddingError,
    ModelFolderError,
    ModelNotFoundError,
    TuningError,
    as_embedder,
    evaluate,
    read_record,
)
from embedtune.testing import EmbedderContract, HashEmbedder
from llama_index.embeddings.embedtune import (
    EmbeddingAdapterFinetuneEngine,
    EmbeddingQAFinetuneDataset,
    EmbedtuneEmbedding,
)
from query_adapters import code_words, directions_apart, mapped
from small_models import tiny_model


class Words(BaseEmbedding):
    """A model of another provider, which LlamaIndex alone knows."""

    def _get_query_embedding(self, query: str) -> list[float]:
        return HashEmbedder().embed_queries([query])[0].tolist()

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return HashEmbedder().embed_documents([text])[0].tolist()


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory) -> EmbeddingAdapterFinetuneEngine:
    """An engine that has tuned once, over a foreign model."""
    folder = tmp_path_factory.mktemp("models") / "adapter"
    dataset = EmbeddingQAFinetuneDataset.from_qa_dataset(code_words())
    engine = EmbeddingAdapterFinetuneEngine(dataset, Words(embed_batch_size=7), model_output_path=str(folder), dim=64)
    engine.finetune(seed=3)
    return engine


@pytest.fixture
def engine(tmp_path: Path) -> EmbeddingAdapterFinetuneEngine:
    """One that has not tuned."""
    return EmbeddingAdapterFinetuneEngine(code_words(), Words(), model_output_path=str(tmp_path / "adapter"))


class TestOfAForeignModel(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _tuned(self, tuned: EmbeddingAdapterFinetuneEngine) -> None:
        self.tuned = tuned

    def make(self) -> object:
        return as_embedder(self.tuned.get_finetuned_model())


def test_queries_are_mapped_and_texts_are_the_models_own(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    model, base = tuned.get_finetuned_model(), Words()
    assert isinstance(model, EmbedtuneEmbedding)
    folder = Path(tuned.model_output_path)
    assert model.get_query_embedding("apple") == mapped(HashEmbedder(), folder, "apple")
    assert asyncio.run(model.aget_query_embedding("apple")) == model.get_query_embedding("apple")
    assert directions_apart(model.get_query_embedding("apple"), base.get_query_embedding("apple")) > 1e-4
    texts = ["apple", "river"]
    assert model.get_text_embedding_batch(texts) == base.get_text_embedding_batch(texts)


def test_it_finds_what_it_has_learned_in_an_index_that_was_there(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    """The index is of the base model; only what embeds its queries is another."""
    known = code_words()
    nodes = [TextNode(text=text, id_=chunk) for chunk, text in known.corpus.items()]
    index = VectorStoreIndex(nodes, embed_model=Words())
    base = evaluate(index.as_retriever(), known, top_k=10).metrics["mrr@10"]
    adapted = index.as_retriever(embed_model=tuned.get_finetuned_model())
    assert evaluate(adapted, known, top_k=10).metrics["mrr@10"] > base + 0.05
    for thing in (adapted, tuned.get_finetuned_model()):
        assert evaluate(thing, known).n_seen == len(known)


def test_the_record_tells_what_was_tuned(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    record = read_record(tuned.model_output_path)
    assert record is not None
    assert tuned.result is not None
    assert record == tuned.result.record == tuned.get_finetuned_model().record
    assert (record.base_model, record.configuration["seed"]) == ("a Words", 3)


def test_a_batch_is_of_the_models_size_unless_told(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    assert tuned.get_finetuned_model().embed_batch_size == 7
    assert tuned.get_finetuned_model(embed_batch_size=5).embed_batch_size == 5


def test_trap_26_model_kwargs_are_used_or_refused(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    with pytest.raises(EmbeddingError, match="has no setting 'transform_query'"):
        tuned.get_finetuned_model(transform_query=False)
    with pytest.raises(EmbeddingError, match="'device' are for a model given by reference; this one is loaded"):
        tuned.get_finetuned_model(device="cpu")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"adapter_model": torch.nn.Linear(2, 2)},
            "adapter_model=.* cannot be honoured. The adapter is one linear map",
        ),
        ({"bias": True}, "bias=True cannot be honoured. The map has none"),
        ({"model_checkpoint_path": "c"}, "model_checkpoint_path='c' cannot be honoured. There are no checkpoints"),
        ({"dim": 32}, "dim=32 is not that of embed_model, which gives 64 numbers: leave dim out"),
        ({"batch_size": 0}, "batch_size must be a whole number of at least 1; got 0"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1; got 0"),
        ({"checkpoint_save_steps": 0.5}, "checkpoint_save_steps must be a whole number of at least 1; got 0.5"),
    ],
)
def test_trap_26_what_cannot_be_honoured_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TuningError, match=message):
        EmbeddingAdapterFinetuneEngine(code_words(), Words(), **arguments)


def test_trap_26_what_sets_only_the_way_there_is_told_to_have_no_effect(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        EmbeddingAdapterFinetuneEngine(code_words(), Words(), 10, 1, dim=64)
        assert caplog.text == ""
        EmbeddingAdapterFinetuneEngine(code_words(), Words(), batch_size=32, epochs=4, device="cuda")
    assert "batch_size=32, epochs=4, device='cuda' has no effect: how long the map is trained is chosen" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lr": 0.1}, "AdapterTuner has no option 'lr'. Options: metric, folds, cache, progress"),
        ({"path": "elsewhere"}, "'path' is set in the constructor"),
    ],
)
def test_trap_26_an_unknown_train_kwarg_is_an_error(
    arguments: dict[str, Any], message: str, engine: EmbeddingAdapterFinetuneEngine, tmp_path: Path
) -> None:
    with pytest.raises(TuningError, match=message):
        engine.finetune(**arguments)
    assert list(tmp_path.iterdir()) == []


def test_train_kwargs_of_the_constructor_reach_the_tuner(tmp_path: Path) -> None:
    split = code_words().split(val=0.3, test=0)
    engine = EmbeddingAdapterFinetuneEngine(
        split.train, Words(), model_output_path=str(tmp_path / "a"), val_dataset=split.val, metric="mrr@5"
    )
    engine.finetune()
    assert engine.result is not None
    assert split.val is not None
    told = engine.result.record.configuration
    assert (told["metric"], told["validation_queries"], told["cross_validation_folds"]) == ("mrr@5", len(split.val), 0)


@pytest.mark.parametrize("verbose", [True, False])
def test_bars_are_shown_if_verbose(verbose: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EmbeddingAdapterFinetuneEngine(
        code_words(), Words(), model_output_path=str(tmp_path / "a"), verbose=verbose
    ).finetune()
    assert ("fold 1/3" in capsys.readouterr().err) == verbose


def test_an_adapter_that_is_there_is_used_without_tuning(tuned: EmbeddingAdapterFinetuneEngine, tmp_path: Path) -> None:
    engine = EmbeddingAdapterFinetuneEngine.from_model_path(
        code_words(), Words(), tuned.model_output_path, model_output_path=str(tmp_path / "new")
    )
    found = engine.get_finetuned_model().get_query_embedding("apple")
    assert found == tuned.get_finetuned_model().get_query_embedding("apple")
    assert list(tmp_path.iterdir()) == []


def test_tuning_after_it_begins_at_the_identity_and_says_so(
    tuned: EmbeddingAdapterFinetuneEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    engine = EmbeddingAdapterFinetuneEngine.from_model_path(
        code_words(), Words(), tuned.model_output_path, model_output_path=str(tmp_path / "new")
    )
    engine.finetune(seed=3)
    assert "trained anew from the identity, not on from" in caplog.text
    assert engine.get_finetuned_model().adapter == str(tmp_path / "new")
    again = engine.get_finetuned_model().get_query_embedding("apple")
    assert again == tuned.get_finetuned_model().get_query_embedding("apple"), "same data and seed, same map"


def test_what_is_no_adapter_of_the_model_is_told_by_from_model_path(
    tuned: EmbeddingAdapterFinetuneEngine, tmp_path: Path
) -> None:
    from_path = EmbeddingAdapterFinetuneEngine.from_model_path
    with pytest.raises(ModelNotFoundError, match="No adapter folder at"):
        from_path(code_words(), Words(), str(tmp_path / "none"))
    with pytest.raises(ModelFolderError, match="No adapter in"):
        from_path(code_words(), Words(), str(tmp_path))
    with pytest.raises(TuningError, match=r"model_cls=.*needs no class: leave it out"):
        from_path(code_words(), Words(), tuned.model_output_path, torch.nn.Linear)
    other = from_path(code_words(), MockEmbedding(64), tuned.model_output_path).get_finetuned_model()
    with pytest.raises(EmbeddingError, match="The adapter was trained on another embedder"):
        other.get_query_embedding("apple")


def test_trap_27_the_folder_is_that_of_the_constructor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = EmbeddingAdapterFinetuneEngine(code_words(), Words())
    monkeypatch.chdir("/")
    with pytest.raises(ModelNotFoundError, match=rf"no adapter at '{tmp_path}/model_output' yet: call finetune"):
        engine.get_finetuned_model()


def test_a_folder_that_is_not_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ModelFolderError):
        EmbeddingAdapterFinetuneEngine(code_words(), Words(), model_output_path=str(tmp_path)).finetune()
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_what_is_no_data_set_is_told_by_the_constructor() -> None:
    with pytest.raises(DatasetError, match="val_dataset must have the mappings queries, corpus and relevant_docs"):
        EmbeddingAdapterFinetuneEngine(code_words(), Words(), val_dataset=3)


def test_trap_1_a_val_dataset_on_the_chunks_of_training_is_refused(tmp_path: Path) -> None:
    engine = EmbeddingAdapterFinetuneEngine(
        code_words(), Words(), model_output_path=str(tmp_path / "a"), val_dataset=code_words()
    )
    with pytest.raises(TuningError, match="shared"):
        engine.finetune()


def test_a_model_of_an_object_with_an_adapter_is_pickled_but_in_no_file(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    model = tuned.get_finetuned_model()
    for again in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert again.get_query_embedding("apple") == model.get_query_embedding("apple")
    assert model.to_dict()["adapter"] == tuned.model_output_path
    with pytest.raises(ModelFolderError, match=r"trained on a Words, an object.*Give the object too, as model="):
        EmbedtuneEmbedding.from_dict(model.to_dict())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, loaded and learned from in a second."""
    known = code_words()
    words = " ".join([*known.queries.values(), *known.corpus.values()]).split()
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", words, query="ask: ", document="read: ")


@pytest.fixture(scope="module")
def over_folder(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter over a model of embedtune's own class, known by its folder."""
    folder = tmp_path_factory.mktemp("models") / "over"
    base = EmbedtuneEmbedding(tiny, device="cpu")
    engine = EmbeddingAdapterFinetuneEngine(code_words(), base, model_output_path=str(folder))
    engine.finetune()
    model = engine.get_finetuned_model()
    assert (model.model, model.options, model.adapter) == (str(tiny), {"device": "cpu"}, str(folder))
    loaded: Any = model.embedder
    assert loaded.embedder.embedder is base.embedder, "one copy of the weights"
    return folder


def test_over_a_folder_a_dictionary_or_json_of_it_gives_the_same_model(tiny: Path, over_folder: Path) -> None:
    embedding = EmbedtuneEmbedding(tiny, adapter=over_folder, device="cpu")
    base = EmbedtuneEmbedding(tiny, device="cpu")
    assert embedding.model_name == f"tiny+over@{embedding.fingerprint}" != base.model_name
    assert embedding.record == read_record(over_folder)
    for again in (
        EmbedtuneEmbedding.from_dict(embedding.to_dict()),
        EmbedtuneEmbedding.from_json(embedding.to_json()),
        pickle.loads(pickle.dumps(embedding)),
    ):
        assert again.to_dict() == embedding.to_dict()
        assert again.get_query_embedding("apple") == embedding.get_query_embedding("apple")
        assert again.get_text_embedding("apple") == base.get_text_embedding("apple")


def test_trap_27_an_adapter_alone_by_a_relative_path_is_enough(
    tiny: Path, over_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(over_folder.parent)
    embedding = EmbedtuneEmbedding(adapter="over")
    assert (embedding.model, embedding.adapter) == (str(tiny), str(over_folder))
    assert EmbedtuneEmbedding("over").to_dict() == embedding.to_dict()


def test_another_models_adapter_is_refused_at_once(minilm: Path, over_folder: Path) -> None:
    with pytest.raises(EmbeddingError, match="The adapter was trained on another embedder: this one has fingerprint"):
        EmbedtuneEmbedding(minilm, adapter=over_folder)
    with pytest.raises(EmbeddingError, match=r"another model, or other settings \(dimensions"):
        EmbedtuneEmbedding(adapter=over_folder, truncate_dim=8)


def test_an_adapter_over_an_adapter_is_refused(tiny: Path, over_folder: Path) -> None:
    adapted = EmbedtuneEmbedding(tiny, adapter=over_folder)
    with pytest.raises(TuningError, match=f"embed_model has an adapter already, '{over_folder}'"):
        EmbeddingAdapterFinetuneEngine(code_words(), adapted)


def test_the_adapter_cannot_be_changed_later(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    model = tuned.get_finetuned_model()
    with pytest.raises(EmbeddingError, match="'adapter' of an EmbedtuneEmbedding cannot be changed"):
        model.adapter = None


def test_vectors_of_queries_keep_their_length(tuned: EmbeddingAdapterFinetuneEngine) -> None:
    lengths = [
        np.linalg.norm(model.get_query_embedding("apple river")) for model in (Words(), tuned.get_finetuned_model())
    ]
    assert lengths[1] == pytest.approx(lengths[0], rel=1e-5)
