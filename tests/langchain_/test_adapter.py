"""A query adapter in LangChain: queries mapped, documents as they were, over any ``Embeddings``."""

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.language_models import FakeListChatModel
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pydantic import ValidationError

from embedtune import EmbeddingError, ModelNotFoundError, QADataset, TuningError, as_embedder, evaluate, read_record
from embedtune.testing import EmbedderContract, HashEmbedder
from langchain_embedtune import EmbedtuneEmbeddings, finetune
from query_adapters import adapter_over, code_words, directions_apart, mapped
from small_models import tiny_model


class Words(Embeddings):
    """A model of another provider, which LangChain alone knows."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return HashEmbedder().embed_documents(texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        return self.embed_documents([text])[0]


@pytest.fixture(scope="module")
def over_words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter over an object."""
    return adapter_over(Words(), tmp_path_factory.mktemp("adapters") / "words")


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, loaded and learned from in a second."""
    known = code_words()
    words = " ".join([*known.queries.values(), *known.corpus.values()]).split()
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", words, query="ask: ", document="read: ")


@pytest.fixture(scope="module")
def over_tiny(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter over a folder."""
    folder = tmp_path_factory.mktemp("adapters") / "over"
    finetune(code_words(), tiny, path=folder, tuner="adapter", progress=False)
    return folder


class TestOfAForeignModel(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _adapter(self, over_words: Path) -> None:
        self.adapter = over_words

    def make(self) -> object:
        return as_embedder(EmbedtuneEmbeddings(model=Words(), adapter=self.adapter))


class OurModel:
    """What LangChain's own suites ask for."""

    @pytest.fixture(autouse=True)
    def _folders(self, tiny: Path, over_tiny: Path) -> None:
        self.folders = {"model": str(tiny), "adapter": str(over_tiny), "device": "cpu"}

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbedtuneEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return self.folders


class TestUnit(OurModel, EmbeddingsUnitTests):
    pass


class TestIntegration(OurModel, EmbeddingsIntegrationTests):
    pass


def test_queries_are_mapped_and_documents_are_the_models_own(over_words: Path) -> None:
    ours = EmbedtuneEmbeddings(model=Words(), adapter=over_words)
    assert ours.embed_query("apple") == mapped(HashEmbedder(), over_words, "apple")
    assert directions_apart(ours.embed_query("apple"), Words().embed_query("apple")) > 1e-4
    assert ours.embed_documents(["apple", "river"]) == Words().embed_documents(["apple", "river"])


def test_any_embeddings_are_tuned_and_given_back_with_the_adapter(tmp_path: Path) -> None:
    base = Words()
    tuned = finetune(code_words(), base, path=tmp_path / "a", tuner="adapter", progress=False)
    assert isinstance(tuned, EmbedtuneEmbeddings)
    assert (tuned.model, tuned.adapter) == (base, str(tmp_path / "a"))
    assert tuned.record == read_record(tmp_path / "a")
    assert tuned.record is not None
    assert tuned.record.base_model == "a Words"
    assert evaluate(tuned, code_words()).metrics["mrr@10"] > evaluate(base, code_words()).metrics["mrr@10"] + 0.05
    assert evaluate(tuned, code_words()).n_seen == len(code_words())


def test_a_store_that_is_there_is_searched_with_it(over_words: Path) -> None:
    """Its vectors are the base model's."""
    documents = [Document(text) for text in code_words().corpus.values()]
    store = InMemoryVectorStore.from_documents(documents, Words())
    before = evaluate(store, code_words()).metrics["mrr@10"]
    store.embedding = EmbedtuneEmbeddings(model=Words(), adapter=over_words)
    assert evaluate(store, code_words()).metrics["mrr@10"] > before + 0.05


def test_where_nothing_can_be_learned_the_base_is_given_back(tmp_path: Path) -> None:
    """Its vectors are noise, the same for the same text."""
    base = DeterministicFakeEmbedding(size=16)
    tuned = finetune(code_words(), base, path=tmp_path / "a", tuner="adapter", progress=False)
    assert tuned.record is not None
    assert tuned.record.kept_base
    assert tuned.embed_query("apple") == pytest.approx(base.embed_query("apple"), rel=1e-6)


def test_documents_and_a_chat_model_do_as_well(tmp_path: Path) -> None:
    known = code_words()
    documents = [Document(text, metadata={"source": f"{i}.md"}) for i, text in enumerate(known.corpus.values())]
    answers = [f"1. Where is {query}?\n2. Who has {query} now?" for query in known.queries.values()]
    path = tmp_path / "a"
    tuned = finetune(
        documents,
        Words(),
        path=path,
        llm=FakeListChatModel(responses=answers),
        llm_options={"progress": False},
        tuner="adapter",
        progress=False,
    )
    assert tuned.adapter == str(path)
    assert evaluate(tuned, QADataset.load(tmp_path / "a.test.json")).n_seen == 0


def test_a_model_that_does_not_answer_is_told_before_the_llm_is_asked(tmp_path: Path) -> None:
    class Refused(Words):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            raise ConnectionError("no such key")

    llm = FakeListChatModel(responses=["1. Where is it?"])
    with pytest.raises(ConnectionError, match="no such key"):
        finetune([Document("a"), Document("b")], Refused(), path=tmp_path / "a", llm=llm, tuner="adapter")
    assert llm.i == 0
    assert list(tmp_path.iterdir()) == []


def test_trap_26_an_option_of_another_tuner_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="AdapterTuner has no option 'learning_rate'"):
        finetune(code_words(), Words(), path=tmp_path / "a", tuner="adapter", learning_rate=1e-3)


