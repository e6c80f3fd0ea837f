"""A table's vectors as a cache: what they cost is not paid again by tuning, evaluating and comparing."""

from pathlib import Path

import numpy as np

from embedtune import EmbeddingError
from embedtune.caches import VectorCache
from embedtune_lancedb.adapters import columns_of
from embedtune_lancedb.embedder import as_text_embedder
from embedtune_lancedb.tables import TunedTable, check_vectors

__all__ = ["keep_vectors"]

_ROWS_AT_ONCE = 1024


def keep_vectors(table: TunedTable, cache: str | Path, *, column: str | None = None) -> int:
    """Keep a table's chunk vectors where ``finetune``, ``evaluate`` and ``compare`` with ``cache=`` look for them.

    The first and the last text are embedded again, to see that the vectors are the function's.

    Args:
        table: As `open_table` gives it.
        cache: The folder.
        column: The vector column; the table's one if None.

    Returns:
        Number of vectors kept.

    Raises:
        EmbeddingError: If the table embeds several columns and none is named, another model made the vectors, or the
            function has no fingerprint, by which they could be found again.
    """
    if not table.embedding_functions:
        raise EmbeddingError(
            f"The table {table.name!r} has no embedding function, by which its vectors could be known."
        )
    columns = columns_of(table.name, table.embedding_functions, column)
    if len(columns) > 1:
        raise EmbeddingError(f"The table {table.name!r} embeds {', '.join(columns)}. Name one: column={columns[0]!r}.")
    config = table.embedding_functions[columns[0]]
    embedder = as_text_embedder(config.function)
    fingerprint = embedder.fingerprint
    if fingerprint is None:
        raise EmbeddingError(
            f"The vectors of {embedder.name} cannot be kept: the function has no fingerprint that tells its model from "
            "others."
        )
    check_vectors(table, columns[0], config)
    kept, n_kept = VectorCache(cache), 0
    for batch in table.search().select([config.source_column, columns[0]]).to_batches(_ROWS_AT_ONCE):
        pairs = zip(*(batch.column(name).to_pylist() for name in (config.source_column, columns[0])), strict=True)
        rows = [(text, vector) for text, vector in pairs if isinstance(text, str) and vector is not None]
        kept.keep(fingerprint, "document", [text for text, _ in rows], np.array([v for _, v in rows], np.float32))
        n_kept += len(rows)
    return n_kept
