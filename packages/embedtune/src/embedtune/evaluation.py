"""`evaluate`: how well a model, or any search, finds the relevant chunks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from embedtune.asking import ask_all
from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.judging import Judge
from embedtune.metrics import relevant_ranks
from embedtune.protocols import Search
from embedtune.records import ModelRecord
from embedtune.resolve import as_dataset, as_embedder, as_search, record_of
from embedtune.retrievers import RetrieverSearch
from embedtune.search import ExactSearch, Ranking

if TYPE_CHECKING:
    from pathlib import Path

    from embedtune.caches import VectorCache
    from embedtune.plugins import PluginManager

__all__ = ["DEFAULT_CUT_OFFS", "Evaluation", "evaluate", "evaluate_dims", "evaluate_search"]

logger = logging.getLogger(__name__)

DEFAULT_CUT_OFFS = (1, 3, 5, 10)
"""Cut-off ranks at which metrics are given, beside ``top_k``."""


@dataclass(frozen=True, repr=False, eq=False)  # arrays have no single answer to ==
class Evaluation(Sequence[dict[str, Any]]):
    """One row per query, and the metrics over all of them.

    A row holds ``query_id``, ``query`` (its text), ``expected`` and ``retrieved`` (chunk ids; the first
    ``top_k``, best first), ``rank`` (1-based, of the first relevant chunk among all that were searched, see
    ``depth``; None if there is none), ``is_hit`` (rank is at most ``top_k``) and ``seen`` (the model was trained on,
    or chosen by, this query or its chunk). ``pandas.DataFrame(evaluation)["is_hit"].mean()`` is the hit rate.
    """

    rows: tuple[dict[str, Any], ...]
    """The rows, in the order of the queries."""
    per_query: Mapping[str, npt.NDArray[np.float64]]
    """Each metric for each query, shape (n_queries,), in the order of the rows."""
    top_k: int
    """The cut-off of ``is_hit``."""
    failed_queries: tuple[str, ...] = ()
    """Ids of the queries whose search raised; they count as not found."""
    depth: int | None = None
    """Results that were fetched for a query, beyond which no rank is known; None if the whole corpus was ranked."""
    rankings: tuple[list[str], ...] = ()
    """The ids found for each query, best first, down to the largest cut-off; if not given, those of the rows."""
    metrics: Mapping[str, float] = field(init=False)
    """Means over all queries, such as ``{"hit_rate@5": 0.64}``."""

    def __post_init__(self) -> None:
        means = {name: float(values.mean()) for name, values in self.per_query.items()}
        object.__setattr__(self, "metrics", means)
        if not self.rankings:
            object.__setattr__(self, "rankings", tuple(row["retrieved"] for row in self.rows))

    @property
    def hit_rate(self) -> float:
        """Share of queries with a relevant chunk among the first ``top_k``."""
        return self.metrics[f"hit_rate@{self.top_k}"]

    @property
    def n_seen(self) -> int:
        """Number of queries that the model has seen in training or selection."""
        return sum(row["seen"] for row in self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[dict[str, Any], ...]: ...
    def __getitem__(self, index: int | slice) -> dict[str, Any] | tuple[dict[str, Any], ...]:
        """The row, or rows, at a place."""
        return self.rows[index]

    def __repr__(self) -> str:
        seen = f", {self.n_seen} of them seen in training" if self.n_seen else ""
        return f"Evaluation({len(self)} queries{seen}, hit_rate@{self.top_k}={self.hit_rate:.3f})"


def evaluate(
    model_or_search: object,
    dataset: QADataset,
    top_k: int = 5,
    *,
    cut_offs: Sequence[int] = DEFAULT_CUT_OFFS,
    cache: "str | Path | VectorCache | None" = None,
    plugins: "PluginManager | None" = None,
) -> Evaluation:
    """Search every query in the corpus and compare with what is relevant.

    A model is searched exactly, over the whole corpus, with its own query and document prompts; of a search the first
    results are fetched, as many as the largest cut-off. Chunks with the same text are one answer. A search that fails
    or finds nothing counts as not found.

    For a model all metrics come from the ranks of the relevant chunks, which takes little more time than the matrix
    product of queries and chunks (see `ExactSearch.rank`), and a normalised copy of the chunks' vectors.

    Args:
        model_or_search: A reference (``"sentence-transformers/all-MiniLM-L6-v2"``, a folder, ``"backend:ref"``), an
            `Embedder` or `Search`, or what an installed plugin knows: a sentence-transformers model, a LanceDB
            embedding function, a LangChain ``Embeddings``, a LlamaIndex ``BaseEmbedding``; a function of queries and
            ``k``; the path of a TREC run file.
        dataset: Queries, chunks and relevance; best one that the model was neither trained nor chosen on.
        top_k: Cut-off of ``is_hit``, at least 1.
        cut_offs: Further cut-offs for the metrics.
        cache: A folder that keeps a model's vectors by its fingerprint and the text; None keeps them nowhere.
        plugins: Where models and formats are looked up.

    Raises:
        EvaluationError: If ``top_k`` is below 1, nothing knows the object, or every search fails.
        ModelNotFoundError: If a reference is a folder that does not exist; before any framework is imported.

    >>> from embedtune.testing import HashEmbedder, tiny_dataset
    >>> evaluate(HashEmbedder(), tiny_dataset(), top_k=1).hit_rate
    1.0
    """
    check_cut_offs(top_k, cut_offs)
    dataset = as_dataset(dataset)
    search, record = as_search(model_or_search, dataset.corpus, plugins, queries=dataset.queries, cache=cache)
    evaluation = evaluate_search(search, dataset, top_k, cut_offs=cut_offs, record=record)
    _warn_of_seen(evaluation)
    return evaluation


def evaluate_dims(
    model: object,
    dataset: QADataset,
    dims: Sequence[int],
    top_k: int = 5,
    *,
    cut_offs: Sequence[int] = DEFAULT_CUT_OFFS,
    plugins: "PluginManager | None" = None,
) -> dict[int, Evaluation]:
    """As `evaluate`, by the first numbers of each vector alone, which is what Matryoshka models are trained for.

    Every text is embedded once, and the products are taken once: each of ``dims`` goes on from the one before.

    Args:
        model: As for `evaluate`; no search.
        dataset: Queries, chunks and relevance.
        dims: Numbers kept of each vector, from 1 to all. Cosines are of what is kept.
        top_k: Cut-off of ``is_hit``, at least 1.
        cut_offs: Further cut-offs for the metrics.
        plugins: Where models and formats are looked up.

    Returns:
        The evaluations by number, in rising order.

    Raises:
        EvaluationError: If a number of dimensions is none that the model has, or as `evaluate`.

    >>> from embedtune.testing import HashEmbedder, tiny_dataset
    >>> {dim: found.hit_rate for dim, found in evaluate_dims(HashEmbedder(64), tiny_dataset(), [64, 2], 1).items()}
    {2: 0.375, 64: 1.0}
    """
    check_cut_offs(top_k, cut_offs)
    dataset = as_dataset(dataset)
    if not dims or min(dims) < 1:
        raise EvaluationError(f"dims must name at least one number of dimensions, each at least 1; got {tuple(dims)}.")
    embedder = as_embedder(model, plugins)
    search = ExactSearch(dataset.corpus, embedder)
    if max(dims) > search.dim:
        raise EvaluationError(f"The model's vectors have {search.dim} dimensions; dims asks for {max(dims)}.")
    ordered = sorted(set(dims))
    found = _by_ranks(search, Judge(dataset, top_k, cut_offs), record_of(embedder), ordered)
    _warn_of_seen(found[0])
    return dict(zip(ordered, found, strict=True))


def _warn_of_seen(evaluation: Evaluation) -> None:
    if evaluation.n_seen:
        logger.warning(
            "the model was trained on, or chosen by, %d of these %d queries or their chunks: its score is flattered",
            evaluation.n_seen,
            len(evaluation),
        )


def check_cut_offs(top_k: int, cut_offs: Sequence[int] = ()) -> None:
    """Refuse a cut-off below 1 before anything is loaded.

    Raises:
        EvaluationError: If one is.
    """
    if top_k < 1 or any(k < 1 for k in cut_offs):
        raise EvaluationError(f"top_k and cut_offs must be at least 1; got top_k={top_k}, cut_offs={tuple(cut_offs)}.")


def evaluate_search(
    search: Search,
    dataset: QADataset,
    top_k: int = 5,
    *,
    cut_offs: Sequence[int] = DEFAULT_CUT_OFFS,
    record: ModelRecord | None = None,
) -> Evaluation:
    """As `evaluate`, for a search that is filled with the corpus already.

    Args:
        search: Searches the corpus of ``dataset``.
        dataset: Queries, chunks and relevance.
        top_k: Cut-off of ``is_hit``.
        cut_offs: Further cut-offs.
        record: What the model says it has seen.
    """
    check_cut_offs(top_k, cut_offs)
    judge = Judge(dataset, top_k, cut_offs)
    if isinstance(search, ExactSearch):
        return _by_ranks(search, judge, record)[0]
    texts = list(dataset.queries.values())
    # Copies of one text take places from others: fetch as many more, within reason.
    fetch = judge.depth + min(judge.n_copies, 10 * judge.depth)
    nothing: list[str] = []
    found, failed = ask_all(lambda places: search.search([texts[i] for i in places], fetch), len(texts), nothing)
    if unknown := {chunk for ids in found for chunk in ids if chunk not in dataset.corpus}:
        logger.warning("the search returned %d ids that are not in the corpus, such as %r", len(unknown), min(unknown))
    depth = _depth(search, found, judge)
    rankings = []
    for ids, grades in zip(found, judge.grades, strict=True):
        unique = list(dict.fromkeys(judge.first_ids.get(chunk, chunk) for chunk in ids))[: judge.depth]
        rankings.append(Ranking(relevant_ranks(unique, grades), unique))
    return _evaluation(judge, rankings, failed, record, depth)


def _by_ranks(
    search: ExactSearch, judge: Judge, record: ModelRecord | None, dims: Sequence[int] | None = None
) -> list[Evaluation]:
    texts, nothing = list(judge.dataset.queries.values()), Ranking([], [])

    def ask(places: Sequence[int]) -> list[tuple[Ranking, ...]]:
        return search.rank([texts[i] for i in places], [judge.grades[i] for i in places], judge.depth, dims)

    found, failed = ask_all(ask, len(texts), (nothing,) * (len(dims) if dims else 1))
    return [_evaluation(judge, rankings, failed, record) for rankings in zip(*found, strict=True)]


def _evaluation(
    judge: Judge,
    rankings: Sequence[Ranking],
    failed: Sequence[int],
    record: ModelRecord | None,
    depth: int | None = None,
) -> Evaluation:
    seen = set(record.seen.queries_in(judge.dataset)) if record is not None else set()
    ids = list(judge.dataset.queries)
    rows = tuple(judge.rows(rankings, seen))
    found = tuple(ranking.retrieved for ranking in rankings)
    return Evaluation(rows, judge.values(rankings), judge.top_k, tuple(ids[i] for i in failed), depth, found)


def _depth(search: Search, found: Sequence[Sequence[str]], judge: Judge) -> int:
    """The largest cut-off, or how many results the search gives, if that is fewer."""
    numbers = [len(ids) for ids in found if ids]
    n_texts = len(judge.dataset.corpus) - judge.n_copies
    # One number for all queries is a limit; where numbers differ, they are what was found.
    if len(numbers) < 2 or len(set(numbers)) > 1 or numbers[0] >= min(judge.depth, n_texts):
        return judge.depth
    if not isinstance(search, RetrieverSearch):  # says it itself
        logger.warning(
            "the search returns %d chunks at most: figures at larger cut-offs, up to %d, are those at %d",
            *(numbers[0], judge.depth, numbers[0]),
        )
    return numbers[0]
