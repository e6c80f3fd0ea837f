"""LangChain's embedding models as an `embedtune.Embedder`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from embedtune.protocols import Similarity, Vectors
from embedtune.search import checked_vectors

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

__all__ = ["LangChainEmbedder"]


class LangChainEmbedder:
    """Embeds with a LangChain model, exactly as a vector store of LangChain would.

    Args:
        model: An ``Embeddings``.
    """

    def __init__(self, model: "Embeddings | object") -> None:
        self._model = cast("Embeddings", model)

    def __repr__(self) -> str:
        return f"LangChainEmbedder({type(self._model).__name__})"

    @property
    def fingerprint(self) -> None:
        """None: the interface does not say what model it is, so nothing is cached."""
        return None

    @property
    def similarity(self) -> Similarity:
        """Cosine, the default of LangChain's own vector store."""
        return "cosine"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """One by one, since LangChain has no batch for queries; float32 (n, d)."""
        found = [self._model.embed_query(text) for text in texts]
        return checked_vectors(found, len(texts), type(self._model).__name__)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """In one call, which the model divides as it likes; float32 (n, d)."""
        found = self._model.embed_documents(list(texts)) if texts else []
        return checked_vectors(found, len(texts), type(self._model).__name__)
