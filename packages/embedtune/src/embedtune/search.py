"""Exact search over embeddings, and the wrapper that embeds each text once."""

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from embedtune.errors import EmbeddingError
from embedtune.protocols import Embedder, Similarity, Vectors
from embedtune.ranks import Places, rank_columns
from embedtune.scores import Prefix, lengths

__all__ = ["EmbedOnce", "ExactSearch", "Ranking", "checked_vectors"]


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
    return np.asarray(vectors / lengths(vectors)[:, None], dtype=np.float32)


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
        self, texts: Sequence[str], known: dict[str, Vectors], embed: Callable[[Sequence[str]], Vectors]
    ) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new or not texts:
            vectors = checked_vectors(embed(new), len(new), type(self._embedder).__name__)
            known.update(zip(new, vectors, strict=True))
            if len(new) == len(texts):  # no copy of a large corpus
                return vectors
        return np.stack([known[text] for text in texts])


class Ranking(NamedTuple):
    """What one query finds in the whole corpus."""

    ranks: list[float]
    """1-based ranks of the chunks that were asked for, in that order; ``inf`` for one that is not in the corpus."""
    retrieved: list[str]
    """Ids of the nearest chunks, best first."""


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
        columns: dict[str, int] = {}
        first_ids: list[str] = []
        self._columns: dict[str, int] = {}
        for chunk, text in corpus.items():
            if columns.setdefault(text, len(first_ids)) == len(first_ids):
                first_ids.append(chunk)
            self._columns[chunk] = columns[text]
        self._ids = np.array(first_ids, dtype=object)
        self._embedder = embedder
        self._documents = self._prepared(embedder.embed_documents(list(columns)), len(columns))
        self._longest = float(lengths(self._documents).max(initial=0))
        self._whole = Prefix.of(self._documents, self.dim, embedder.similarity)

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self._documents.shape[1])

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The ``k`` nearest chunks of each query, best first; of equal scores the earlier chunk."""
        return [found.retrieved for (found,) in self.rank(queries, [()] * len(queries), k)]

    def rank(
        self,
        queries: Sequence[str],
        chunks: Sequence[Collection[str]],
        k: int = 0,
        dims: Sequence[int] | None = None,
    ) -> list[tuple[Ranking, ...]]:
        """Where some chunks stand among all, without sorting; in the order that `search` gives.

        It takes a fifth more time than the matrix product of queries and chunks, for each further one of ``dims`` three
        fifths more, and beside the vectors 128 MiB, or a quarter of the chunks' vectors if that is more.

        Args:
            queries: Texts.
            chunks: For each query the ids whose ranks are asked for.
            k: How many of the nearest chunks are given as well.
            dims: Rank by these first numbers of each vector, as Matryoshka models allow; by all if None. In rising
                order, from 1 to `dim`.

        Returns:
            For each query one `Ranking` for each of ``dims``.

        Raises:
            EmbeddingError: If queries and chunks have no common dimension, or their products are too large to compare.

        >>> from embedtune.testing import HashEmbedder
        >>> search = ExactSearch({"a": "red apples", "b": "blue sky"}, HashEmbedder())
        >>> search.rank(["apples red"], [["b"]], k=1)
        [(Ranking(ranks=[2], retrieved=['a']),)]
        """
        vectors = self._prepared(self._embedder.embed_queries(list(queries)), len(queries))
        self._check(vectors)
        prefixes = [self._prefix(dim) for dim in dims] if dims is not None else [self._whole]
        known = [{chunk: self._columns[chunk] for chunk in wanted if chunk in self._columns} for wanted in chunks]
        columns = [np.array(list(by_chunk.values()), dtype=np.intp) for by_chunk in known]
        places = rank_columns(vectors, self._documents, prefixes, columns, k)
        return [
            tuple(self._ranking(place, by_chunk, wanted) for place in by_prefix)
            for by_prefix, by_chunk, wanted in zip(places, known, chunks, strict=True)
        ]

    def _ranking(self, found: Places, known: Mapping[str, int], wanted: Iterable[str]) -> Ranking:
        ranks = dict(zip(known, found.ranks.tolist(), strict=True))
        return Ranking([ranks.get(chunk, math.inf) for chunk in wanted], list(self._ids[found.best]))

    def _prefix(self, dim: int) -> Prefix:
        return self._whole if dim == self.dim else Prefix.of(self._documents, dim, self._embedder.similarity)

    def _prepared(self, vectors: Vectors, n_texts: int) -> Vectors:
        vectors = checked_vectors(vectors, n_texts, type(self._embedder).__name__)
        return normalised(vectors) if self._embedder.similarity == "cosine" else vectors

    def _check(self, vectors: Vectors) -> None:
        if len(vectors) and vectors.shape[1] != self.dim:
            raise EmbeddingError(
                f"Queries have {vectors.shape[1]} dimensions, chunks {self.dim}: two models are mixed up."
            )
        # No sum on the way to a product is larger than that of the lengths. Beyond it stands a NaN, which has no rank.
        if float(lengths(vectors).max(initial=0)) * self._longest > np.finfo(np.float32).max:
            raise EmbeddingError(
                f"Embedder {type(self._embedder).__name__!r} returned vectors whose products are no float32."
            )
