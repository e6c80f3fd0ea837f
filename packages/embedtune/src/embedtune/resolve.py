"""From whatever a user gives (reference, framework object, protocol) to an `Embedder` or a `Search`."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.errors import EvaluationError
from embedtune.protocols import Embedder, Reranker, Retriever, Search
from embedtune.records import ModelRecord, read_record
from embedtune.retrievers import RetrieverSearch
from embedtune.search import ExactSearch

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["as_embedder", "as_reranker", "as_search", "record_of"]


def as_embedder(model: object, plugins: "PluginManager | None" = None) -> Embedder:
    """The model as an `Embedder`.

    Args:
        model: A reference, an `Embedder`, or what an installed plugin knows.
        plugins: Where it is looked up.

    Raises:
        EvaluationError: If nothing knows it.
    """
    embedder = _embedder_or_none(model, plugins)
    if embedder is None:
        raise EvaluationError(_unknown(model))
    return embedder


def _embedder_or_none(model: object, plugins: "PluginManager | None") -> Embedder | None:
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    manager = plugins or plugin_manager()
    if isinstance(model, Path):
        model = str(model.expanduser().absolute())
    return manager.embedder(model) if isinstance(model, str) else manager.as_embedder(model)


def as_reranker(thing: object, plugins: "PluginManager | None" = None) -> Reranker:
    """The thing as a `Reranker`.

    Args:
        thing: A reference, a `Reranker`, or what an installed plugin knows.
        plugins: Where it is looked up.

    Raises:
        EvaluationError: If nothing knows it.
        ModelNotFoundError: If a reference is a folder that does not exist; before any framework is imported.
    """
    from embedtune.plugins import plugin_manager  # as above

    manager = plugins or plugin_manager()
    if isinstance(thing, Path):
        thing = str(thing.expanduser().absolute())
    reranker = manager.reranker(thing) if isinstance(thing, str) else manager.as_reranker(thing)
    if reranker is None:
        raise EvaluationError(
            f"A {type(thing).__module__}.{type(thing).__name__} is no reranker that an installed plugin knows. Give a "
            "model reference, a CrossEncoder of sentence-transformers, a reranker of LanceDB, or an object with "
            "score(pairs) and fingerprint; `embedtune plugins` lists what is installed."
        )
    return reranker


def as_search(
    thing: object, corpus: Mapping[str, str], plugins: "PluginManager | None" = None
) -> tuple[Search, ModelRecord | None]:
    """The thing as a search over a corpus, and what its model says it has seen.

    Args:
        thing: A model, which is then searched exactly over ``corpus``, or a search that is filled already.
        corpus: Text by chunk id.
        plugins: Where it is looked up.

    Raises:
        EvaluationError: If nothing knows it.
    """
    from embedtune.plugins import plugin_manager  # as above

    embedder = _embedder_or_none(thing, plugins)
    if embedder is not None:
        return ExactSearch(corpus, embedder), record_of(embedder)
    search = (plugins or plugin_manager()).as_search(thing)
    if isinstance(search, Retriever):
        return RetrieverSearch(search, corpus), record_of(search)
    if search is None and isinstance(thing, Search) and _takes_queries_and_k(thing):
        search = thing
    if search is None:
        raise EvaluationError(_unknown(thing))
    return search, None


def record_of(embedder: Embedder | Retriever) -> ModelRecord | None:
    """What the model's folder says it has seen; None if the embedder, or retriever, names no folder of ours."""
    folder = getattr(embedder, "record_folder", None) or getattr(embedder, "folder", None)
    return read_record(folder) if folder is not None else None


def _takes_queries_and_k(thing: Search) -> bool:
    # Tables and clients of vector databases have a method of the same name and other arguments.
    return "k" in inspect.signature(thing.search).parameters


def _unknown(thing: object) -> str:
    return (
        f"A {type(thing).__module__}.{type(thing).__name__} is no model and no search that an installed plugin knows. "
        "Give a model reference, an object with embed_queries and embed_documents, or one with search(queries, k); "
        "`embedtune plugins` lists what is installed."
    )
