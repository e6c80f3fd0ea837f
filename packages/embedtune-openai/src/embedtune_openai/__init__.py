"""OpenAI, and every server that speaks its API, for embedtune: an LLM that writes questions, and embeddings.

The ``openai`` package is imported at the first request, not here.
"""

from embedtune_openai.embedder import OpenAIEmbedder
from embedtune_openai.llm import DEFAULT_MODEL, Openai

__all__ = ["DEFAULT_MODEL", "OpenAIEmbedder", "Openai"]
