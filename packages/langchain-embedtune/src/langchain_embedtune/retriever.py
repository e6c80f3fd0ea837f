"""LangChain's retrievers and vector stores as an `embedtune.Retriever`."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from embedtune import EvaluationError, Retrieved
from embedtune.framework_llm import frameworks_loop
from langchain_embedtune.documents import chunk_id_of_document

if TYPE_CHECKING:
    from langchain_core.documents import Document
    from langchain_core.retrievers import BaseRetriever
    from langchain_core.vectorstores import VectorStore

__all__ = ["LangChainRetriever", "LangChainStoreSearch"]


class _DocumentSearch:
    """Asks the synchronous way, and the asynchronous one where there is no other."""

    embedded_hint = "LangChain's stores embed page_content alone: make the data set of the documents that were added."

    def __init__(self, thing: object) -> None:
        self._thing = thing
        self._is_async_only = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._thing).__name__})"

    @property
    def record_folder(self) -> Path | None:
        """Where ``embedtune.json`` may say what the model of the store has seen."""
        return next(_record_folders(self._thing), None)

    def _found(
        self, ask: "Callable[[], Sequence[Document]]", ask_async: "Callable[[], Awaitable[Sequence[Document]]]"
    ) -> list[Retrieved]:
        if not self._is_async_only:
            try:
                return _retrieved(ask())
            except NotImplementedError:
                found = _retrieved(_waited_for(ask_async))
                self._is_async_only = True
                return found
        return _retrieved(_waited_for(ask_async))


class LangChainRetriever(_DocumentSearch):
    """Asks any retriever as a chain would, at the depth asked for where it can be told.

    The depth is set on a copy: as ``search_kwargs["k"]``, which vector stores' retrievers have, or as the field ``k``.
    A larger one of the user's stays. A retriever that has neither returns as many as it does.

    Args:
        retriever: A ``BaseRetriever``.
    """

    def __init__(self, retriever: "BaseRetriever | object") -> None:
        super().__init__(retriever)
        self._retriever = cast("BaseRetriever", retriever)

    def retrieve(self, query: str, k: int) -> list[Retrieved]:
        """By ``invoke``, or ``ainvoke`` where the retriever is asynchronous only."""
        deep = _with_depth(self._retriever, k)
        return self._found(lambda: deep.invoke(query), lambda: deep.ainvoke(query))


class LangChainStoreSearch(_DocumentSearch):
    """Asks a vector store for what is most similar.

    Args:
        store: A ``VectorStore``, filled.
    """

    def __init__(self, store: "VectorStore | object") -> None:
        super().__init__(store)
        self._store = cast("VectorStore", store)

    def retrieve(self, query: str, k: int) -> list[Retrieved]:
        """By ``similarity_search``, or ``asimilarity_search`` where the store is asynchronous only."""
        return self._found(
            lambda: self._store.similarity_search(query, k=k), lambda: self._store.asimilarity_search(query, k=k)
        )


def _with_depth(retriever: "BaseRetriever", k: int) -> "BaseRetriever":
    """A copy that is asked for ``k`` or more."""
    search_kwargs = getattr(retriever, "search_kwargs", None)
    if isinstance(search_kwargs, dict):
        update: dict[str, Any] = {"search_kwargs": {**search_kwargs, "k": max(k, search_kwargs.get("k") or 0)}}
    elif isinstance(own := getattr(retriever, "k", None), int):
        update = {"k": max(k, own)}
    else:
        return retriever
    return retriever.model_copy(update=update)


def _record_folders(thing: object, most_deep: int = 4) -> Iterator[Path]:
    """Of the models behind a store, or behind a retriever and those within it."""
    folder = getattr(getattr(thing, "embeddings", None), "record_folder", None)
    if isinstance(folder, Path):
        yield folder
    inner = [getattr(thing, name, None) for name in ("vectorstore", "base_retriever", "retriever")]
    for within in [*inner, *(getattr(thing, "retrievers", None) or ())]:
        if within is not None and most_deep:
            yield from _record_folders(within, most_deep - 1)


def _retrieved(documents: object) -> list[Retrieved]:
    if not isinstance(documents, Sequence) or any(not hasattr(document, "page_content") for document in documents):
        raise EvaluationError(f"A retriever must return a list of documents; got {documents!r:.80}.")
    return [Retrieved(chunk_id_of_document(document), document.page_content) for document in documents]


def _waited_for(ask: "Callable[[], Awaitable[Sequence[Document]]]") -> "Sequence[Document]":
    async def asked() -> "Sequence[Document]":
        return await ask()

    return asyncio.run_coroutine_threadsafe(asked(), frameworks_loop()).result()
