"""Reranking: any search's finds in the order of a reranker's scores."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

import numpy as np
from tqdm.auto import tqdm

from embedtune.errors import EvaluationError
from embedtune.protocols import Reranker, Search, Vectors

if TYPE_CHECKING:
    from embedtune.caches import ScoreCache

__all__ = ["DEFAULT_DEPTH", "RerankedSearch", "ScoreOnce", "checked_scores"]

logger = logging.getLogger(__name__)

Pair = tuple[str, str]

DEFAULT_DEPTH = 50
"""Finds of each query that a reranker reads."""
_PAIRS_AT_ONCE = 256
_SECONDS_BEFORE_A_BAR = 2


def checked_scores(scores: object, n_pairs: int, name: str) -> Vectors:
    """Scores as float32 of shape (n,).

    Raises:
        EvaluationError: If the shape is another, or a value is no finite number.
    """
    try:
        array = np.asarray(scores, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise EvaluationError(f"Reranker {name!r} did not return numbers: {error}") from error
    if array.shape != (n_pairs,):
        raise EvaluationError(
            f"Reranker {name!r} returned shape {array.shape} for {n_pairs} pairs; expected ({n_pairs},). "
            "Return one score per pair, in the order given."
        )
    if not np.isfinite(array).all():
        bad = int(np.flatnonzero(~np.isfinite(array))[0])
        raise EvaluationError(f"Reranker {name!r} returned NaN or infinity for pair {bad} of {n_pairs}.")
    return array


class ScoreOnce:
    """A reranker that keeps its scores: in memory for the life of this object, and in a folder if it is given one.

    Args:
        reranker: Any `Reranker`.
        cache: Where scores outlive this object; of use only where the reranker has a fingerprint.
        progress: Whether a bar is shown where scoring takes more than two seconds.
    """

    def __init__(self, reranker: Reranker, cache: "ScoreCache | None" = None, *, progress: bool = True) -> None:
        self._reranker = reranker
        self._cache = cache
        self._progress = progress
        self._scores: dict[Pair, float] = {}

    @property
    def fingerprint(self) -> str | None:
        """The reranker's own."""
        return self._reranker.fingerprint

    def score(self, pairs: Sequence[Pair]) -> Vectors:
        """As the reranker's; each pair is scored once."""
        new = [pair for pair in dict.fromkeys(pairs) if pair not in self._scores]
        fingerprint = self.fingerprint if self._cache is not None and new else None
        if self._cache is not None and fingerprint is not None:
            self._scores.update(self._cache.known(fingerprint, new))
            new = [pair for pair in new if pair not in self._scores]
        with _bar(len(new), shown=self._progress) as bar:
            for some in _batches(new):
                scores = checked_scores(self._reranker.score(some), len(some), type(self._reranker).__name__)
                scored = dict(zip(some, scores.tolist(), strict=True))
                if self._cache is not None and fingerprint is not None:
                    self._cache.keep(fingerprint, scored)
                self._scores.update(scored)
                bar.update(len(some))
        return np.array([self._scores[pair] for pair in pairs], dtype=np.float32)


def _bar(n_pairs: int, *, shown: bool) -> "tqdm[NoReturn]":
    return tqdm(
        total=n_pairs, desc="reranking", unit="pair", leave=False, delay=_SECONDS_BEFORE_A_BAR, disable=not shown
    )


def _batches(pairs: Sequence[Pair]) -> Iterator[list[Pair]]:
    """Pairs in their order, a query's never in two batches: some rerankers take one query and its texts a call."""
    batch: list[Pair] = []
    for pair in pairs:
        if len(batch) >= _PAIRS_AT_ONCE and pair[0] != batch[-1][0]:
            yield batch
            batch = []
        batch.append(pair)
    if batch:
        yield batch


class RerankedSearch:
    """A search whose first finds are put in the order of a reranker's scores.

    More is fetched than is asked for: a reranker that sees ``k`` finds alone cannot change what is among them. What
    is asked for beyond ``depth`` follows in the search's own order, as where a reranker is deployed. Of equal scores
    the search's order stays. Finds that are not in the corpus have no text; they stay behind the others.

    Args:
        search: Any `Search`.
        corpus: Text by chunk id.
        reranker: Any `Reranker`; each pair of query and text is scored once for the life of this object.
        depth: Finds of each query that are scored.

    Raises:
        EvaluationError: If ``depth`` is below 1.
    """

    def __init__(
        self, search: Search, corpus: Mapping[str, str], reranker: Reranker, depth: int = DEFAULT_DEPTH
    ) -> None:
        if depth < 1:
            raise EvaluationError(f"depth must be at least 1; got {depth}.")
        self._search = search
        self._corpus = corpus
        self._reranker = reranker if isinstance(reranker, ScoreOnce) else ScoreOnce(reranker)
        self._depth = depth
        self._has_warned = False

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The best ``k`` of each query's finds, highest score first."""
        if not queries or k < 1:
            return [[] for _ in queries]
        found = self._fetched(queries, max(k, self._depth))
        texts = [[self._corpus[chunk] for chunk in ids[: self._depth] if chunk in self._corpus] for ids in found]
        pairs = [(query, text) for query, some in zip(queries, texts, strict=True) for text in some]
        scores = dict(zip(pairs, self._reranker.score(pairs).tolist(), strict=True)) if pairs else {}
        return [self._ordered(query, ids, scores)[:k] for query, ids in zip(queries, found, strict=True)]

    def _fetched(self, queries: Sequence[str], n: int) -> list[list[str]]:
        found = self._search.search(queries, n)
        if len(found) != len(queries):
            raise EvaluationError(
                f"The search returned {len(found)} rankings for {len(queries)} queries; it must be one each."
            )
        rankings = [list(dict.fromkeys(ids)) for ids in found]
        strangers = {chunk for ids in rankings for chunk in ids if chunk not in self._corpus}
        if strangers and not self._has_warned:
            self._has_warned = True
            logger.warning(
                "%d ids that the search found are not in the corpus, such as %r: without a text they stay last",
                *(len(strangers), min(strangers)),
            )
        return rankings

    def _ordered(self, query: str, ids: list[str], scores: Mapping[Pair, float]) -> list[str]:
        known = [chunk for chunk in ids if chunk in self._corpus]
        strangers = [chunk for chunk in ids if chunk not in self._corpus]
        first = [chunk for chunk in ids[: self._depth] if chunk in self._corpus]
        best = sorted(first, key=lambda chunk: -scores[query, self._corpus[chunk]])
        return best + known[len(first) :] + strangers
