"""Round-trip consistency: does a search with the question find the chunk that it was written on?

The filter of Promptagator (Dai et al. 2022); it suits training questions alone.
"""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from embedtune.cleaning_report import CleaningReport, Counted
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.generation.report import GenerationReport
from embedtune.resolve import as_embedder
from embedtune.search import ExactSearch

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager
    from embedtune.reports import Report

__all__ = ["findable"]

logger = logging.getLogger(__name__)

_REASON = "not found in the round trip"


def findable(
    dataset: QADataset, corpus: Mapping[str, str], model: object, depth: int, plugins: "PluginManager | None" = None
) -> QADataset:
    """The queries of a data set whose relevant chunk a model finds in a corpus; see `Split.round_trip`."""
    if isinstance(depth, bool) or not isinstance(depth, int) or depth < 1:
        raise DatasetError(f"depth must be a whole number of at least 1; got {depth!r}.")
    embedder = as_embedder(model, plugins)
    found = ExactSearch(corpus, embedder).search(list(dataset.queries.values()), depth)
    kept = [
        query
        for query, ranking in zip(dataset.queries, found, strict=True)
        if not {corpus[chunk] for chunk in ranking}.isdisjoint(dataset.corpus[c] for c in dataset.relevant_docs[query])
    ]
    missed = sorted(dataset.queries.keys() - set(kept))
    if not kept:
        raise DatasetError(
            f"The model finds the chunk of none of {len(dataset)} queries among the first {depth}; that is a matter of "
            "the model or of the data, not of single questions. Raise depth, or leave the round trip out."
        )
    logger.info("round trip: dropped %d of %d queries", len(missed), len(dataset))
    filtered = dataset.subset(kept, dataset.corpus)
    return replace(filtered, report=_report(dataset, missed, embedder.fingerprint or type(embedder).__name__))


def _report(dataset: QADataset, missed: list[str], fingerprint: str) -> "Report":
    report = dataset.report or CleaningReport(
        queries_given=len(dataset),
        queries_kept=len(dataset) - len(missed),
        pairs_given=sum(map(len, dataset.relevant_docs.values())),
        pairs_kept=sum(len(dataset.relevant_docs[query]) for query in dataset.queries.keys() - set(missed)),
    )
    filtered_by = (*report.filtered_by, fingerprint)
    if isinstance(report, GenerationReport):
        dropped = {**report.dropped, _REASON: report.dropped.get(_REASON, 0) + len(missed)}
        return report.model_copy(update={"dropped": dropped, "filtered_by": filtered_by})
    counted = {**report.dropped_queries, _REASON: Counted.of(missed)}
    return report.model_copy(update={"dropped_queries": counted, "filtered_by": filtered_by})
