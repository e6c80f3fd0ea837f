"""The searches of a comparison: prepared once for each side, asked with the same questions."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from tqdm.auto import tqdm

from embedtune.adapter.query_adapter import AdaptedEmbedder
from embedtune.comparison.options import INDEXED, OF_SEARCHES, SearchOptions, is_reranked, plain
from embedtune.comparison.settings import described, versions
from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.evaluation import DEFAULT_CUT_OFFS, Evaluation, evaluate_search
from embedtune.plugins.backends import IndexedEngine
from embedtune.protocols import Embedder, Search
from embedtune.records import ModelRecord
from embedtune.reranking import RerankedSearch, ScoreOnce
from embedtune.resolve import Resolved, as_reranker, record_of, resolve
from embedtune.search import EmbedOnce, ExactSearch

if TYPE_CHECKING:
    from embedtune.plugins import SearchBackend, SearchEngine

__all__ = ["Sides", "evaluate_both", "index_recall", "notes_of", "prepare"]

logger = logging.getLogger(__name__)

_SECONDS_BEFORE_A_BAR = 2

Pair = tuple[Search, Search]
"""Base's and tuned's search; one and the same where the model cannot change it."""
Finish = Callable[[str, Search], Search]
"""Adds what core adds to a search of a query type: reranking."""


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Base and tuned, ready to be asked."""

    searches: Mapping[str, Pair]
    """The searches by query type."""
    embedders: tuple[Embedder | None, Embedder | None]
    """The models as they were resolved; None for a search."""
    records: tuple[ModelRecord | None, ModelRecord | None]
    """What each says it has seen."""
    reranker_record: ModelRecord | None = None
    """What the reranker says it has seen."""
    is_one_model: bool
    """Whether base and tuned have one fingerprint."""
    model_free: frozenset[str]
    """Query types whose ranking the model cannot change."""
    engines: "tuple[SearchEngine, ...]"
    """Base's and tuned's engine, if engines search; one alone where both are the same."""
    settings: Mapping[str, Any]
    """What is compared, and with what."""


def prepare(base: object, tuned: object, dataset: QADataset, options: SearchOptions) -> Sides:
    """Load both models, or take both searches, and fill the engine with the corpus of each.

    Raises:
        EvaluationError: As `SearchOptions.checked`, before anything is loaded; or if nothing knows a model, or a query
            type does not fit to searches.
    """
    backend = options.checked()
    reranker = None if options.reranker is None else as_reranker(options.reranker, options.plugins)
    found = [resolve(thing, dataset.corpus, options.plugins, queries=dataset.queries) for thing in (base, tuned)]
    _warn_of_filters(dataset, found)
    finish, is_one = _reranking(dataset, options, reranker), _is_one_model(found)
    engines: tuple[SearchEngine, ...] = ()
    if any(side.search is not None for side in found) or set(options.query_types) <= set(OF_SEARCHES):
        backend, searches = None, _of_searches(found, dataset, options, finish)
    else:
        engines = _engines(found[:1] if is_one else found, dataset, options, backend)
        searches = _of_models(engines, options, backend, finish)
    free = backend.model_free if backend is not None else frozenset()
    return Sides(
        searches=searches,
        embedders=(found[0].embedder, found[1].embedder),
        records=(found[0].record, found[1].record),
        reranker_record=None if reranker is None else record_of(reranker),
        is_one_model=is_one,
        model_free=frozenset(name for name in searches if plain(name) in free),
        engines=engines,
        settings={
            "base": described(base, found[0].embedder or found[0].search),
            "tuned": described(tuned, found[1].embedder or found[1].search),
            "query_types": list(searches),
            "engine": backend.name if backend is not None else "exact" if engines else None,
            "engine_options": dict(backend.options) if backend is not None else {},
            "reranker": None if reranker is None else described(options.reranker, reranker),
            "depth": None if reranker is None else options.depth,
            "versions": dict(versions()),
        },
    )


def evaluate_both(
    sides: Sides, dataset: QADataset, top_k: int, *, progress: bool = True
) -> dict[str, tuple[Evaluation, Evaluation]]:
    """Base's and tuned's evaluation by query type; one and the same where the model cannot change it."""
    evaluations: dict[str, tuple[Evaluation, Evaluation]] = {}
    shown = tqdm(sides.searches.items(), unit="search", leave=False, delay=_SECONDS_BEFORE_A_BAR, disable=not progress)
    for query_type, (first, second) in shown:
        logger.info("searching: %s", query_type)
        shown.set_description(f"searching: {query_type}", refresh=False)
        base_record, tuned_record = _records(sides, query_type)
        base = evaluate_search(first, dataset, top_k, cut_offs=DEFAULT_CUT_OFFS, record=base_record)
        if first is second and base_record == tuned_record:
            evaluations[query_type] = (base, base)
            continue
        tuned = evaluate_search(second, dataset, top_k, cut_offs=DEFAULT_CUT_OFFS, record=tuned_record)
        evaluations[query_type] = (base, tuned)
    return evaluations


def _records(sides: Sides, query_type: str) -> tuple[ModelRecord | None, ModelRecord | None]:
    """What base and tuned have seen; reranked, by a tuned reranker, also what that has."""
    base, tuned = sides.records
    reranker = sides.reranker_record
    if reranker is None or not is_reranked(query_type):
        return base, tuned
    return _seen_too(base, reranker), _seen_too(tuned, reranker)


def _seen_too(record: ModelRecord | None, other: ModelRecord) -> ModelRecord:
    return other if record is None else record.model_copy(update={"seen": record.seen | other.seen})


