"""`EmbedtuneReranker`: a tuned cross-encoder where LangChain reranks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.cross_encoders import BaseCrossEncoder
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr

from embedtune import Reranker
from embedtune.framework_reranker import LazyReranker

__all__ = ["EmbedtuneReranker"]

_LOAD_OPTIONS = ("device", "batch_size", "max_length", "trust_remote_code")
"""The settings that a backend loads a reranker with, under the names that it knows them by."""


class EmbedtuneReranker(BaseDocumentCompressor, BaseCrossEncoder):
    """Puts documents in the order of a reranker's scores and keeps the first.

    It is a document compressor, for ``ContextualCompressionRetriever``, and a cross-encoder, as LangChain's own
    ``CrossEncoderReranker`` takes one. The weights are loaded at the first use; threads take turns.

    Raises:
        ModelNotFoundError: If ``model`` can only be a folder, and is not there.
        pydantic.ValidationError: If nothing knows ``model``, a setting is unknown or out of range, or one is given for
            a loaded model; a ``ValueError``.

    Example:
        .. code-block:: python

            retriever = store.as_retriever(search_kwargs={"k": 30})
            ContextualCompressionRetriever(base_retriever=retriever, base_compressor=EmbedtuneReranker(model="tuned"))
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=())

    model: Any
    """Folder or hub name of a cross-encoder, ``backend:ref``, a loaded ``CrossEncoder``, or an `embedtune.Reranker`."""
    top_n: int = Field(default=3, ge=1)
    """Documents that are kept; the retriever must find more, or only their order changes."""
    device: str | None = None
    """Such as ``"cpu"``; the fastest there is if None."""
    batch_size: int | None = Field(default=None, ge=1)
    """Pairs at once; the backend's default if None."""
    max_length: int | None = Field(default=None, ge=8)
    """Tokens read of question and document together; the model's own setting if None."""
    trust_remote_code: bool | None = None
    """Whether Python code from the model's own folder may run; it may not if None."""

    _lazy: LazyReranker = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Look the reranker up, without loading it."""
        given = {name: getattr(self, name) for name in _LOAD_OPTIONS}
        self._lazy = LazyReranker(str(self.model) if isinstance(self.model, Path) else self.model, given)

    @property
    def reranker(self) -> Reranker:
        """What scores, as embedtune knows it; loads the model."""
        return self._lazy.reranker

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> list[Document]:
        """The best ``top_n`` documents, best first, each with its score in ``metadata["relevance_score"]``.

        Args:
            documents: What a retriever found; they stay as they are.
            query: What was asked.
            callbacks: Of no effect: nothing here calls a model of LangChain's.

        Raises:
            EvaluationError: If the model does not return one finite number for each.
        """
        texts = [document.page_content for document in documents]
        return [
            documents[place].model_copy(update={"metadata": {**documents[place].metadata, "relevance_score": score}})
            for place, score in self._lazy.ranked(query, texts, self.top_n)
        ]

    def score(self, text_pairs: list[tuple[str, str]]) -> list[float]:
        """Scores of pairs of question and text, in their order; higher is better."""
        scores: list[float] = self._lazy.score([(query, text) for query, text in text_pairs]).tolist()
        return scores
