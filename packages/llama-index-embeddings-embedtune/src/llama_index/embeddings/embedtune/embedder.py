"""LlamaIndex's embedding models as an `embedtune.Embedder`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from embedtune.framework_embedder import FrameworkEmbedder

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

__all__ = ["LlamaIndexEmbedder"]


class LlamaIndexEmbedder(FrameworkEmbedder):
    """Embeds with a LlamaIndex model, exactly as a LlamaIndex index would: its own prompts, its own batches.

    Args:
        model: A ``BaseEmbedding``.
    """

    def __init__(self, model: "BaseEmbedding | object") -> None:
        super().__init__(model)
        self._model = cast("BaseEmbedding", model)

    def __repr__(self) -> str:
        return f"LlamaIndexEmbedder({type(self._model).__name__}, model_name={self._model.model_name!r})"

    def embed_one_query(self, text: str) -> Sequence[float]:
        """By ``get_query_embedding``."""
        return self._model.get_query_embedding(text)

    def embed_chunks(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """By ``get_text_embedding_batch``."""
        return self._model.get_text_embedding_batch(texts)
