"""The searches of a comparison: prepared once for each side, asked with the same questions."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.evaluation import DEFAULT_CUT_OFFS, Evaluation, evaluate_search
from embedtune.protocols import Embedder, Search
from embedtune.records import ModelRecord
from embedtune.resolve import as_embedder, record_of
from embedtune.search import EmbedOnce, ExactSearch

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager, SearchBackend

__all__ = ["Sides", "evaluate_both", "prepare"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Base and tuned, ready to be asked."""

    searches: Mapping[str, tuple[Search, Search]]
    """Base's and tuned's search by query type."""
    records: tuple[ModelRecord | None, ModelRecord | None]
    """What each says it has seen."""
    model_free: frozenset[str]
    """Query types whose ranking the model cannot change."""


def prepare(
    base: object,
    tuned: object,
    dataset: QADataset,
    query_types: Sequence[str],
    engine: str | None,
    plugins: "PluginManager | None",
) -> Sides:
    """Load both models and fill the engine with the corpus of each."""
    backend = _engine_for(query_types, engine, plugins)
    embedders = [as_embedder(model, plugins) for model in (base, tuned)]
    _warn_of_filters(dataset, embedders)
    first, second = (_searches(EmbedOnce(embedder), dataset, query_types, backend) for embedder in embedders)
    return Sides(
        searches={query_type: (first[query_type], second[query_type]) for query_type in query_types},
        records=(record_of(embedders[0]), record_of(embedders[1])),
        model_free=backend.model_free if backend is not None else frozenset(),
    )


def evaluate_both(sides: Sides, dataset: QADataset, top_k: int) -> dict[str, tuple[Evaluation, Evaluation]]:
    """Base's and tuned's evaluation by query type."""
    evaluations: dict[str, tuple[Evaluation, Evaluation]] = {}
    for query_type, searches in sides.searches.items():
        logger.info("searching: %s", query_type)
        first, second = (
            evaluate_search(search, dataset, top_k, cut_offs=DEFAULT_CUT_OFFS, record=record)
            for search, record in zip(searches, sides.records, strict=True)
        )
        evaluations[query_type] = (first, second)
    return evaluations


def _warn_of_filters(dataset: QADataset, embedders: Sequence[Embedder]) -> None:
    filters = dataset.report.filtered_by if dataset.report else ()
    if any(embedder.fingerprint in filters for embedder in embedders):
        logger.warning(
            "one of the models has chosen these questions by a round trip: what it misses is not among them, and its "
            "figures flatter it; compare on questions that no model has filtered"
        )


def _engine_for(
    query_types: Sequence[str], engine: str | None, plugins: "PluginManager | None"
) -> "SearchBackend | None":
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    if not query_types or len(set(query_types)) < len(query_types):
        raise EvaluationError(f"query_types must name each type once, at least one; got {tuple(query_types)}.")
    if engine is None and set(query_types) == {"vector"}:
        return None
    manager = plugins or plugin_manager()
    fitting = [row for row in manager.search_engines() if set(query_types) <= set(row.query_types)]
    backend = fitting[0] if engine is None and fitting else manager.search_engine(engine or "lancedb")
    if unknown := [name for name in query_types if name not in backend.query_types]:
        raise EvaluationError(
            f"The engine {backend.name!r} has no query type {unknown[0]!r}; it has {backend.query_types}."
        )
    return backend


def _searches(
    model: Embedder, dataset: QADataset, query_types: Sequence[str], backend: "SearchBackend | None"
) -> Mapping[str, Search]:
    if backend is None:
        return {"vector": ExactSearch(dataset.corpus, model)}
    filled = backend.load(dataset.corpus, model)
    return {query_type: filled.searcher(query_type) for query_type in query_types}
