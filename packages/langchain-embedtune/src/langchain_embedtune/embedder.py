"""LangChain's embedding models as an `embedtune.Embedder`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from embedtune.framework_embedder import FrameworkEmbedder

if TYPE_CHECKING:
    from langchain_core.embeddings import Embeddings

__all__ = ["LangChainEmbedder"]


class LangChainEmbedder(FrameworkEmbedder):
    """Embeds with a LangChain model, exactly as a vector store of LangChain would.

    Args:
        model: An ``Embeddings``.
    """

    def __init__(self, model: "Embeddings | object") -> None:
        super().__init__(model)
        self._model = cast("Embeddings", model)

    def embed_one_query(self, text: str) -> Sequence[float]:
        """By ``embed_query``."""
        return self._model.embed_query(text)

    def embed_chunks(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """By ``embed_documents``, in one call, which the model divides as it likes."""
        return self._model.embed_documents(texts)
