"""LanceDB's rerankers as embedtune `Reranker`s, where they score a query with a text."""

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from lancedb.rerankers import CrossEncoderReranker, Reranker

from embedtune import EvaluationError, plugin_manager
from embedtune.fingerprints import fingerprint_of_settings
from embedtune.protocols import Vectors

__all__ = ["LanceReranker"]

_HOSTED = frozenset({"CohereReranker", "JinaReranker", "TypeSafeReranker", "VoyageAIReranker", "WatsonxReranker"})
"""Rerankers of LanceDB that ask a server: what is known of them is their settings."""


class LanceReranker:
    """Scores through the reranker's own ``rerank_fts`` or ``rerank_vector``, one query with all its texts a call.

    Args:
        reranker: A reranker of LanceDB that reads texts. Those that fuse two rankings by score or rank cannot score.

    Raises:
        EvaluationError: If it cannot score a query with a text, or gives back some of its texts alone.
    """

    def __init__(self, reranker: Reranker) -> None:
        self.reranker = reranker
        self._name = type(reranker).__name__
        self._method, self._column = _way_of_scoring(reranker)
        top_n = getattr(reranker, "top_n", None)
        if top_n is not None:
            raise EvaluationError(
                f"{self._name}(top_n={top_n}) gives no score to what is not among its first {top_n}; make it without "
                "top_n, and say how many finds are reranked with depth."
            )

    @cached_property
    def fingerprint(self) -> str | None:
        """Of a cross-encoder its weights', of a hosted model its settings'; None where neither can be known."""
        if isinstance(self.reranker, CrossEncoderReranker):
            inner = plugin_manager().as_reranker(self.reranker.model)
            return (
                inner.fingerprint and fingerprint_of_settings(provider=self._name, model=inner.fingerprint)
                if inner
                else None
            )
        if self._name not in _HOSTED or not type(self.reranker).__module__.startswith("lancedb."):
            return None
        settings = {key: value for key, value in vars(self.reranker).items() if _is_setting(key, value)}
        return fingerprint_of_settings(provider=self._name, **settings)

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """The reranker's ``_relevance_score``, float32 (n,)."""
        places: dict[str, list[int]] = {}
        for place, (query, _) in enumerate(pairs):
            places.setdefault(query, []).append(place)
        scores = np.full(len(pairs), np.nan, dtype=np.float32)
        for query, some in places.items():
            texts = list(dict.fromkeys(pairs[place][1] for place in some))
            scored = dict(zip(texts, self._scored(query, texts), strict=True))
            scores[some] = [scored[pairs[place][1]] for place in some]
        return scores

    def _scored(self, query: str, texts: list[str]) -> list[float]:
        column = getattr(self.reranker, "column", None) or "text"
        table = pa.table(
            {
                column: pa.array(texts, pa.string()),
                "_rowid": pa.array(range(len(texts)), pa.uint64()),
                # What the search itself would have said; a reranker takes the column away.
                self._column: pa.array(np.zeros(len(texts), dtype=np.float32)),
            }
        )
        return self._by_text(getattr(self.reranker, self._method)(query, table), texts, column)

    def _by_text(self, found: pa.Table, texts: list[str], column: str) -> list[float]:
        """The scores in the order of the texts, of a table in the order of the scores."""
        if not {"_rowid", "_relevance_score"} <= set(found.column_names):
            raise EvaluationError(
                f"{self._name}.{self._method} returned the columns {found.column_names}; a reranker of LanceDB keeps "
                "'_rowid' and adds '_relevance_score'."
            )
        rows, scores = found["_rowid"].to_pylist(), found["_relevance_score"].to_pylist()
        if sorted(rows) != list(range(len(texts))) or None in scores:
            raise EvaluationError(
                f"{self._name} returned {len(rows)} scores for the {len(texts)} texts of one query; give one that "
                "scores each text once."
            )
        if column in found.column_names and found[column].to_pylist() != [texts[row] for row in rows]:
            # OpenaiReranker of LanceDB 0.40 writes the texts in the LLM's order beside ids in the old one.
            raise EvaluationError(
                f"{self._name} returned rows whose texts are not those of their ids: in LanceDB, too, it ranks the "
                "wrong chunks. Give another reranker."
            )
        by_row = dict(zip(rows, scores, strict=True))
        return [by_row[row] for row in range(len(texts))]


def _way_of_scoring(reranker: Reranker) -> tuple[str, str]:
    """The method that scores texts for a query, and the column of scores that it expects of a search."""
    for method, column in (("rerank_fts", "_score"), ("rerank_vector", "_distance")):
        if getattr(type(reranker), method) is not getattr(Reranker, method):
            return method, column
    name = type(reranker).__name__
    raise EvaluationError(
        f"{name} makes one ranking of two by their ranks or scores; it reads no text, and cannot score a query with "
        f"one. For 'hybrid' give engine=lancedb_engine(fusion={name}()), from embedtune_lancedb; to rerank, give one "
        "that reads texts, such as CrossEncoderReranker."
    )


def _is_setting(key: str, value: Any) -> bool:
    return "key" not in key and "token" not in key and isinstance(value, str | int | float | bool | dict)
