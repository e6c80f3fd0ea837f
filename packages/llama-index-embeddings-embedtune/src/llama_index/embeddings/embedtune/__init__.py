"""LlamaIndex for embedtune: nodes as chunks, embedding models and LLMs as embedtune's own.

Nothing of LlamaIndex is imported here, nor by the bridges: they are given its objects.
"""

from llama_index.embeddings.embedtune.embedder import LlamaIndexEmbedder
from llama_index.embeddings.embedtune.llm import LlamaIndexLLM
from llama_index.embeddings.embedtune.nodes import MetadataModeName, text_chunk_of_node

__all__ = ["LlamaIndexEmbedder", "LlamaIndexLLM", "MetadataModeName", "text_chunk_of_node"]
