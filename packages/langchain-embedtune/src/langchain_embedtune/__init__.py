"""LangChain for embedtune: documents as chunks, embedding and chat models as embedtune's own.

Nothing of LangChain is imported here, nor by the bridges: they are given its objects.
"""

from langchain_embedtune.documents import text_chunk_of_document
from langchain_embedtune.embedder import LangChainEmbedder
from langchain_embedtune.llm import LangChainLLM

__all__ = ["LangChainEmbedder", "LangChainLLM", "text_chunk_of_document"]
