"""Any retriever and vector store of LangChain's is evaluated, at the depth asked for, and stays as it was."""

import asyncio
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from langchain_classic.retrievers import EnsembleRetriever, MultiVectorRetriever
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.retrievers import BaseRetriever
from langchain_core.stores import InMemoryStore
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from pydantic import Field

from embedtune import EvaluationError, PluginManager, QADataset, Retriever, TextChunk, evaluate
from embedtune.retrievers import RetrieverSearch
from embedtune.testing import HashEmbedder, SearchContract, tiny_dataset
from langchain_embedtune import EmbedtuneEmbeddings, LangChainRetriever, LangChainStoreSearch

HASHES = EmbedtuneEmbeddings(model=HashEmbedder())


def store_of(dataset: QADataset, embeddings: Embeddings = HASHES) -> InMemoryVectorStore:
    """Filled as a user would: with documents, which get random ids there."""
    documents = [Document(text, metadata={"source": "a.md"}) for text in dataset.corpus.values()]
    return InMemoryVectorStore.from_documents(documents, embeddings)


class ListRetriever(BaseRetriever):
    """Returns the same documents, however many are asked for."""

    documents: list[Document]

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.documents


class LimitedRetriever(BaseRetriever):
    """Has the field ``k``, as BM25's does."""

    store: InMemoryVectorStore
    k: int = 1

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        return self.store.similarity_search(query, k=self.k)


class AsyncOnlyRetriever(BaseRetriever):
    """Like those of integrations with an asynchronous client alone, which lives in one event loop."""

    store: InMemoryVectorStore
    loops: set[int] = Field(default_factory=set)

    def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        raise NotImplementedError("use ainvoke")

    async def _aget_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
        self.loops.add(id(asyncio.get_running_loop()))
        await asyncio.sleep(0.01)
        return await self.store.asimilarity_search(query, k=20)


class ScoringStore(InMemoryVectorStore):
    """LangChain's own has no scores of relevance."""

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        return lambda similarity: max(similarity, 0.0)


class AsyncOnlyStore(InMemoryVectorStore):
    def similarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
        raise NotImplementedError

    async def asimilarity_search(self, query: str, k: int = 4, **_: Any) -> list[Document]:
        return [document for document, _ in self.similarity_search_with_score(query, k)]


def retrievers() -> dict[str, object]:
    store, scoring_store, async_store = store_of(tiny_dataset(8)), ScoringStore(HASHES), AsyncOnlyStore(HASHES)
    for empty in (scoring_store, async_store):
        empty.add_texts(list(tiny_dataset(8).corpus.values()))
    return {
        "retriever": store.as_retriever(),
        "mmr": store.as_retriever(search_type="mmr", search_kwargs={"lambda_mult": 1.0}),
        "threshold": scoring_store.as_retriever(
            search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.0}
        ),
        "store": store,
        "field k": LimitedRetriever(store=store),
        "ensemble": EnsembleRetriever(retrievers=[store.as_retriever()], weights=[1.0]),
        "asynchronous retriever": AsyncOnlyRetriever(store=store),
        "asynchronous store": async_store,
    }


@pytest.mark.parametrize("name", list(retrievers()))
def test_every_kind_finds_what_exact_search_finds(name: str) -> None:
    found = evaluate(retrievers()[name], tiny_dataset(8), top_k=1, cut_offs=(1, 3))
    assert found.metrics == evaluate(HashEmbedder(), tiny_dataset(8), top_k=1, cut_offs=(1, 3)).metrics
    assert found.failed_queries == ()


class TestRetrieverContract(SearchContract):
    def make(self, corpus: Any) -> RetrieverSearch:
        store = InMemoryVectorStore.from_texts(list(corpus.values()), HASHES)
        return RetrieverSearch(LangChainRetriever(store.as_retriever()), corpus)


class TestStoreContract(SearchContract):
    def make(self, corpus: Any) -> RetrieverSearch:
        store = InMemoryVectorStore.from_texts(list(corpus.values()), HASHES)
        return RetrieverSearch(LangChainStoreSearch(store), corpus)


def test_the_depth_is_that_of_the_evaluation_and_the_users_object_stays_as_it_was() -> None:
    store = store_of(tiny_dataset(8))
    retriever, limited = store.as_retriever(search_kwargs={"k": 2}), LimitedRetriever(store=store)
    for thing in (retriever, limited, store):
        claimed = PluginManager().as_search(thing)
        assert isinstance(claimed, Retriever)
        assert len(claimed.retrieve("what do apples cost?", 7)) == 7
    assert (retriever.search_kwargs, limited.k) == ({"k": 2}, 1)


def test_a_larger_depth_of_the_users_stays() -> None:
    """A retriever over children asks for many of them, to return a few parents."""
    retriever = store_of(tiny_dataset(8)).as_retriever(search_kwargs={"k": 6})
    assert len(LangChainRetriever(retriever).retrieve("what do apples cost?", 3)) == 6


def test_parents_of_what_is_embedded_are_evaluated() -> None:
    dataset, parents = tiny_dataset(4), InMemoryStore()
    documents = {chunk: Document(text) for chunk, text in dataset.corpus.items()}
    parents.mset(list(documents.items()))
    children = InMemoryVectorStore(HASHES)
    for chunk, document in documents.items():
        halves = document.page_content.split(":")
        children.add_documents([Document(half, metadata={"doc_id": chunk}) for half in halves])
    retriever = MultiVectorRetriever(vectorstore=children, docstore=parents, search_kwargs={"k": 8})
    assert evaluate(retriever, dataset, top_k=3).hit_rate == 1


