"""From whatever a user gives (reference, framework object, protocol) to an `Embedder`, `Search` or `Reranker`."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.foreign_searches import FunctionSearch, RunFile, is_search_function, run_file_path
from embedtune.protocols import Embedder, Reranker, Retriever, Search
from embedtune.records import ModelRecord, read_record
from embedtune.retrievers import RetrieverSearch
from embedtune.search import ExactSearch

if TYPE_CHECKING:
    from embedtune.caches import VectorCache
    from embedtune.plugins import PluginManager

__all__ = ["Resolved", "as_dataset", "as_embedder", "as_reranker", "as_search", "record_of", "resolve"]


def as_dataset(dataset: object) -> QADataset:
    """The data set itself, or what its ``to_qa_dataset`` makes of it, as those for other frameworks have.

    Raises:
        EvaluationError: If it is something else, such as a path.
    """
    if isinstance(dataset, QADataset):
        return dataset
    convert = getattr(dataset, "to_qa_dataset", None)
    if not callable(convert) or not isinstance(made := convert(), QADataset):
        raise EvaluationError(
            f"The questions must be a QADataset; got a {type(dataset).__name__}, {dataset!r:.60}. "
            "QADataset.load(path) reads one from a file or folder; QADataset(queries, corpus, relevant_docs) makes one."
        )
    return made


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
    thing: object,
    corpus: Mapping[str, str],
    plugins: "PluginManager | None" = None,
    *,
    queries: Mapping[str, str] | None = None,
    cache: "VectorCache | str | Path | None" = None,
) -> tuple[Search, ModelRecord | None]:
    """The thing as a search over a corpus, and what its model says it has seen.

    Args:
        thing: A model, which is then searched exactly over ``corpus``, or a search that is filled already: a `Search`,
            a function of queries and ``k``, the path of a TREC run file, or what an installed plugin knows.
        corpus: Text by chunk id.
        plugins: Where it is looked up.
        queries: Query texts by id, for a run file.
        cache: Where a model's vectors are kept: a `VectorCache` or its folder.

    Raises:
        EvaluationError: If nothing knows it.
    """
    resolved = resolve(thing, corpus, plugins, queries=queries)
    if resolved.search is not None:
        return resolved.search, resolved.record
    assert resolved.embedder is not None
    embedder = resolved.embedder
    if cache is not None:
        from embedtune.caches import cached  # sqlite3, which not every Python has

        embedder = cached(embedder, cache)
    return ExactSearch(corpus, embedder), resolved.record


@dataclass(frozen=True)
class Resolved:
    """A model or a search: one of the two is None."""

    embedder: Embedder | None
    """The model."""
    search: Search | None
    """The search, filled already."""
    record: ModelRecord | None
    """What its model says it has seen."""


def resolve(
    thing: object,
    corpus: Mapping[str, str],
    plugins: "PluginManager | None" = None,
    *,
    queries: Mapping[str, str] | None = None,
) -> Resolved:
    """The thing as a model or a search; arguments and errors as for `as_search`. Nothing is embedded."""
    if is_search_function(thing):
        return Resolved(None, FunctionSearch(cast("Callable[..., list[list[str]]]", thing)), None)
    if (path := run_file_path(thing)) is not None:
        if queries is None:
            raise EvaluationError(
                f"The run file {str(path)!r} needs the queries' ids: give RunFile(path, queries, corpus)."
            )
        return Resolved(None, RunFile(path, queries, corpus), None)
    embedder = _embedder_or_none(thing, plugins)
    if embedder is not None:
        return Resolved(embedder, None, record_of(embedder))
    from embedtune.plugins import plugin_manager  # as above

    search = (plugins or plugin_manager()).as_search(thing)
    if isinstance(search, Retriever):
        return Resolved(None, RetrieverSearch(search, corpus), record_of(search))
    if search is None and isinstance(thing, Search) and _takes_queries_and_k(thing):
        search = thing
    if search is None:
        raise EvaluationError(_unknown(thing))
    return Resolved(None, search, None)


def record_of(embedder: Embedder | Retriever | Reranker) -> ModelRecord | None:
    """What the model's folder says it has seen; None if it, or the retriever, names no folder of ours."""
    folder = getattr(embedder, "record_folder", None) or getattr(embedder, "folder", None)
    return read_record(folder) if folder is not None else None


def _takes_queries_and_k(thing: Search) -> bool:
    # Tables and clients of vector databases have a method of the same name and other arguments.
    return "k" in inspect.signature(thing.search).parameters


def _unknown(thing: object) -> str:
    return (
        f"A {type(thing).__module__}.{type(thing).__name__} is no model and no search that an installed plugin knows. "
        "Give a model reference, an object with embed_queries, embed_documents, fingerprint (it may be None) and "
        "similarity, one with search(queries, k), a function of queries and k, or the path of a TREC run file; "
        "`embedtune plugins` lists what is installed."
    )
