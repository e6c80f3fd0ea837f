"""What this package knows: LangChain's documents, embedding models, and chat and completion models.

A claim looks in ``sys.modules``: where LangChain is not loaded, no object is its own.
"""

import sys

from embedtune import BaseLLM, Embedder, TextChunk, hookimpl
from langchain_embedtune.documents import text_chunk_of_document
from langchain_embedtune.embedder import LangChainEmbedder
from langchain_embedtune.llm import LangChainLLM

__all__ = ["embedtune_as_embedder", "embedtune_as_llm", "embedtune_as_text_chunk"]


@hookimpl
def embedtune_as_text_chunk(thing: object) -> TextChunk | None:
    """A ``Document``."""
    return text_chunk_of_document(thing) if _is_a(thing, "langchain_core.documents.base", "Document") else None


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """An ``Embeddings``."""
    return LangChainEmbedder(thing) if _is_a(thing, "langchain_core.embeddings.embeddings", "Embeddings") else None


@hookimpl
def embedtune_as_llm(thing: object) -> BaseLLM | None:
    """A ``BaseChatModel``, or a model for completion."""
    return LangChainLLM(thing) if _is_a(thing, "langchain_core.language_models.base", "BaseLanguageModel") else None


def _is_a(thing: object, module: str, name: str) -> bool:
    framework_class = getattr(sys.modules.get(module), name, None)
    return isinstance(framework_class, type) and isinstance(thing, framework_class)
