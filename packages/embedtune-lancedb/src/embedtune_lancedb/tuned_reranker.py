"""`TunedReranker`: a tuned cross-encoder, or any reranker of embedtune's, where LanceDB reranks."""

from collections.abc import Mapping
from types import MappingProxyType

import pyarrow as pa
from lancedb.rerankers import Reranker as LanceDBReranker

from embedtune import EvaluationError
from embedtune import Reranker as EmbedtuneReranker
from embedtune.framework_reranker import LazyReranker

__all__ = ["TunedReranker"]

_FOUND_BY = ("_distance", "_score")
"""What vector and full-text search say of a row."""


class TunedReranker(LanceDBReranker):
    """Reranks what LanceDB finds by vector, by text, or by both: ``table.search(...).rerank(reranker)``.

    LanceDB hands over the rows of ``limit`` alone: ask for more than are kept, or only their order changes. The model
    is loaded at the first use, runs no code of its own unless told to, and takes turns in threads. Its scores are
    logits, where LanceDB's ``CrossEncoderReranker`` has their sigmoid; the order is the same.

    Args:
        model: Folder or hub name of a cross-encoder, ``backend:ref``, a loaded ``CrossEncoder``, or an
            `embedtune.Reranker`.
        column: Of the text that is read.
        return_score: ``"relevance"``, or ``"all"`` to keep what the searches said beside it.
        options: Of the backend that loads a reference, such as ``device`` and ``max_length``.

    Raises:
        ModelNotFoundError: If ``model`` can only be a folder, and is not there.
        EvaluationError: If nothing knows ``model``.
    """

    def __init__(
        self,
        model: object,
        column: str = "text",
        return_score: str = "relevance",
        options: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        super().__init__(return_score)
        self.column = column
        self._lazy = LazyReranker(model, options)

    def __str__(self) -> str:
        return f"TunedReranker({self._lazy.ref or type(self.reranker).__name__})"

    @property
    def reranker(self) -> EmbedtuneReranker:
        """What scores, as embedtune knows it; loads the model."""
        return self._lazy.reranker

    def rerank_vector(self, query: str, vector_results: pa.Table) -> pa.Table:
        """Rows of a vector search, best first."""
        return self._reranked(query, vector_results)

    def rerank_fts(self, query: str, fts_results: pa.Table) -> pa.Table:
        """Rows of a full-text search, best first."""
        return self._reranked(query, fts_results)

    def rerank_hybrid(self, query: str, vector_results: pa.Table, fts_results: pa.Table) -> pa.Table:
        """Rows of both, each once, best first."""
        merge = self._merge_and_keep_scores if self.score == "all" else self.merge_results
        return self._reranked(query, merge(vector_results, fts_results))

    def _reranked(self, query: str, rows: pa.Table) -> pa.Table:
        if self.column not in rows.column_names:
            raise EvaluationError(
                f"TunedReranker reads the column {self.column!r}, which is not among {rows.column_names}: give the "
                "text's own as column=..., and select it in the search."
            )
        texts = [text or "" for text in rows[self.column].to_pylist()]
        ranked = self._lazy.ranked(query, texts)
        ordered = rows.take(pa.array([place for place, _ in ranked], pa.int64()))
        scored = ordered.append_column("_relevance_score", pa.array([score for _, score in ranked], pa.float32()))
        found_by = [name for name in _FOUND_BY if name in scored.column_names]
        return scored if self.score == "all" else scored.drop_columns(found_by)
