"""`evaluate`: how well a model, or any search, finds the relevant chunks."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import numpy.typing as npt

from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.metrics import metric_names, per_query, relevant_ranks
from embedtune.protocols import Search
from embedtune.records import ModelRecord
from embedtune.resolve import as_dataset, as_search

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["DEFAULT_CUT_OFFS", "Evaluation", "evaluate", "evaluate_search"]

logger = logging.getLogger(__name__)

DEFAULT_CUT_OFFS = (1, 3, 5, 10)
"""Cut-off ranks at which metrics are given, beside ``top_k``."""


@dataclass(frozen=True, repr=False, eq=False)  # arrays have no single answer to ==
class Evaluation(Sequence[dict[str, Any]]):
    """One row per query, and the metrics over all of them.

    A row holds ``query_id``, ``query`` (its text), ``expected`` and ``retrieved`` (chunk ids; the first
    ``top_k``, best first), ``rank`` (1-based, of the first relevant chunk among all that were fetched; None if
    there is none), ``is_hit`` (rank is at most ``top_k``) and ``seen`` (the model was trained on, or chosen by,
    this query or its chunk). ``pandas.DataFrame(evaluation)["is_hit"].mean()`` is the hit rate.
    """

    rows: tuple[dict[str, Any], ...]
    """The rows, in the order of the queries."""
    per_query: Mapping[str, npt.NDArray[np.float64]]
    """Each metric for each query, shape (n_queries,), in the order of the rows."""
    top_k: int
    """The cut-off of ``is_hit``."""
    failed_queries: tuple[str, ...] = ()
    """Ids of the queries whose search raised; they count as not found."""
    metrics: Mapping[str, float] = field(init=False)
    """Means over all queries, such as ``{"hit_rate@5": 0.64}``."""

    def __post_init__(self) -> None:
        means = {name: float(values.mean()) for name, values in self.per_query.items()}
        object.__setattr__(self, "metrics", means)

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
    plugins: "PluginManager | None" = None,
) -> Evaluation:
    """Search every query in the corpus and compare with what is relevant.

    A model is searched exactly, over the whole corpus, with its own query and document prompts. Chunks with the
    same text are one answer. A search that fails or finds nothing counts as not found.

    Args:
        model_or_search: A reference (``"sentence-transformers/all-MiniLM-L6-v2"``, a folder, ``"backend:ref"``), an
            `Embedder` or `Search`, or what an installed plugin knows: a sentence-transformers model, a LanceDB
            embedding function, a LangChain ``Embeddings``, a LlamaIndex ``BaseEmbedding``.
        dataset: Queries, chunks and relevance; best one that the model was neither trained nor chosen on.
        top_k: Cut-off of ``is_hit``, at least 1.
        cut_offs: Further cut-offs for the metrics.
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
    search, record = as_search(model_or_search, dataset.corpus, plugins)
    evaluation = evaluate_search(search, dataset, top_k, cut_offs=cut_offs, record=record)
    if evaluation.n_seen:
        logger.warning(
            "the model was trained on, or chosen by, %d of these %d queries or their chunks: its score is flattered",
            evaluation.n_seen,
            len(evaluation),
        )
    return evaluation


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
    depth = max([top_k, *cut_offs])
    texts = list(dataset.queries.values())
    found, failures = _search_all(search, texts, depth, _most_copies(dataset))
    first_id = _first_ids(dataset)
    if unknown := {chunk for ids in found for chunk in ids if chunk not in dataset.corpus}:
        logger.warning("the search returned %d ids that are not in the corpus, such as %r", len(unknown), min(unknown))
    seen = set(record.seen.queries_in(dataset)) if record is not None else set()
    rows: list[dict[str, Any]] = []
    all_ranks: list[list[float]] = []
    all_grades: list[list[float]] = []
    for query, ids in zip(dataset.queries, found, strict=True):
        grades = _grades_by_text(dataset, query, first_id)
        ranking = list(dict.fromkeys(first_id.get(chunk, chunk) for chunk in ids))[:depth]
        ranks = relevant_ranks(ranking, grades)
        all_ranks.append(ranks)
        all_grades.append(list(grades.values()))
        rank = int(min(ranks)) if min(ranks) <= depth else None
        rows.append(_row(dataset, query, ranking, rank, top_k) | {"seen": query in seen})
    values = per_query(all_ranks, all_grades, metric_names([*cut_offs, top_k]))
    ids = list(dataset.queries)
    return Evaluation(tuple(rows), values, top_k, tuple(ids[index] for index in sorted(failures)))


def _row(dataset: QADataset, query: str, ranking: list[str], rank: int | None, top_k: int) -> dict[str, Any]:
    return {
        "query_id": query,
        "query": dataset.queries[query],
        "expected": list(dataset.relevant_docs[query]),
        "retrieved": ranking[:top_k],
        "rank": rank,
        "is_hit": rank is not None and rank <= top_k,
    }


def _first_ids(dataset: QADataset) -> dict[str, str]:
    """Each chunk's id, or the id of the first chunk with the same text: equal texts are one answer."""
    by_text: dict[str, str] = {}
    return {chunk: by_text.setdefault(text, chunk) for chunk, text in dataset.corpus.items()}


def _most_copies(dataset: QADataset) -> int:
    return 1 + len(dataset.corpus) - len(set(dataset.corpus.values()))


def _grades_by_text(dataset: QADataset, query: str, first_id: dict[str, str]) -> dict[str, float]:
    given = dataset.grades.get(query, {})
    grades: dict[str, float] = {}
    for chunk in dataset.relevant_docs[query]:
        grades[first_id[chunk]] = max(grades.get(first_id[chunk], 0.0), given.get(chunk, 1.0))
    return grades


def _search_all(
    search: Search, texts: list[str], depth: int, most_copies: int
) -> tuple[list[list[str]], dict[int, Exception]]:
    """Rankings of all queries; where the whole call fails, query by query, to lose only those that fail."""
    # Copies of one text take places from others: fetch as many more, within reason.
    fetch = depth + min(most_copies - 1, 10 * depth)
    try:
        found = search.search(texts, fetch)
    except Exception as error:
        logger.warning("the search failed (%s: %s); trying each query alone", type(error).__name__, error)
    else:
        if len(found) != len(texts):
            raise EvaluationError(
                f"The search returned {len(found)} rankings for {len(texts)} queries; it must be one each."
            )
        return [list(ids) for ids in found], {}
    rankings: list[list[str]] = []
    failures: dict[int, Exception] = {}
    for index, text in enumerate(texts):
        try:
            rankings.append(list(search.search([text], fetch)[0]))
        except Exception as error:
            failures[index] = error
            rankings.append([])
    if len(failures) == len(texts):
        first = next(iter(failures.values()))
        raise EvaluationError(
            f"All {len(texts)} searches failed. The first: {type(first).__name__}: {first}"
        ) from first
    logger.warning("%d of %d searches failed and count as not found", len(failures), len(texts))
    return rankings, failures
