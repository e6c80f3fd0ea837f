"""Retrievers, query engines and indexes of LlamaIndex, evaluated."""

import asyncio
import logging
from pathlib import Path
from typing import Any

import pytest
from llama_index.core import SummaryIndex, VectorStoreIndex
from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import MockLLM
from llama_index.core.postprocessor import SimilarityPostprocessor
from llama_index.core.retrievers import (
    AutoMergingRetriever,
    QueryFusionRetriever,
    RecursiveRetriever,
    TransformRetriever,
    VectorIndexRetriever,
)
from llama_index.core.schema import NodeWithScore, QueryBundle, TextNode

from embedtune import EvaluationError, PluginManager, QADataset, Retriever, TextChunk, evaluate
from embedtune.retrievers import RetrieverSearch
from embedtune.testing import HashEmbedder, SearchContract, tiny_dataset
from llama_index.embeddings.embedtune import EmbedtuneEmbedding, LlamaIndexRetriever


def nodes_of(dataset: QADataset, **metadata: str) -> list[TextNode]:
    """With random ids, as a parser gives them."""
    return [TextNode(text=text, metadata=metadata) for text in dataset.corpus.values()]


def index_of(nodes: list[TextNode]) -> VectorStoreIndex:
    return VectorStoreIndex(nodes, embed_model=EmbedtuneEmbedding(HashEmbedder()))


class AsyncOnly(BaseRetriever):
    """As clients of remote services are."""

    def __init__(self, retriever: BaseRetriever) -> None:
        super().__init__()
        self.loops: set[int] = set()
        self._retriever = retriever

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        raise NotImplementedError("asynchronous only")

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        self.loops.add(id(asyncio.get_running_loop()))
        return await self._retriever.aretrieve(query_bundle)


def retrievers() -> dict[str, Any]:
    index = index_of(nodes_of(tiny_dataset(8)))
    plain = index.as_retriever()
    engine = index.as_query_engine(llm=MockLLM(), node_postprocessors=[SimilarityPostprocessor(similarity_cutoff=-1.0)])
    return {
        "retriever": plain,
        "index": index,
        "query engine": engine,
        "fusion": QueryFusionRetriever([plain], num_queries=1, llm=MockLLM(), use_async=False),
        "merging": AutoMergingRetriever(plain, index.storage_context),
        "recursive": RecursiveRetriever("vector", retriever_dict={"vector": plain}),
        "asynchronous": AsyncOnly(plain),
    }


@pytest.mark.parametrize("name", list(retrievers()))
def test_every_kind_finds_what_exact_search_finds(name: str) -> None:
    found = evaluate(retrievers()[name], tiny_dataset(8), top_k=1, cut_offs=(1, 3))
    assert found.failed_queries == ()
    assert found.metrics == evaluate(HashEmbedder(), tiny_dataset(8), top_k=1, cut_offs=(1, 3)).metrics


class TestRetrieverContract(SearchContract):
    def make(self, corpus: Any) -> RetrieverSearch:
        nodes = [TextNode(text=text, id_=chunk) for chunk, text in corpus.items()]
        return RetrieverSearch(LlamaIndexRetriever(index_of(nodes).as_retriever()), corpus)


def test_the_depth_is_set_on_a_copy_also_within() -> None:
    plain = index_of(nodes_of(tiny_dataset(8))).as_retriever(similarity_top_k=2)
    assert isinstance(plain, VectorIndexRetriever)
    fusion = QueryFusionRetriever([plain], num_queries=1, llm=MockLLM(), similarity_top_k=1, use_async=False)
    for thing in (plain, fusion):
        claimed = PluginManager().as_search(thing)
        assert isinstance(claimed, Retriever)
        assert len(claimed.retrieve("what do apples cost?", 7)) == 7
    assert (plain.similarity_top_k, fusion.similarity_top_k) == (2, 1)


