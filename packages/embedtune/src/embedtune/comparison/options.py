"""How a comparison searches, checked before anything is loaded."""

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.errors import EvaluationError
from embedtune.evaluation import DEFAULT_CUT_OFFS, check_cut_offs
from embedtune.reranking import DEFAULT_DEPTH

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager, SearchBackend

__all__ = ["INDEXED", "OF_SEARCHES", "SearchOptions", "is_reranked", "plain"]

logger = logging.getLogger(__name__)

INDEXED = "vector_indexed"
"""The query type of an approximate search, of which an engine tells what it loses."""
OF_SEARCHES = ("search", "reranked_search")
"""The query types of searches that are filled already."""
_RERANKED = "reranked_"


def plain(query_type: str) -> str:
    """The query type whose finds are reranked, or the type itself.

    >>> plain("reranked_hybrid"), plain("fts")
    ('hybrid', 'fts')
    """
    return query_type.removeprefix(_RERANKED)


def is_reranked(query_type: str) -> bool:
    """Whether the type is another one, reranked."""
    return query_type.startswith(_RERANKED)


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """The arguments of `compare` of the same names."""

    query_types: Sequence[str] = ("vector",)
    top_k: int = 5
    engine: "str | SearchBackend | None" = None
    reranker: object = None
    depth: int = DEFAULT_DEPTH
    cache: str | Path | None = None
    progress: bool = True
    plugins: "PluginManager | None" = None

    def checked(self) -> "SearchBackend | None":
        """The engine that has the query types; None where core searches itself.

        Raises:
            EvaluationError: If a number is below 1, or a query type is unknown, given twice or lacks its reranker.
            BackendNotFoundError: If an engine is needed and none is installed.
        """
        check_cut_offs(self.top_k)
        if not self.query_types or len(set(self.query_types)) < len(self.query_types):
            raise EvaluationError(f"query_types must name each type once, at least one; got {tuple(self.query_types)}.")
        self._check_reranking()
        wanted = {plain(name) for name in self.query_types}
        if self.engine is None and (wanted == {"vector"} or wanted == {"search"}):
            return None
        return self._backend(wanted)

    def _check_reranking(self) -> None:
        reranked = [name for name in self.query_types if is_reranked(name)]
        if reranked and self.reranker is None:
            raise EvaluationError(
                f"The query type {reranked[0]!r} needs a reranker (reranker=, --reranker): give a model reference such "
                "as 'cross-encoder/ms-marco-MiniLM-L6-v2', a loaded CrossEncoder, a reranker of LanceDB, or an object "
                f"with score(pairs); or leave it out for {plain(reranked[0])!r}."
            )
        if self.reranker is not None and not reranked:
            raise EvaluationError(
                f"A reranker is given, but no query type is reranked: add {_RERANKED + self.query_types[0]!r} to "
                f"query_types, which are {tuple(self.query_types)}."
            )
        if self.depth < 1:
            raise EvaluationError(f"depth must be at least 1; got {self.depth}.")
        deepest = max(self.top_k, *DEFAULT_CUT_OFFS)
        if reranked and self.depth < deepest:
            told = "the first %d finds are reranked: hit rate and recall at cut-offs from %d to %d cannot change"
            logger.warning(told, self.depth, self.depth, deepest)

    def _backend(self, wanted: Collection[str]) -> "SearchBackend":
        from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

        manager = self.plugins or plugin_manager()
        if self.engine is not None and not isinstance(self.engine, str):
            backend = self.engine
        else:
            fitting = [row for row in manager.search_engines() if set(wanted) <= set(row.query_types)]
            found = fitting[0] if self.engine is None and fitting else None
            backend = found or manager.search_engine(self.engine or "lancedb")
        for query_type in self.query_types:
            if plain(query_type) not in backend.query_types:
                name, offered = backend.name, backend.query_types
                raise EvaluationError(f"The engine {name!r} has no query type {plain(query_type)!r}; it has {offered}.")
        return backend
