"""LlamaIndex's embedding models as an `embedtune.Embedder`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from embedtune.protocols import Similarity, Vectors
from embedtune.search import checked_vectors

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

__all__ = ["LlamaIndexEmbedder"]


class LlamaIndexEmbedder:
    """Embeds with a LlamaIndex model, exactly as a LlamaIndex index would: its own prompts, its own batches.

    Args:
        model: A ``BaseEmbedding``.
    """

    def __init__(self, model: "BaseEmbedding | object") -> None:
        self._model = cast("BaseEmbedding", model)

    def __repr__(self) -> str:
        return f"LlamaIndexEmbedder({type(self._model).__name__}, model_name={self._model.model_name!r})"

    @property
    def fingerprint(self) -> None:
        """None: a name says too little of what is behind it, so nothing is cached."""
        return None

    @property
    def similarity(self) -> Similarity:
        """Cosine, LlamaIndex's default."""
        return "cosine"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """One by one, since LlamaIndex has no batch for queries; float32 (n, d)."""
        found = [self._model.get_query_embedding(text) for text in texts]
        return checked_vectors(found, len(texts), type(self._model).__name__)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """In the model's own batches; float32 (n, d)."""
        found = self._model.get_text_embedding_batch(list(texts)) if texts else []
        return checked_vectors(found, len(texts), type(self._model).__name__)
