"""A temporary LanceDB with one corpus: exact vectors, full text, and both fused by rank."""

import shutil
import tempfile
import weakref
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lancedb
import numpy as np
import pyarrow as pa
from lancedb.index import FTS
from lancedb.query import MatchQuery
from lancedb.rerankers import RRFReranker
from tqdm.auto import tqdm

from embedtune import Embedder, EmbeddingError, EvaluationError, Search
from embedtune.protocols import Vectors
from embedtune.search import checked_vectors
from embedtune_lancedb.plugin import QUERY_TYPES

__all__ = ["LanceEngine"]

_QUERIES_AT_ONCE = 128
_ROWS_AT_ONCE = 4096
"""Rows of a batch: an Arrow array of str ends at 2 GiB."""
_QUERIES_WORTH_A_BAR = 1000
"""Full-text search takes about 2 ms a query."""


class LanceEngine:
    """LanceDB filled with a corpus, in a temporary folder that goes with this object.

    Chunks with the same text are one row, under the id that came first.

    Args:
        corpus: Text by chunk id.
        embedder: Embeds the corpus now and the queries later; None for full text alone.
    """

    def __init__(self, corpus: Mapping[str, str], embedder: Embedder | None) -> None:
        ids_by_text: dict[str, str] = {}
        for chunk, text in corpus.items():
            ids_by_text.setdefault(text, chunk)
        self._embedder = embedder
        texts = list(ids_by_text)
        vectors = None
        if embedder is not None:
            name = type(embedder).__name__
            vectors = checked_vectors(embedder.embed_documents(texts), len(texts), name)
        self.dim = None if vectors is None else vectors.shape[1]
        folder = tempfile.mkdtemp(prefix="embedtune-lancedb-")
        # Runs when this object goes, and at exit: an engine must not leave a corpus on the disk.
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        self._table = _fill(folder, list(ids_by_text.values()), texts, vectors)

    def searcher(self, query_type: str) -> Search:
        """The search of one type: ``vector``, ``fts`` or ``hybrid``.

        Raises:
            EvaluationError: If there is no such type, or it needs an embedder and there is none.
        """
        if query_type not in QUERY_TYPES:
            raise EvaluationError(f"LanceDB has no query type {query_type!r}; it has {', '.join(QUERY_TYPES)}.")
        if query_type != "fts" and self._embedder is None:
            raise EvaluationError(f"The query type {query_type!r} needs an embedder; without one there is only 'fts'.")
        return _Searcher(self, query_type)

    def by_vector(self, queries: Sequence[str], k: int) -> Iterator[pa.Table]:
        """The nearest rows of each query by comparing with every row; columns ``id``, ``_rowid``."""
        assert self._embedder is not None
        vectors = checked_vectors(
            self._embedder.embed_queries(list(queries)), len(queries), type(self._embedder).__name__
        )
        if vectors.shape[1] != self.dim:
            raise EmbeddingError(
                f"Queries have {vectors.shape[1]} dimensions, chunks {self.dim}: two models are mixed up."
            )
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            yield from self._nearest(vectors[start : start + _QUERIES_AT_ONCE], k)

    def _nearest(self, vectors: Vectors, k: int) -> Iterator[pa.Table]:
        assert self._embedder is not None
        # One row has no column query_index in its answer, and none raises IndexError: never send fewer than two.
        padded = vectors if len(vectors) > 1 else np.concatenate([vectors, vectors])
        builder: Any = self._table.search(padded, query_type="vector", vector_column_name="vector")
        found = (
            builder.distance_type(self._embedder.similarity)
            .bypass_vector_index()
            .with_row_id(True)
            .select(["id", "_distance"])
            .limit(k)
            .to_arrow()
        )
        places = found["query_index"].to_numpy()
        for place in range(len(vectors)):
            yield found.take(np.flatnonzero(places == place)).drop_columns(["query_index"])

    def by_text(self, queries: Sequence[str], k: int) -> Iterator[pa.Table]:
        """The best rows of each query by BM25; columns ``id``, ``_rowid``. The query is words, never syntax."""
        words: Any = MatchQuery  # its defaults are in its Rust side, where mypy does not see them
        for query in tqdm(queries, desc="full-text search", unit="query", disable=len(queries) < _QUERIES_WORTH_A_BAR):
            yield (
                # A plain string in quotes would be a phrase query, which needs positions in the index.
                self._table.search(words(query, "text"), query_type="fts")
                .with_row_id(True)
                .select(["id", "_score"])
                .limit(k)
                .to_arrow()
            )

    def by_both(self, queries: Sequence[str], k: int) -> Iterator[pa.Table]:
        """The first ``k`` of both, fused as LanceDB's hybrid search does: sum of 1 / (60 + rank)."""
        fusion = RRFReranker()
        for query, near, wordy in zip(queries, self.by_vector(queries, k), self.by_text(queries, k), strict=True):
            yield fusion.rerank_hybrid(query, near, wordy)


class _Searcher:
    """One way of searching an engine."""

    def __init__(self, engine: LanceEngine, query_type: str) -> None:
        self._rankings = {"vector": engine.by_vector, "fts": engine.by_text, "hybrid": engine.by_both}[query_type]

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """At most ``k`` chunk ids for each query, in the order in which LanceDB returns them."""
        if not queries or k < 1:
            return [[] for _ in queries]
        return [found["id"].to_pylist()[:k] for found in self._rankings(queries, k)]


def _fill(folder: str, ids: list[str], texts: list[str], vectors: Vectors | None) -> lancedb.table.Table:
    table = lancedb.connect(folder).create_table("corpus", data=_rows(ids, texts, vectors))
    table.create_index("text", config=FTS())
    return table


def _rows(ids: list[str], texts: list[str], vectors: Vectors | None) -> pa.Table:
    fields = [pa.field("id", pa.string()), pa.field("text", pa.string())]
    if vectors is not None:
        fields.append(pa.field("vector", pa.list_(pa.float32(), vectors.shape[1])))
    batches = []
    for start in range(0, len(ids), _ROWS_AT_ONCE):
        some = slice(start, start + _ROWS_AT_ONCE)
        arrays = [pa.array(ids[some]), pa.array(texts[some])]
        if vectors is not None:
            arrays.append(pa.FixedSizeListArray.from_arrays(pa.array(vectors[some].ravel()), vectors.shape[1]))
        batches.append(pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields)))
    return pa.Table.from_batches(batches, schema=pa.schema(fields))
