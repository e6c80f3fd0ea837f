"""What this package knows of LlamaIndex's: nodes, embedding models, LLMs, retrievers, query engines and indexes.

A claim looks in ``sys.modules``: where LlamaIndex is not loaded, no object is its own.
"""

import sys
from typing import TYPE_CHECKING, cast

from embedtune import BaseLLM, Embedder, Reranker, Retriever, TextChunk, hookimpl
from llama_index.embeddings.embedtune.embedder import LlamaIndexEmbedder
from llama_index.embeddings.embedtune.llm import LlamaIndexLLM
from llama_index.embeddings.embedtune.nodes import text_chunk_of_node
from llama_index.embeddings.embedtune.retriever import LlamaIndexRetriever

if TYPE_CHECKING:
    from llama_index.core import VectorStoreIndex

    from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding
    from llama_index.embeddings.embedtune.rerank import EmbedtuneRerank

__all__ = [
    "embedtune_as_embedder",
    "embedtune_as_llm",
    "embedtune_as_reranker",
    "embedtune_as_search",
    "embedtune_as_text_chunk",
]


@hookimpl
def embedtune_as_text_chunk(thing: object, metadata_mode: str) -> TextChunk | None:
    """A node, or a node with its score."""
    if _is_a(thing, "llama_index.core.schema", "NodeWithScore"):
        thing = thing.node  # type: ignore[attr-defined]
    return text_chunk_of_node(thing, metadata_mode) if _is_a(thing, "llama_index.core.schema", "BaseNode") else None


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """A ``BaseEmbedding``; of `EmbedtuneEmbedding` the model itself, with batches for queries and its record."""
    if _is_a(thing, "llama_index.embeddings.embedtune.embedding", "EmbedtuneEmbedding"):
        return cast("EmbedtuneEmbedding", thing).embedder
    return LlamaIndexEmbedder(thing) if _is_a(thing, "llama_index.core.base.embeddings.base", "BaseEmbedding") else None


@hookimpl
def embedtune_as_reranker(thing: object) -> Reranker | None:
    """An `EmbedtuneRerank`: the model itself."""
    is_ours = _is_a(thing, "llama_index.embeddings.embedtune.rerank", "EmbedtuneRerank")
    return cast("EmbedtuneRerank", thing).reranker if is_ours else None


@hookimpl
def embedtune_as_llm(thing: object) -> BaseLLM | None:
    """Any LLM, for chat or for completion."""
    return LlamaIndexLLM(thing) if _is_a(thing, "llama_index.core.base.llms.base", "BaseLLM") else None


@hookimpl
def embedtune_as_search(thing: object) -> Retriever | None:
    """A ``BaseRetriever``, a ``BaseQueryEngine``, or a ``VectorStoreIndex``, which stands for its retriever."""
    if _is_a(thing, "llama_index.core.indices.vector_store.base", "VectorStoreIndex"):
        return LlamaIndexRetriever(cast("VectorStoreIndex", thing).as_retriever())
    is_retriever = _is_a(thing, "llama_index.core.base.base_retriever", "BaseRetriever")
    is_engine = _is_a(thing, "llama_index.core.base.base_query_engine", "BaseQueryEngine")
    return LlamaIndexRetriever(thing) if is_retriever or is_engine else None


def _is_a(thing: object, module: str, name: str) -> bool:
    framework_class = getattr(sys.modules.get(module), name, None)
    return isinstance(framework_class, type) and isinstance(thing, framework_class)
