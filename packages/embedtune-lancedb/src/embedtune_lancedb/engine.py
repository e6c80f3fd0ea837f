"""A temporary LanceDB with one corpus: exact and indexed vectors, full text, and both fused."""

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
from lancedb.rerankers import Reranker, RRFReranker
from tqdm.auto import tqdm

from embedtune import Embedder, EmbeddingError, EvaluationError, Search
from embedtune.protocols import Vectors
from embedtune.search import checked_vectors
from embedtune_lancedb.indexes import build_index, index_settings
from embedtune_lancedb.plugin import DEFAULT_INDEX, INDEXED, QUERY_TYPES

__all__ = ["LanceEngine"]

_QUERIES_AT_ONCE = 128
_ROWS_AT_ONCE = 4096
"""Rows of a batch: an Arrow array of str ends at 2 GiB."""
_QUERIES_WORTH_A_BAR = 1000
"""Full-text search takes about 2 ms a query."""


class LanceEngine:
    """LanceDB filled with a corpus, in a temporary folder that goes with this object.

    Chunks with the same text are one row, under the id that came first. An index is built when a search that needs it
    is first asked for; ``vector`` and ``hybrid`` compare with every row.

    Args:
        corpus: Text by chunk id.
        embedder: Embeds the corpus now and the queries later; None for full text alone.
        index: LanceDB's name of the index of ``vector_indexed``, such as ``IVF_HNSW_SQ`` or ``IVF_PQ``, or one of
            the settings in ``lancedb.index``, such as ``IvfPq(num_sub_vectors=48)``; the distance is always the
            embedder's. LanceDB builds indexes from random starts and on several threads: what is found through one
            differs a little from run to run.
        nprobes: Partitions that an indexed search looks at; LanceDB's default if None.
        refine_factor: How many times ``k`` candidates are compared by their exact vectors; none if None.
        fusion: How ``hybrid`` makes one ranking of two: a reranker of LanceDB; reciprocal rank fusion if None.

    Raises:
        EvaluationError: If LanceDB knows no such index.
    """

    def __init__(
        self,
        corpus: Mapping[str, str],
        embedder: Embedder | None,
        *,
        index: object = DEFAULT_INDEX,
        nprobes: int | None = None,
        refine_factor: int | None = None,
        fusion: Reranker | None = None,
    ) -> None:
        self._index = index_settings(index, "cosine" if embedder is None else embedder.similarity)
        self._nprobes, self._refine_factor, self._fusion = nprobes, refine_factor, fusion or RRFReranker()
        self._built: set[str] = set()
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
        """The search of one type: ``vector``, ``vector_indexed``, ``fts`` or ``hybrid``.

        Raises:
            EvaluationError: If there is no such type, or it needs an embedder and there is none.
        """
        if query_type not in QUERY_TYPES:
            raise EvaluationError(f"LanceDB has no query type {query_type!r}; it has {', '.join(QUERY_TYPES)}.")
        if query_type != "fts" and self._embedder is None:
            raise EvaluationError(f"The query type {query_type!r} needs an embedder; without one there is only 'fts'.")
        if query_type in ("fts", "hybrid") and "text" not in self._built:
            self._table.create_index("text", config=FTS())
            self._built.add("text")
        if query_type == INDEXED and "vector" not in self._built:
            build_index(self._table, self._index)
            self._built.add("vector")
        return _Searcher(self, query_type)

    def index_recall(self, queries: Sequence[str], k: int) -> float:
        """Share of the exact first ``k`` of all queries that the index gives back, in [0, 1]; 1 if there are none."""
        exact = self.searcher("vector").search(queries, k)
        indexed = self.searcher(INDEXED).search(queries, k)
        n_kept = sum(len(set(one) & set(other)) for one, other in zip(exact, indexed, strict=True))
        return n_kept / max(sum(map(len, exact)), 1) if any(exact) else 1.0

    def by_vector(self, queries: Sequence[str], k: int) -> Iterator[pa.Table]:
        """The nearest rows of each query by comparing with every row; columns ``id``, ``_rowid``, ``_distance``."""
        return self._in_batches(queries, k, indexed=False)

    def by_index(self, queries: Sequence[str], k: int) -> Iterator[pa.Table]:
        """The nearest rows of each query that the index finds; columns as `by_vector`."""
        return self._in_batches(queries, k, indexed=True)

    def _in_batches(self, queries: Sequence[str], k: int, *, indexed: bool) -> Iterator[pa.Table]:
        assert self._embedder is not None
        vectors = checked_vectors(
            self._embedder.embed_queries(list(queries)), len(queries), type(self._embedder).__name__
        )
        if vectors.shape[1] != self.dim:
            raise EmbeddingError(
                f"Queries have {vectors.shape[1]} dimensions, chunks {self.dim}: two models are mixed up."
            )
        for start in range(0, len(vectors), _QUERIES_AT_ONCE):
            yield from self._nearest(vectors[start : start + _QUERIES_AT_ONCE], k, indexed=indexed)

    def _nearest(self, vectors: Vectors, k: int, *, indexed: bool) -> Iterator[pa.Table]:
        assert self._embedder is not None
        # One row has no column query_index in its answer, and none raises IndexError: never send fewer than two.
        padded = vectors if len(vectors) > 1 else np.concatenate([vectors, vectors])
        builder: Any = self._table.search(padded, query_type="vector", vector_column_name="vector")
        builder = builder.distance_type(self._embedder.similarity).with_row_id(True).select(["id", "_distance"])
        if not indexed:
            builder = builder.bypass_vector_index()
        elif self._nprobes is not None:
            builder = builder.nprobes(self._nprobes)
        if indexed and self._refine_factor is not None:
            builder = builder.refine_factor(self._refine_factor)
        found = builder.limit(k).to_arrow()
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
        """The first ``k`` of both, fused as LanceDB's hybrid search does: by default the sum of 1 / (60 + rank)."""
        for query, near, wordy in zip(queries, self.by_vector(queries, k), self.by_text(queries, k), strict=True):
            yield self._fusion.rerank_hybrid(query, near, wordy)


class _Searcher:
    """One way of searching an engine."""

    def __init__(self, engine: LanceEngine, query_type: str) -> None:
        self._rankings = {
            "vector": engine.by_vector,
            INDEXED: engine.by_index,
            "fts": engine.by_text,
            "hybrid": engine.by_both,
        }[query_type]

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """At most ``k`` chunk ids for each query, in the order in which LanceDB returns them."""
        if not queries or k < 1:
            return [[] for _ in queries]
        return [found["id"].to_pylist()[:k] for found in self._rankings(queries, k)]


def _fill(folder: str, ids: list[str], texts: list[str], vectors: Vectors | None) -> lancedb.table.Table:
    return lancedb.connect(folder).create_table("corpus", data=_rows(ids, texts, vectors))


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
