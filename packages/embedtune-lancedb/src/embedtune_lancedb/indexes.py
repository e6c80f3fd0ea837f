"""Approximate indexes: by LanceDB's own names or settings, with the embedder's distance."""

import dataclasses
import logging
import time
from typing import Any

import lancedb
from lancedb.index import HnswFlat, HnswPq, HnswSq, IvfFlat, IvfPq, IvfRq, IvfSq

from embedtune import EvaluationError
from embedtune.protocols import Similarity

__all__ = ["build_index", "index_settings"]

logger = logging.getLogger(__name__)

_INDEXES = {
    "IVF_FLAT": IvfFlat,
    "IVF_SQ": IvfSq,
    "IVF_PQ": IvfPq,
    "IVF_RQ": IvfRq,
    "IVF_HNSW_FLAT": HnswFlat,
    "IVF_HNSW_SQ": HnswSq,
    "IVF_HNSW_PQ": HnswPq,
}


def index_settings(index: object, similarity: Similarity) -> Any:
    """LanceDB's settings of an index.

    Args:
        index: A name, or settings.
        similarity: The embedder's, which the index compares by.

    Raises:
        EvaluationError: If LanceDB knows no such index.
    """
    if isinstance(index, tuple(_INDEXES.values())):
        return dataclasses.replace(index, distance_type=similarity)  # type: ignore[type-var]
    if not isinstance(index, str) or index not in _INDEXES:
        raise EvaluationError(
            f"LanceDB has no index {index!r} for vectors; it has {', '.join(_INDEXES)}, and their settings in "
            "lancedb.index."
        )
    return _INDEXES[index](distance_type=similarity)


def build_index(table: lancedb.table.Table, settings: Any) -> None:
    """Index the column ``vector``.

    Raises:
        EvaluationError: If LanceDB refuses the settings.
    """
    name, start = type(settings).__name__, time.monotonic()
    logger.info("indexing %d vectors: %s", table.count_rows(), name)
    try:
        table.create_index("vector", config=settings, name="vectors")
    except (RuntimeError, ValueError) as error:
        raise EvaluationError(f"LanceDB cannot build the index {settings}: {error}") from error
    logger.info("indexed in %.1f s", time.monotonic() - start)
    found = table.index_stats("vectors")
    if found is None or found.num_indexed_rows == 0:
        # Below 256 rows a product quantiser is not trained, and LanceDB searches exactly without a word.
        logger.warning(
            "the index %s holds none of the %d chunks, which are too few to train it: the search is exact",
            *(name, table.count_rows()),
        )
