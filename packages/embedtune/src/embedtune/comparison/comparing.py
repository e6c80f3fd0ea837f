"""`compare`: base and tuned model on the same questions, with paired intervals and a verdict."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.comparison.doctor import diagnose
from embedtune.comparison.options import SearchOptions
from embedtune.comparison.rows import Comparison
from embedtune.comparison.searching import evaluate_both, index_recall, notes_of, prepare
from embedtune.comparison.summarising import summarise
from embedtune.comparison.verdicts import check_margin, check_seed
from embedtune.dataset import QADataset
from embedtune.reranking import DEFAULT_DEPTH
from embedtune.resolve import as_dataset

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager, SearchBackend

__all__ = ["compare"]


def compare(
    base: object,
    tuned: object,
    dataset: QADataset,
    query_types: str | Sequence[str] = ("vector",),
    top_k: int = 5,
    *,
    margin: float = 0.01,
    reranker: object = None,
    depth: int = DEFAULT_DEPTH,
    engine: "str | SearchBackend | None" = None,
    cache: str | Path | None = None,
    seed: int = 0,
    progress: bool = True,
    plugins: "PluginManager | None" = None,
) -> Comparison:
    """Ask both models the same questions, over each way of searching.

    The verdict is of the hit rate, in the first query type that the model can change. It is *ship* if the 95% interval
    of the difference lies above 0 and the test agrees (p < 0.05: of a handful of documents the interval alone says too
    much; adjusted by Holm where the model can change several of the query types); *do not ship: worse* if the interval
    lies below 0, test or no test; *no difference within the margin* if it lies inside the margin, also if losses or
    wins of which none was seen are allowed for; else *cannot tell*, with the smallest difference that the questions
    show and the number that would show the margin. Questions that a model has seen in training or selection do not
    count, and where all were seen it is never *ship*.

    Interval and test draw whole clusters: the questions on one document, or those that share chunks. If the verdict
    is not *ship*, `findings` tells what was measured that may be the reason.

    Each text is embedded once by each model, each pair of query and text is scored once by the reranker, and what the
    model cannot change (``fts``) is searched once. Two searches, or a search and a model, are compared by the same
    figures under the query type ``search``.

    Args:
        base: Model before, as for `evaluate`; or a search.
        tuned: Model after; or another search.
        dataset: Questions that neither model has seen.
        query_types: ``vector`` is searched exactly in core; ``fts``, ``hybrid`` and ``vector_indexed`` need an engine.
            With ``reranked_`` before it (``reranked_vector``) the finds of a type are reranked.
        top_k: Cut-off of the primary metric.
        margin: A difference that does not matter, as a fraction in [0, 1): 0.01 is one point.
        reranker: For the reranked types: a reference, a `Reranker`, or what an installed plugin knows: a
            ``CrossEncoder`` of sentence-transformers, a reranker of LanceDB.
        depth: Finds of each query that are reranked.
        engine: A search engine's name, such as ``lancedb``, or its backend; if None, the installed one that has the
            types.
        cache: A folder where vectors and scores outlive this call, by fingerprint and text; None keeps them nowhere.
        seed: Seeds bootstrap and sign flips.
        progress: Whether bars are shown for searching and reranking.
        plugins: Where models, rerankers and engines are looked up.

    Raises:
        EvaluationError: If a query type is unknown, given twice or lacks its reranker, ``top_k`` or ``depth`` is
            below 1, or ``margin`` or ``seed`` out of range; before anything is loaded.
        BackendNotFoundError: If an engine is needed and none is installed.
    """
    check_margin(margin)
    check_seed(seed)
    dataset = as_dataset(dataset)
    options = SearchOptions(
        query_types=(query_types,) if isinstance(query_types, str) else query_types,
        top_k=top_k,
        engine=engine,
        reranker=reranker,
        depth=depth,
        cache=cache,
        progress=progress,
        plugins=plugins,
    )
    sides = prepare(base, tuned, dataset, options)
    evaluations = evaluate_both(sides, dataset, top_k, progress=progress)
    settings = {**sides.settings, **index_recall(sides, dataset, top_k), "seed": seed}
    return summarise(
        evaluations,
        dataset,
        top_k,
        margin=margin,
        seed=seed,
        model_free=sides.model_free,
        is_one_model=sides.is_one_model,
        settings=settings,
        notes=notes_of(sides, evaluations),
        doctor=partial(diagnose, dataset, *sides.embedders, *sides.records),
    )