def test_over_a_folder_the_adapter_alone_is_enough(tiny: Path, over_tiny: Path) -> None:
    both = EmbedtuneEmbeddings(model=tiny, adapter=over_tiny, device="cpu")
    assert both.embed_query("apple") == mapped(EmbedtuneEmbeddings(model=tiny).embedder, over_tiny, "apple")
    for alone in ({"adapter": over_tiny}, {"model": over_tiny}, {"model": f"adapter:{over_tiny}"}):
        ours = EmbedtuneEmbeddings(**alone)
        assert (ours.model, ours.adapter) == (str(tiny), str(over_tiny))
        assert ours.fingerprint == both.fingerprint == ours.embedder.fingerprint
        assert ours.embed_query("apple") == both.embed_query("apple")


def test_settings_of_the_base_are_those_that_the_adapter_is_learned_with(tiny: Path, tmp_path: Path) -> None:
    base = EmbedtuneEmbeddings(model=tiny, device="cpu", truncate_dim=32)
    tuned = finetune(code_words(), base, path=tmp_path / "a", tuner="adapter", progress=False)
    assert (tuned.model, tuned.truncate_dim, len(tuned.embed_query("apple"))) == (str(tiny), 32, 32)
    assert tuned.embed_documents(["apple"]) == base.embed_documents(["apple"])


def test_the_fingerprint_and_record_are_the_adapters(tiny: Path, over_tiny: Path) -> None:
    ours, base = EmbedtuneEmbeddings(model=tiny, adapter=over_tiny), EmbedtuneEmbeddings(model=tiny)
    assert ours.fingerprint != base.fingerprint
    assert ours.record_folder == over_tiny
    assert ours.record is not None
    assert ours.record.fingerprint == ours.fingerprint
    assert ours.record.base_fingerprint == base.fingerprint


def test_a_copy_may_drop_the_adapter_and_one_without_an_update_shares(tiny: Path, over_tiny: Path) -> None:
    ours = EmbedtuneEmbeddings(adapter=over_tiny)
    assert ours.model_copy().embedder is ours.embedder is copy.deepcopy(ours).embedder
    plain = ours.model_copy(update={"adapter": None})
    assert (plain.model, plain.adapter) == (str(tiny), None)
    assert plain.fingerprint == EmbedtuneEmbeddings(model=tiny).fingerprint


def test_trap_27_it_pickles_as_absolute_folders(over_tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(over_tiny.parent)
    ours = EmbedtuneEmbeddings(adapter=Path("over"))
    pickled = pickle.dumps(ours)
    monkeypatch.chdir("/")
    arrived = pickle.loads(pickled)
    assert len(pickled) < 2_000
    assert arrived.adapter == str(over_tiny)
    assert arrived.fingerprint == ours.fingerprint
    assert arrived.embed_query("apple") == pytest.approx(ours.embed_query("apple"), abs=1e-6)


def test_a_missing_adapter_is_told_when_it_is_named(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No adapter folder at"):
        EmbedtuneEmbeddings(model=tiny, adapter=tmp_path / "missing")
    with pytest.raises(ValidationError, match="No adapter in"):
        EmbedtuneEmbeddings(model=tiny, adapter=tiny)


def test_an_adapter_of_an_object_needs_the_object(over_words: Path) -> None:
    with pytest.raises(ValidationError, match=r"trained on a Words, an object.*Give the object too, as model="):
        EmbedtuneEmbeddings(adapter=over_words)


def test_another_models_adapter_is_refused_at_once_where_fingerprints_are_known(
    prompted: Path, over_tiny: Path
) -> None:
    with pytest.raises(ValidationError, match="The adapter was trained on another embedder: this one has fingerprint"):
        EmbedtuneEmbeddings(model=prompted, adapter=over_tiny)


def test_another_models_adapter_is_refused_at_the_first_query_where_they_are_not(over_words: Path) -> None:
    ours = EmbedtuneEmbeddings(model=DeterministicFakeEmbedding(size=64), adapter=over_words)
    with pytest.raises(EmbeddingError, match="whose cosine with that of training is"):
        ours.embed_query("apple")


@pytest.mark.parametrize("tuner", ["adapter", "sentence-transformers"])
def test_what_has_an_adapter_is_not_tuned(tuner: str, tiny: Path, over_tiny: Path, tmp_path: Path) -> None:
    """Tuned weights would not fit the adapter; dropped, nobody would hear of it."""
    for base in (EmbedtuneEmbeddings(adapter=over_tiny), over_tiny):
        with pytest.raises(TuningError, match=f"base has an adapter, '{over_tiny}'.*Tune the model: base='{tiny}'"):
            finetune(code_words(), base, path=tmp_path / "a", tuner=tuner)