def index_recall(sides: Sides, dataset: QADataset, top_k: int) -> Mapping[str, Any]:
    """For the settings: the share of the exact first ``top_k`` that an index gives back, where one is searched."""
    engines = [engine for engine in sides.engines if isinstance(engine, IndexedEngine)]
    if not engines or INDEXED not in map(plain, sides.searches):
        return {}
    recalls = [engine.index_recall(list(dataset.queries.values()), top_k) for engine in engines]
    base, tuned = recalls[0], recalls[-1]
    logger.info("of the exact first %d the index gives back %.3f (base) and %.3f (tuned)", top_k, base, tuned)
    return {"index_recall": {"k": top_k, "base": base, "tuned": tuned}}


def notes_of(sides: Sides, evaluations: Mapping[str, tuple[Evaluation, Evaluation]]) -> list[str]:
    """What is known of the tuned model's training, and whether there are two models at all."""
    notes = []
    if sides.is_one_model:
        notes.append("Base and tuned are one and the same model, by their fingerprint.")
    if sides.records[1] is None:
        notes.append(
            "What the tuned side was trained on is not known: it has no embedtune.json. On questions that have trained "
            "it, these figures prove nothing."
        )
    elif not any(before.n_seen or after.n_seen for before, after in evaluations.values()):
        notes.append("None of the questions has trained or chosen the tuned model, as its embedtune.json says.")
    return notes


class _AskedOnce:
    """A search that remembers its last answer: both sides ask it the same."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._asked: tuple[list[str], int] | None = None
        self._found: list[list[str]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        if self._asked != (list(queries), k):
            self._found, self._asked = self._search.search(queries, k), (list(queries), k)
        return self._found


def _reranking(dataset: QADataset, options: SearchOptions, reranker: Any) -> Finish:
    if reranker is None:
        return lambda query_type, search: search
    scores = None
    if options.cache is not None:
        from embedtune.caches import ScoreCache  # sqlite3, which not every Python has

        scores = ScoreCache(options.cache)
    once = ScoreOnce(reranker, scores, progress=options.progress)

    def finish(query_type: str, search: Search) -> Search:
        return RerankedSearch(search, dataset.corpus, once, options.depth) if is_reranked(query_type) else search

    return finish


def _of_searches(
    found: Sequence[Resolved], dataset: QADataset, options: SearchOptions, finish: Finish
) -> dict[str, Pair]:
    names = ("search",) if tuple(options.query_types) == ("vector",) else tuple(options.query_types)
    if options.engine is not None or not set(names) <= set(OF_SEARCHES):
        raise EvaluationError(
            f"query_types {tuple(options.query_types)} and engine {options.engine!r} are for models; searches are "
            f"compared as they are. Leave both out, or give query_types of {OF_SEARCHES}."
        )
    models = _embedded_once(found, options)
    first, second = (
        side.search or ExactSearch(dataset.corpus, cast(Embedder, model))
        for side, model in zip(found, models, strict=True)
    )
    return {name: (finish(name, first), finish(name, second)) for name in names}


class _Exact:
    """Core's own search as an engine."""

    def __init__(self, corpus: Mapping[str, str], embedder: Embedder) -> None:
        self._search = ExactSearch(corpus, embedder)

    def searcher(self, query_type: str) -> Search:
        return self._search


def _engines(
    found: Sequence[Resolved], dataset: QADataset, options: SearchOptions, backend: "SearchBackend | None"
) -> "tuple[SearchEngine, ...]":
    """An engine for each model; one alone, with texts alone, where no query type needs a model."""
    if backend is not None and {plain(name) for name in options.query_types} <= backend.model_free:
        return (backend.load(dataset.corpus, None),)
    load = _Exact if backend is None else backend.load
    return tuple(load(dataset.corpus, cast(Embedder, model)) for model in _embedded_once(found, options))


def _of_models(
    engines: "Sequence[SearchEngine]", options: SearchOptions, backend: "SearchBackend | None", finish: Finish
) -> dict[str, Pair]:
    searches: dict[str, Pair] = {}
    for name in options.query_types:
        if backend is not None and plain(name) in backend.model_free:
            shared = _AskedOnce(finish(name, engines[0].searcher(plain(name))))
            searches[name] = (shared, shared)
        else:
            made = [finish(name, engine.searcher(plain(name))) for engine in engines]
            searches[name] = (made[0], made[-1])
    return searches


def _is_one_model(found: Sequence[Resolved]) -> bool:
    fingerprints = {None if side.embedder is None else side.embedder.fingerprint for side in found}
    return len(fingerprints) == 1 and None not in fingerprints


def _embedded_once(found: Sequence[Resolved], options: SearchOptions) -> list[Embedder | None]:
    """Each side's model with its vectors kept; where one is an adapter over the other, they share them."""
    known: dict[str | int, Embedder] = {}

    def once(embedder: Embedder) -> Embedder:
        """The embedder in the coat that all of its fingerprint share."""
        if isinstance(embedder, AdaptedEmbedder):
            return embedder.over(once(embedder.embedder))
        key = embedder.fingerprint or id(embedder)
        if key not in known and options.cache is not None:
            from embedtune.caches import CachedEmbedder  # as above

            known[key] = EmbedOnce(CachedEmbedder(embedder, options.cache))
        return known.setdefault(key, EmbedOnce(embedder))

    return [None if side.embedder is None else once(side.embedder) for side in found]


def _warn_of_filters(dataset: QADataset, found: Sequence[Resolved]) -> None:
    filters = dataset.report.filtered_by if dataset.report else ()
    if filters and any(side.embedder is not None and side.embedder.fingerprint in filters for side in found):
        logger.warning(
            "one of the models has chosen these questions by a round trip: what it misses is not among them, and its "
            "figures flatter it; compare on questions that no model has filtered"
        )
