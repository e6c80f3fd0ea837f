"""`EmbedtuneRerank`: a tuned cross-encoder as LlamaIndex's node postprocessor."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from llama_index.core.callbacks import CBEventType, EventPayload
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
from pydantic import Field, PrivateAttr

from embedtune import EvaluationError, Reranker
from embedtune.framework_reranker import LazyReranker
from llama_index.embeddings.embedtune.nodes import MetadataModeName

__all__ = ["EmbedtuneRerank"]


class EmbedtuneRerank(BaseNodePostprocessor):
    """Puts nodes in the order of a reranker's scores and keeps the first.

    The weights are loaded at the first use, and no code of the model's own runs unless told to; threads take turns.
    The nodes given stay as they are.

    Args:
        model: Folder or hub name of a cross-encoder, ``backend:ref``, a loaded ``CrossEncoder``, or an
            `embedtune.Reranker`.
        top_n: Nodes that are kept, at least 1; the retriever must find more, or only their order changes.
        metadata_mode: What is read of a node: ``"none"``, the text alone, as tuning does; ``"embed"`` with metadata.
        options: Of the backend that loads a reference, such as ``device`` and ``max_length``.
        settings: Of ``BaseNodePostprocessor``: ``callback_manager``.

    Raises:
        ModelNotFoundError: If ``model`` can only be a folder, and is not there.
        EvaluationError: If nothing knows ``model``, or ``top_n`` is below 1.

    Example:
        .. code-block:: python

            index.as_query_engine(similarity_top_k=30, node_postprocessors=[EmbedtuneRerank("tuned_reranker")])
    """

    model: str | None = Field(default=None, description="Absolute folder, hub name or backend:ref; None of an object.")
    top_n: int = Field(default=3, description="Nodes that are kept.")
    metadata_mode: MetadataModeName = Field(default="none", description="What is read of a node.")
    options: dict[str, Any] = Field(default_factory=dict, description="What the model is loaded with.")

    _lazy: LazyReranker = PrivateAttr()

    def __init__(
        self,
        model: object = None,
        top_n: int = 3,
        *,
        metadata_mode: MetadataModeName = "none",
        options: Mapping[str, Any] = MappingProxyType({}),
        **settings: Any,
    ) -> None:
        if isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1:
            raise EvaluationError(f"top_n must be a whole number of at least 1; got {top_n!r}.")
        if unknown := [name for name in settings if name != "callback_manager"]:
            raise EvaluationError(f"EmbedtuneRerank has no setting {', '.join(map(repr, unknown))}.")
        lazy = LazyReranker(model, options)
        super().__init__(
            model=lazy.ref,  # type: ignore[call-arg]
            top_n=top_n,
            metadata_mode=metadata_mode,
            options=lazy.options,
            **settings,
        )
        self._lazy = lazy

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex files the class."""
        return "EmbedtuneRerank"

    @property
    def reranker(self) -> Reranker:
        """What scores, as embedtune knows it; loads the model."""
        return self._lazy.reranker

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise EvaluationError("EmbedtuneRerank needs the query: give query_bundle or query_str.")
        mode, query = MetadataMode(self.metadata_mode), query_bundle.query_str
        payload: dict[str, Any] = {
            EventPayload.NODES: nodes,
            EventPayload.MODEL_NAME: self._lazy.ref or type(self.reranker).__name__,
            EventPayload.QUERY_STR: query,
            EventPayload.TOP_K: self.top_n,
        }
        with self.callback_manager.event(CBEventType.RERANKING, payload=payload) as event:
            texts = [node.node.get_content(metadata_mode=mode) for node in nodes]
            ranked = self._lazy.ranked(query, texts, self.top_n)
            best = [NodeWithScore(node=nodes[place].node, score=score) for place, score in ranked]
            event.on_end(payload={EventPayload.NODES: best})
        return best
