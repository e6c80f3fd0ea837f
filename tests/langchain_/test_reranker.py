"""A tuned cross-encoder where LangChain reranks: as a compressor, and as a cross-encoder for LangChain's own."""

import asyncio
import pickle
from pathlib import Path

import numpy as np
import pytest
from langchain_classic.retrievers import ContextualCompressionRetriever
from langchain_classic.retrievers.document_compressors import CrossEncoderReranker
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from embedtune import ModelNotFoundError
from embedtune.resolve import as_reranker
from embedtune.testing import WordReranker, tiny_dataset
from langchain_embedtune import EmbedtuneReranker
from small_models import first_layer_of, trained_cross_encoder

DOCUMENTS = [Document("blue sky", id="1"), Document("red apples", id="2", metadata={"page": 3}), Document("red")]
QUESTION = "red apples?"


@pytest.fixture(scope="module")
def folder(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cross-encoder that knows the answers of the tiny data set."""
    place = tmp_path_factory.mktemp("models")
    return trained_cross_encoder(first_layer_of(minilm, place / "small"), place / "cross", tiny_dataset())


def texts(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def test_documents_come_best_first_and_only_so_many() -> None:
    reranker = EmbedtuneReranker(model=WordReranker(), top_n=2)
    assert texts(reranker.compress_documents(DOCUMENTS, QUESTION)) == ["red apples", "red"]


def test_of_equal_scores_the_order_found_stays() -> None:
    found = EmbedtuneReranker(model=WordReranker()).compress_documents(DOCUMENTS, "nothing of it")
    assert texts(found) == texts(DOCUMENTS)


def test_documents_keep_id_and_metadata_and_stay_as_they_are() -> None:
    (best,) = EmbedtuneReranker(model=WordReranker(), top_n=1).compress_documents(DOCUMENTS, QUESTION)
    assert (best.id, best.metadata) == ("2", {"page": 3, "relevance_score": 1.0})
    assert DOCUMENTS[1].metadata == {"page": 3}


def test_no_documents_are_no_error() -> None:
    assert EmbedtuneReranker(model=WordReranker()).compress_documents([], QUESTION) == []


def test_a_folder_reranks_in_a_chain_what_its_retriever_finds(folder: Path) -> None:
    dataset = tiny_dataset()
    store = InMemoryVectorStore(DeterministicFakeEmbedding(size=8))
    store.add_texts(list(dataset.corpus.values()))
    chain = ContextualCompressionRetriever(
        base_retriever=store.as_retriever(search_kwargs={"k": 4}),
        base_compressor=EmbedtuneReranker(model=folder, device="cpu", top_n=1),
    )
    query, question = next(iter(dataset.queries.items()))
    answer = dataset.corpus[dataset.relevant_docs[query][0]]
    assert texts(chain.invoke(question)) == [answer]
    assert texts(asyncio.run(chain.ainvoke(question))) == [answer]


def test_langchains_own_reranker_takes_it_as_its_cross_encoder(folder: Path) -> None:
    ours = EmbedtuneReranker(model=folder, device="cpu")
    documents = [Document(text) for text in tiny_dataset().corpus.values()]
    question = next(iter(tiny_dataset().queries.values()))
    theirs = CrossEncoderReranker(model=ours, top_n=3).compress_documents(documents, question)
    assert texts(list(theirs)) == texts(ours.compress_documents(documents, question))


def test_scores_are_the_models_in_the_order_of_the_pairs(folder: Path) -> None:
    pairs = [(question, text) for question in ("a?", "b?") for text in tiny_dataset().corpus.values()]
    scores = EmbedtuneReranker(model=folder, device="cpu").score(pairs)
    np.testing.assert_allclose(scores, as_reranker(folder).score(pairs), atol=1e-5)


def test_embedtune_takes_it_back_as_a_reranker() -> None:
    own = WordReranker()
    assert as_reranker(EmbedtuneReranker(model=own)) is own


def test_it_pickles_as_its_settings(folder: Path) -> None:
    """Weights are loaded where it arrives."""
    reranker = EmbedtuneReranker(model=folder, device="cpu", top_n=1)
    reranker.score([("a", "b")])
    pickled = pickle.dumps(reranker)
    assert len(pickled) < 10_000
    assert pickle.loads(pickled).score([("a", "b")]) == reranker.score([("a", "b")])


def test_nothing_is_loaded_before_the_first_score(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './none'"):
        EmbedtuneReranker(model="./none")
    (tmp_path / "config.json").write_text("{}")
    reranker = EmbedtuneReranker(model=str(tmp_path))
    with pytest.raises(ValueError, match="cannot be loaded"):
        reranker.score([("a", "b")])


@pytest.mark.parametrize(
    ("settings", "told"), [({"top_n": 0}, "greater than or equal to 1"), ({"k": 3}, "Extra inputs are not permitted")]
)
def test_wrong_settings_are_refused(settings: dict[str, int], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        EmbedtuneReranker(model=WordReranker(), **settings)


def test_settings_of_a_loaded_reranker_are_refused() -> None:
    with pytest.raises(ValidationError, match="The options 'device' are for a reranker given by reference"):
        EmbedtuneReranker(model=WordReranker(), device="cpu")


def test_what_is_no_reranker_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"A builtins\.int is no reranker"):
        EmbedtuneReranker(model=3)