def test_one_that_knows_no_depth_is_told_of(caplog: pytest.LogCaptureFixture) -> None:
    dataset = tiny_dataset(8)
    retriever = ListRetriever(documents=[Document(text) for text in list(dataset.corpus.values())[:2]])
    with caplog.at_level(logging.WARNING):
        assert evaluate(retriever, dataset, top_k=5).hit_rate == 0.25
    assert "the retriever returns 2 chunks at most" in caplog.text


def test_an_asynchronous_one_is_asked_in_one_event_loop_also_from_inside_another() -> None:
    """Trap 16: its client belongs to the loop that used it first; a notebook has a loop running."""
    retriever = AsyncOnlyRetriever(store=store_of(tiny_dataset(4)))

    async def cell() -> float:
        return evaluate(retriever, tiny_dataset(4), top_k=1).hit_rate

    assert asyncio.run(cell()) == asyncio.run(cell()) == 1
    assert len(retriever.loops) == 1


def test_queries_are_asked_at_once() -> None:
    """As many as wait at the barrier, or it breaks."""
    barrier = threading.Barrier(4, timeout=20)

    class Waiting(ListRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            barrier.wait()
            return self.documents

    dataset = tiny_dataset(4)
    found = evaluate(Waiting(documents=[Document(text) for text in dataset.corpus.values()]), dataset, top_k=4)
    assert found.hit_rate == 1


def test_a_query_that_fails_counts_as_not_found_and_is_named() -> None:
    class Failing(LimitedRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> list[Document]:
            if "apples" in query:
                raise ConnectionError("no route")
            return super()._get_relevant_documents(query, run_manager=run_manager)

    found = evaluate(Failing(store=store_of(tiny_dataset(4))), tiny_dataset(4), top_k=1)
    assert found.failed_queries == ("q0-0", "q0-1")
    assert found.hit_rate == 0.75


def test_what_one_cannot_do_in_either_way_is_told() -> None:
    store = store_of(tiny_dataset(4))  # without scores of relevance
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.5})
    with pytest.raises(EvaluationError, match=r"All 8 searches failed\. The first: NotImplementedError"):
        evaluate(retriever, tiny_dataset(4))


def test_one_that_returns_no_documents_is_an_error() -> None:
    class Strings(ListRetriever):
        def _get_relevant_documents(self, query: str, *, run_manager: Any) -> Any:
            return ["a text"]

    with pytest.raises(EvaluationError, match=r"must return a list of documents; got \['a text'\]"):
        evaluate(Strings(documents=[]), tiny_dataset(4))


def test_trap_3_finds_are_known_though_the_store_gave_them_random_ids() -> None:
    """And though two chunks have one text: their place in the source tells them apart."""
    documents = [Document("See above.", metadata={"source": "a.md", "start_index": place}) for place in (0, 90)]
    chunks = [TextChunk.from_langchain_node(document) for document in documents]
    retriever = LangChainRetriever(
        ListRetriever(documents=[document.model_copy(update={"id": None}) for document in documents])
    )
    assert [hit.id for hit in retriever.retrieve("above?", 5)] == [chunk.id for chunk in chunks]
    store = InMemoryVectorStore.from_documents(documents, HASHES)
    assert {hit.id for hit in LangChainStoreSearch(store).retrieve("above?", 5)} == {chunk.id for chunk in chunks}


def test_trap_6_the_text_judged_is_the_text_embedded(caplog: pytest.LogCaptureFixture) -> None:
    """LangChain embeds page_content, without metadata; so do training and evaluation, and nothing need be said."""

    class Seen(Embeddings):
        def __init__(self) -> None:
            self.texts: list[str] = []

        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            self.texts += texts
            return HASHES.embed_documents(texts)

        def embed_query(self, text: str) -> list[float]:
            return HASHES.embed_query(text)

    dataset, seen = tiny_dataset(4), Seen()
    with caplog.at_level(logging.WARNING):
        evaluate(store_of(dataset, seen).as_retriever(), dataset, top_k=4, cut_offs=(4,))
    assert seen.texts == list(dataset.corpus.values())
    assert not caplog.records
    chunk = TextChunk.from_langchain_node(Document("Bare.", metadata={"source": "/home/me/a.md"}))
    assert chunk.text == "Bare."


def test_trap_1_what_the_stores_model_was_tuned_on_is_marked_also_within_another_retriever(tuned: Path) -> None:
    embeddings = EmbedtuneEmbeddings(model=tuned, device="cpu")
    store = store_of(tiny_dataset(8), embeddings)
    ensemble = EnsembleRetriever(retrievers=[store.as_retriever()], weights=[1.0])
    for thing in (store, store.as_retriever(), ensemble):
        assert evaluate(thing, tiny_dataset(8)).n_seen == 16
    assert evaluate(store_of(tiny_dataset(8)), tiny_dataset(8)).n_seen == 0


def test_strangers_are_not_claimed() -> None:
    for stranger in (object(), VectorStore, BaseRetriever, HASHES, Document("A text.")):
        assert PluginManager().claim("embedtune_as_search", stranger) is None


def test_a_retriever_and_its_model_score_the_same_on_real_questions(
    wikipedia: QADataset, documents: list[Document], prompted: Any
) -> None:
    embeddings = EmbedtuneEmbeddings(model=prompted, device="cpu")
    store = InMemoryVectorStore.from_documents(documents, embeddings)
    by_model = evaluate(embeddings, wikipedia, top_k=5)
    for thing in (store, store.as_retriever()):
        by_search = evaluate(thing, wikipedia, top_k=5)
        assert by_search.metrics == pytest.approx(by_model.metrics)
    assert 0.1 < by_model.hit_rate < 1
