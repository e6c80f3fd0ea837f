"""Exact search over embeddings, and the wrapper that embeds each text once."""

import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from embedtune.errors import EmbeddingError
from embedtune.protocols import Embedder, Similarity, Vectors

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["EmbedOnce", "ExactSearch", "checked_vectors"]

logger = logging.getLogger(__name__)

_BLOCK_SCORES = 16_777_216
"""Scores held at once: 64 MiB of float32."""


def checked_vectors(vectors: object, n_texts: int, name: str) -> Vectors:
    """Vectors as float32 of shape (n, d).

    Raises:
        EmbeddingError: If the shape is another, or a value is no finite number.
    """
    try:
        array = np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EmbeddingError(f"Embedder {name!r} did not return numbers in rows of one length: {error}") from error
    if n_texts == 0 and array.size == 0:
        return array.reshape(0, array.shape[1] if array.ndim == 2 else 0)
    if array.ndim != 2 or array.shape[0] != n_texts or array.shape[1] == 0:
        raise EmbeddingError(
            f"Embedder {name!r} returned shape {array.shape} for {n_texts} texts; expected ({n_texts}, d). "
            "Return one row per text, in the order given."
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array).all(axis=1))[0])
        raise EmbeddingError(f"Embedder {name!r} returned NaN or infinity for text {bad} of {n_texts}.")
    return array


def normalised(vectors: Vectors) -> Vectors:
    """Rows of length 1; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, np.finfo(np.float32).tiny), dtype=np.float32)


class EmbedOnce:
    """An embedder that keeps what it has embedded, for the life of this object.

    Args:
        embedder: Any `Embedder`.
    """

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder
        self._queries: dict[str, Vectors] = {}
        self._documents: dict[str, Vectors] = {}

    @property
    def fingerprint(self) -> str | None:
        """The embedder's own."""
        return self._embedder.fingerprint

    @property
    def similarity(self) -> Similarity:
        """The embedder's own."""
        return self._embedder.similarity

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's; each text is embedded once."""
        return self._embed(texts, self._queries, self._embedder.embed_queries)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's; each text is embedded once."""
        return self._embed(texts, self._documents, self._embedder.embed_documents)

    def _embed(
        self, texts: Sequence[str], known: dict[str, Vectors], embed: "Callable[[Sequence[str]], Vectors]"
    ) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new or not texts:
            vectors = checked_vectors(embed(new), len(new), type(self._embedder).__name__)
            known.update(zip(new, vectors, strict=True))
            if not texts:
                return vectors
        return np.stack([known[text] for text in texts])


class ExactSearch:
    """Nearest neighbours by comparing with every chunk: no index, nothing lost.

    Chunks with the same text are one answer, under the id that came first.

    Args:
        corpus: Text by chunk id.
        embedder: Embeds the corpus now and the queries later.

    >>> from embedtune.testing import HashEmbedder
    >>> ExactSearch({"a": "red apples", "b": "blue sky"}, HashEmbedder()).search(["apples red"], k=1)
    [['a']]
    """

    def __init__(self, corpus: Mapping[str, str], embedder: Embedder) -> None:
        ids_by_text: dict[str, str] = {}
        for chunk, text in corpus.items():
            ids_by_text.setdefault(text, chunk)
        self._ids = np.array(list(ids_by_text.values()), dtype=object)
        self._embedder = embedder
        self._documents = self._prepared(embedder.embed_documents(list(ids_by_text)), len(ids_by_text))

    def _prepared(self, vectors: Vectors, n_texts: int) -> Vectors:
        vectors = checked_vectors(vectors, n_texts, type(self._embedder).__name__)
        return normalised(vectors) if self._embedder.similarity == "cosine" else vectors

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The ``k`` nearest chunks of each query, best first; of equal scores the earlier chunk."""
        vectors = self._prepared(self._embedder.embed_queries(list(queries)), len(queries))
        if queries and vectors.shape[1] != self._documents.shape[1]:
            raise EmbeddingError(
                f"Queries have {vectors.shape[1]} dimensions, chunks {self._documents.shape[1]}: "
                "two models are mixed up."
            )
        rows = max(_BLOCK_SCORES // max(len(self._ids), 1), 1)
        found: list[list[str]] = []
        for start in range(0, len(vectors), rows):
            scores = vectors[start : start + rows] @ self._documents.T
            found += [list(self._ids[best]) for best in top_k(scores, k)]
        return found


def top_k(scores: Vectors, k: int) -> list[np.ndarray[tuple[int], np.dtype[np.intp]]]:
    """Columns of the ``k`` largest scores of each row, best first; of equal scores the lower column."""
    k = min(k, scores.shape[1])
    if k < 1:
        return [np.empty(0, dtype=np.intp)] * len(scores)
    best = []
    for row in scores:
        threshold = np.partition(row, len(row) - k)[len(row) - k]
        candidates = np.flatnonzero(row >= threshold)  # all that tie at the cut, so that the choice is not by chance
        best.append(candidates[np.argsort(-row[candidates], kind="stable")][:k])
    return best
