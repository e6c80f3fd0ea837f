"""What this package knows: LlamaIndex's nodes, embedding models and LLMs.

A claim looks in ``sys.modules``: where LlamaIndex is not loaded, no object is its own.
"""

import sys

from embedtune import BaseLLM, Embedder, TextChunk, hookimpl
from llama_index.embeddings.embedtune.embedder import LlamaIndexEmbedder
from llama_index.embeddings.embedtune.llm import LlamaIndexLLM
from llama_index.embeddings.embedtune.nodes import text_chunk_of_node

__all__ = ["embedtune_as_embedder", "embedtune_as_llm", "embedtune_as_text_chunk"]


@hookimpl
def embedtune_as_text_chunk(thing: object, metadata_mode: str) -> TextChunk | None:
    """A node, or a node with its score."""
    if _is_a(thing, "llama_index.core.schema", "NodeWithScore"):
        thing = thing.node  # type: ignore[attr-defined]
    return text_chunk_of_node(thing, metadata_mode) if _is_a(thing, "llama_index.core.schema", "BaseNode") else None


@hookimpl
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """A ``BaseEmbedding``."""
    return LlamaIndexEmbedder(thing) if _is_a(thing, "llama_index.core.base.embeddings.base", "BaseEmbedding") else None


@hookimpl
def embedtune_as_llm(thing: object) -> BaseLLM | None:
    """Any LLM, for chat or for completion."""
    return LlamaIndexLLM(thing) if _is_a(thing, "llama_index.core.base.llms.base", "BaseLLM") else None


def _is_a(thing: object, module: str, name: str) -> bool:
    framework_class = getattr(sys.modules.get(module), name, None)
    return isinstance(framework_class, type) and isinstance(thing, framework_class)