def test_a_larger_depth_of_the_users_stays() -> None:
    plain = index_of(nodes_of(tiny_dataset(8))).as_retriever(similarity_top_k=6)
    assert len(LlamaIndexRetriever(plain).retrieve("what do apples cost?", 3)) == 6


def test_an_asynchronous_retriever_is_asked_in_one_loop() -> None:
    """Its connections belong to the loop that opened them."""
    retriever = AsyncOnly(index_of(nodes_of(tiny_dataset())).as_retriever())
    for _ in range(2):
        assert evaluate(retriever, tiny_dataset(), top_k=1).hit_rate == 1
    assert len(retriever.loops) == 1


def test_it_works_inside_a_running_loop() -> None:
    async def cell() -> float:
        retriever = AsyncOnly(index_of(nodes_of(tiny_dataset())).as_retriever())
        return evaluate(retriever, tiny_dataset(), top_k=1).hit_rate

    assert asyncio.run(cell()) == 1


def test_trap_3_nodes_parsed_again_are_matched_by_their_text() -> None:
    chunks = [TextChunk.from_llama_index_node(node) for node in nodes_of(tiny_dataset())]
    id_of = {chunk.text: chunk.id for chunk in chunks}
    known = tiny_dataset()
    relevant = {query: [id_of[known.corpus[chunk]] for chunk in found] for query, found in known.relevant_docs.items()}
    dataset = QADataset.from_responses(chunks, known.queries, relevant)
    again = nodes_of(known)
    assert not {node.node_id for node in again} & set(dataset.corpus)
    assert evaluate(index_of(again), dataset, top_k=1).hit_rate == 1


def test_trap_6_metadata_in_front_is_told_with_both_ways_out(caplog: pytest.LogCaptureFixture) -> None:
    nodes = nodes_of(tiny_dataset(8), file_path="/home/me/docs/pages.md")
    evaluate(index_of(nodes), tiny_dataset(8))
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "8 of 8 chunks found are embedded with another text" in warning
    assert "'/home/me/docs/pages.md'" in warning
    assert 'metadata_mode="embed"' in warning
    assert "excluded_embed_metadata_keys" in warning


def test_trap_6_either_way_out_ends_the_warning(caplog: pytest.LogCaptureFixture) -> None:
    nodes = nodes_of(tiny_dataset(8), file_path="/home/me/docs/pages.md")
    with_metadata = [TextChunk.from_llama_index_node(node, "embed").text for node in nodes]
    corpus = dict(zip(tiny_dataset(8).corpus, with_metadata, strict=True))
    evaluate(index_of(nodes), QADataset(tiny_dataset(8).queries, corpus, tiny_dataset(8).relevant_docs))
    for node in nodes:
        node.excluded_embed_metadata_keys = list(node.metadata)
    evaluate(index_of(nodes), tiny_dataset(8))
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_a_retriever_that_returns_no_nodes_is_named() -> None:
    class Texts(BaseRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> Any:
            return []

        def retrieve(self, str_or_query_bundle: Any) -> Any:
            return ["text"]

    with pytest.raises(EvaluationError, match=r"must return a list of NodeWithScore; got \['text'\]"):
        LlamaIndexRetriever(Texts()).retrieve("a", 1)


def test_strangers_are_not_claimed() -> None:
    summary = SummaryIndex([TextNode(text="a")])
    for stranger in (object(), "text", BaseRetriever, summary, MockEmbedding(embed_dim=2)):
        assert PluginManager().claim("embedtune_as_search", stranger) is None


def test_a_wrapped_retriever_knows_the_model_folder(small_model: Path, nodes: list[TextNode]) -> None:
    """So that questions which trained the model are marked."""
    plain = VectorStoreIndex(nodes, embed_model=EmbedtuneEmbedding(small_model, device="cpu")).as_retriever()

    class Same(TransformRetriever):
        def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
            return self._retriever.retrieve(query_bundle)

    wrapped = Same(plain, query_transform=object())  # type: ignore[arg-type]
    assert LlamaIndexRetriever(wrapped).record_folder == small_model
