"""What this package knows of LangChain's: documents, embedding models, chat and completion models, and retrievers.

A claim looks in ``sys.modules``: where LangChain is not loaded, no object is its own.
"""

import sys
from typing import TYPE_CHECKING, cast

from embedtune import BaseLLM, Embedder, Reranker, Retriever, TextChunk, hookimpl
from langchain_embedtune.documents import text_chunk_of_document
from langchain_embedtune.embedder import LangChainEmbedder
from langchain_embedtune.llm import LangChainLLM
from langchain_embedtune.retriever import LangChainRetriever, LangChainStoreSearch

if TYPE_CHECKING:
    from langchain_embedtune.embeddings import EmbedtuneEmbeddings
    from langchain_embedtune.reranker import EmbedtuneReranker

__all__ = [
    "embedtune_as_embedder",
    "embedtune_as_llm",
    "embedtune_as_reranker",
    "embedtune_as_search",
    "embedtune_as_text_chunk",
]


@hookimpl
def embedtune_as_text_chunk(thing: object) -> TextChunk | None:
    """A ``Document``."""
    return text_chunk_of_document(thing) if _is_a(thing, "langchain_core.documents.base", "Document") else None


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """An ``Embeddings``; of `EmbedtuneEmbeddings` the model itself, with batches for queries and its record."""
    if _is_a(thing, "langchain_embedtune.embeddings", "EmbedtuneEmbeddings"):
        return cast("EmbedtuneEmbeddings", thing).embedder
    return LangChainEmbedder(thing) if _is_a(thing, "langchain_core.embeddings.embeddings", "Embeddings") else None


@hookimpl
def embedtune_as_reranker(thing: object) -> Reranker | None:
    """An `EmbedtuneReranker`: the model itself."""
    is_ours = _is_a(thing, "langchain_embedtune.reranker", "EmbedtuneReranker")
    return cast("EmbedtuneReranker", thing).reranker if is_ours else None


@hookimpl
def embedtune_as_llm(thing: object) -> BaseLLM | None:
    """A ``BaseChatModel``, or a model for completion."""
    return LangChainLLM(thing) if _is_a(thing, "langchain_core.language_models.base", "BaseLanguageModel") else None


@hookimpl
def embedtune_as_search(thing: object) -> Retriever | None:
    """A ``BaseRetriever``, or a ``VectorStore``."""
    if _is_a(thing, "langchain_core.retrievers", "BaseRetriever"):
        return LangChainRetriever(thing)
    return LangChainStoreSearch(thing) if _is_a(thing, "langchain_core.vectorstores.base", "VectorStore") else None


def _is_a(thing: object, module: str, name: str) -> bool:
    framework_class = getattr(sys.modules.get(module), name, None)
    return isinstance(framework_class, type) and isinstance(thing, framework_class)
