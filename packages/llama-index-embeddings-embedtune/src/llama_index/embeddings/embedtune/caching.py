"""LlamaIndex's cache of vectors, divided by model and side: by itself it is keyed by the text alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from llama_index.core.storage.kvstore.types import DEFAULT_COLLECTION, BaseKVStore

__all__ = ["DividedCache", "embedding_a_query"]

_side: ContextVar[str] = ContextVar("embedtune_side", default="document")


@contextmanager
def embedding_a_query() -> Iterator[None]:
    """Within it, what is looked up and put is a query's."""
    token = _side.set("query")
    try:
        yield
    finally:
        _side.reset(token)


class DividedCache(BaseKVStore):
    """A store in which the vectors of each model, and of its queries and its chunks, are a collection of their own.

    Args:
        store: Any store of LlamaIndex; what others put there stays apart.
        model_name: With the fingerprint, as in `EmbedtuneEmbedding`.
    """

    def __init__(self, store: BaseKVStore, model_name: str) -> None:
        self.store: BaseKVStore = store.store if isinstance(store, DividedCache) else store
        self._model_name = model_name

    def _place(self, collection: str) -> str:
        return f"{collection}/{self._model_name}/{_side.get()}"

    def put(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Keep a vector."""
        self.store.put(key, val, self._place(collection))

    async def aput(self, key: str, val: dict[str, Any], collection: str = DEFAULT_COLLECTION) -> None:
        """Keep a vector."""
        await self.store.aput(key, val, self._place(collection))

    def get(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The vector of a text, None if it is not kept."""
        return self.store.get(key, self._place(collection))

    async def aget(self, key: str, collection: str = DEFAULT_COLLECTION) -> dict[str, Any] | None:
        """The vector of a text, None if it is not kept."""
        return await self.store.aget(key, self._place(collection))

    def get_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All vectors by text."""
        return self.store.get_all(self._place(collection))

    async def aget_all(self, collection: str = DEFAULT_COLLECTION) -> dict[str, dict[str, Any]]:
        """All vectors by text."""
        return await self.store.aget_all(self._place(collection))

    def delete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a vector; whether it was there."""
        return self.store.delete(key, self._place(collection))

    async def adelete(self, key: str, collection: str = DEFAULT_COLLECTION) -> bool:
        """Forget a vector; whether it was there."""
        return await self.store.adelete(key, self._place(collection))
