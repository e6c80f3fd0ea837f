"""`EmbedtuneEmbedding`: a tuned or base model as LlamaIndex's ``BaseEmbedding``."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from llama_index.core.base.embeddings.base import BaseEmbedding, Embedding
from llama_index.core.storage.kvstore.types import BaseKVStore
from pydantic import Field, PrivateAttr

from embedtune import Embedder, EmbeddingError, ModelRecord
from embedtune.framework_embedder import LazyEmbedder
from embedtune.resolve import record_of
from llama_index.embeddings.embedtune.caching import DividedCache, embedding_a_query

__all__ = ["EmbedtuneEmbedding"]

_FIXED = ("model", "adapter", "options", "model_name")
"""What says which model it is, here and in caches."""


class EmbedtuneEmbedding(BaseEmbedding):
    """Embeds as the model was tuned: queries with its query prompt, chunks with its document prompt.

    The weights are loaded at the first use; threads take turns. ``model_name`` ends with the model's fingerprint, so
    neither an ingestion cache nor an ``embeddings_cache`` ever gives one model the vectors of another.

    Args:
        model: Model folder, hub name, ``backend:ref``, a loaded ``SentenceTransformer``, another ``BaseEmbedding``, or
            an `embedtune.Embedder`. None where the adapter's folder names it.
        adapter: Folder of a query adapter that was trained on the model: queries go through it, chunks do not.
        device: Such as ``"cpu"``; the fastest there is if None.
        trust_remote_code: Whether Python code from the model's own folder may run.
        max_seq_length: Tokens read of a text; the model's own setting if None.
        truncate_dim: Numbers kept of each vector, for models trained so; all if None.
        embed_batch_size: Texts at once, 1 to 2048.
        options: More for the backend that loads the model.
        model_name: As `to_dict` wrote it: only the same model is taken. Leave it out otherwise.
        settings: Of ``BaseEmbedding``: ``callback_manager``, ``num_workers``, ``embeddings_cache``, ``rate_limiter``.

    Raises:
        ModelNotFoundError: If ``model`` can only be a folder, and is not there, or ``adapter`` is not.
        ModelFolderError: If there is no adapter in its folder, or it names no model and none is given.
        EmbeddingError: If a setting is unknown, ``model_name`` is another model's, or the adapter was trained on
            another; where the model has no fingerprint, the first query tells.

    Example:
        .. code-block:: python

            index = VectorStoreIndex(nodes, embed_model=EmbedtuneEmbedding("tuned_model"))
    """

    model: str | None = Field(default=None, description="Absolute folder, hub name or backend:ref; None of an object.")
    adapter: str | None = Field(default=None, description="Absolute folder of the query adapter, if any.")
    options: dict[str, Any] = Field(default_factory=dict, description="What the model is loaded with.")

    _lazy: LazyEmbedder = PrivateAttr()

    def __init__(
        self,
        model: object = None,
        *,
        adapter: str | Path | None = None,
        device: str | None = None,
        trust_remote_code: bool = False,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        embed_batch_size: int = 32,
        options: Mapping[str, Any] = MappingProxyType({}),
        model_name: str | None = None,
        **settings: Any,
    ) -> None:
        _check(model if adapter is None else adapter, settings)
        for name, value, least in (("truncate_dim", truncate_dim, 1), ("max_seq_length", max_seq_length, 2)):
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise EmbeddingError(f"{name} must be a whole number of at least {least}, or None; got {value!r}.")
        loading = {"device": device, "max_seq_length": max_seq_length, "truncate_dim": truncate_dim}
        loading |= {"trust_remote_code": trust_remote_code or None}
        given = {name: value for name, value in loading.items() if value is not None}
        if adapter is not None and isinstance(model, EmbedtuneEmbedding):
            model = model._lazy  # what it has loaded is shared, and its reference kept
        known = _fingerprint_in(model_name)
        lazy = LazyEmbedder(model, {**options, **given}, adapter=adapter, fingerprint=known)
        if isinstance(cache := settings.get("embeddings_cache"), BaseKVStore):
            settings["embeddings_cache"] = DividedCache(cache, lazy.name)
        super().__init__(
            model=lazy.ref,  # type: ignore[call-arg]
            adapter=None if lazy.adapter is None else str(lazy.adapter),
            options=lazy.options,
            model_name=lazy.name,
            embed_batch_size=embed_batch_size,
            **settings,
        )
        self._lazy = lazy

    @classmethod
    def class_name(cls) -> str:
        """As LlamaIndex files the class."""
        return "EmbedtuneEmbedding"

    @property
    def embedder(self) -> Embedder:
        """What embeds, as embedtune knows it; loads the model."""
        return self._lazy.embedder

    @property
    def fingerprint(self) -> str | None:
        """Hash of all that changes a vector; None if it cannot be known."""
        return self._lazy.fingerprint

    @property
    def record(self) -> ModelRecord | None:
        """What the model folder says of its tuning; None if it is not one of ours."""
        return record_of(self._lazy)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _FIXED:
            raise EmbeddingError(_fixed([name]))
        if name == "embeddings_cache" and isinstance(value, BaseKVStore):
            value = DividedCache(value, self.model_name)
        super().__setattr__(name, value)

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another one with other settings of ``BaseEmbedding``; it shares the model.

        Args:
            update: Settings to change.
            deep: Of no effect on the model.

        Raises:
            EmbeddingError: If it would change the model.
        """
        if fixed := [name for name in update or () if name in _FIXED]:
            raise EmbeddingError(_fixed(fixed))
        return super().model_copy(update=update, deep=deep)

    def get_query_embedding(self, query: str) -> Embedding:
        """Embed a query, with the model's query prompt if it has one."""
        with embedding_a_query():
            return super().get_query_embedding(query)

    async def aget_query_embedding(self, query: str) -> Embedding:
        """Embed a query, with the model's query prompt if it has one."""
        with embedding_a_query():
            return await super().aget_query_embedding(query)

    def _embedded(self, texts: list[str], method: str) -> list[Embedding]:
        if not texts:
            return []
        rows: list[Embedding] = getattr(self._lazy, method)(texts).tolist()
        return rows

    def _get_query_embedding(self, query: str) -> Embedding:
        return self._embedded([query], "embed_queries")[0]

    async def _aget_query_embedding(self, query: str) -> Embedding:
        return await asyncio.to_thread(self._get_query_embedding, query)

    def _get_text_embedding(self, text: str) -> Embedding:
        return self._embedded([text], "embed_documents")[0]

    async def _aget_text_embedding(self, text: str) -> Embedding:
        return await asyncio.to_thread(self._get_text_embedding, text)

    def _get_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return self._embedded(texts, "embed_documents")

    async def _aget_text_embeddings(self, texts: list[str]) -> list[Embedding]:
        return await asyncio.to_thread(self._get_text_embeddings, texts)


def _fixed(names: list[str]) -> str:
    return f"{', '.join(map(repr, names))} of an EmbedtuneEmbedding cannot be changed: make another one."


def _check(model: object, settings: Mapping[str, Any]) -> None:
    if model is None:
        raise EmbeddingError(
            "EmbedtuneEmbedding needs model=...: a model folder, a hub name, or a loaded model. One that was made of a "
            "loaded model is in no file: save the model, and give its folder."
        )
    known = [name for name in BaseEmbedding.model_fields if name != "model_name"]
    if unknown := [name for name in settings if name not in known]:
        own = ["device", "trust_remote_code", "max_seq_length", "truncate_dim", "options", "adapter"]
        raise EmbeddingError(
            f"EmbedtuneEmbedding has no setting {', '.join(map(repr, unknown))}. Settings: {', '.join(own + known)}."
        )


def _fingerprint_in(model_name: str | None) -> str | None:
    if model_name is None:
        return None
    if "@" not in model_name:
        raise EmbeddingError(
            f"model_name is made of the model's name and fingerprint; got {model_name!r}. Give the folder or hub name "
            "as model=..., and leave model_name out."
        )
    return model_name.rpartition("@")[2]
