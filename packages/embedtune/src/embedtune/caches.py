"""Vectors and scores that outlive a run: in a folder that the caller names, keyed by what made them.

The key is the model's fingerprint, the side (query or document) and the text to the letter; never a path. Without a
fingerprint nothing is kept. A run that is killed keeps what it has embedded so far.
"""

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from embedtune.adapter.query_adapter import AdaptedEmbedder
from embedtune.disk_store import DiskStore
from embedtune.errors import EmbeddingError, EvaluationError
from embedtune.protocols import Embedder, Similarity, Vectors
from embedtune.search import checked_vectors

__all__ = ["CachedEmbedder", "ScoreCache", "Side", "VectorCache", "cached"]

logger = logging.getLogger(__name__)

Side = Literal["query", "document"]
"""What a text was embedded as."""

_TEXTS_AT_ONCE = 512
"""Texts embedded between two writes: what a crash can lose, seconds to a minute on a laptop. An embedder that pays for
each request says with ``texts_at_once`` how many make one."""
_LITTLE_ENDIAN = np.dtype("<f4")


class _FolderCache:
    """One file for each model, in a folder."""

    kind = ""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder).expanduser().absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise EvaluationError(f"No cache can be kept in {str(self.folder)!r}: {error}. Give a folder.") from error
        self._stores: dict[str, DiskStore] = {}

    def _store(self, fingerprint: str) -> DiskStore:
        if fingerprint not in self._stores:
            # A fingerprint may hold anything; a file's name may not.
            name = f"{self.kind}-{hashlib.sha256(fingerprint.encode()).hexdigest()[:32]}.sqlite"
            self._stores[fingerprint] = DiskStore(self.folder / name)
        return self._stores[fingerprint]


class VectorCache(_FolderCache):
    """Vectors in a folder, one file for each model.

    Several processes may share the folder. A damaged file is made anew, and a damaged vector computed anew, with a
    warning in the log.

    Args:
        folder: Made if it is not there.

    Raises:
        EvaluationError: If the folder cannot be made.
    """

    kind = "vectors"

    def known(self, fingerprint: str, side: Side, texts: Sequence[str]) -> dict[str, Vectors]:
        """The vectors that are there, float32 (d,) by text."""
        texts_by_key = {_key(side, text): text for text in texts}
        found = self._store(fingerprint).read(list(texts_by_key))
        return {texts_by_key[key]: _numbers(value) for key, value in found.items()}

    def keep(self, fingerprint: str, side: Side, texts: Sequence[str], vectors: Vectors) -> None:
        """Keep vectors, float32 (n, d), one row per text."""
        rows = zip(texts, np.asarray(vectors, dtype=_LITTLE_ENDIAN), strict=True)
        self._store(fingerprint).write({_key(side, text): row.tobytes() for text, row in rows})


class ScoreCache(_FolderCache):
    """Scores of (query, text) pairs in a folder, one file for each reranker; else as `VectorCache`.

    Args:
        folder: Made if it is not there; it may be that of a `VectorCache`.

    Raises:
        EvaluationError: If the folder cannot be made.
    """

    kind = "scores"

    def known(self, fingerprint: str, pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], float]:
        """The scores that are there, by pair."""
        pairs_by_key = {_key(*pair): pair for pair in pairs}
        found = self._store(fingerprint).read(list(pairs_by_key))
        return {pairs_by_key[key]: float(_numbers(value)[0]) for key, value in found.items()}

    def keep(self, fingerprint: str, scores: Mapping[tuple[str, str], float]) -> None:
        """Keep scores, as float32."""
        values = {_key(*pair): np.array([score], dtype=_LITTLE_ENDIAN).tobytes() for pair, score in scores.items()}
        self._store(fingerprint).write(values)


class CachedEmbedder:
    """An embedder that finds what it has embedded before, in this run or an earlier one, on the disk.

    Args:
        embedder: Any `Embedder`; without a fingerprint it embeds all anew.
        cache: The folder, or the cache in it.
        progress: Whether a bar is shown over several requests.
    """

    def __init__(self, embedder: Embedder, cache: VectorCache | str | Path, *, progress: bool = True) -> None:
        self._embedder = embedder
        self._progress = progress
        self._cache = cache if isinstance(cache, VectorCache) else VectorCache(cache)

    @cached_property
    def fingerprint(self) -> str | None:
        """The embedder's own."""
        fingerprint = self._embedder.fingerprint
        if fingerprint is None:
            name = type(self._embedder).__name__
            logger.warning("%s has no fingerprint: its vectors are kept nowhere, and embedded at each run", name)
        return fingerprint

    @property
    def similarity(self) -> Similarity:
        """The embedder's own."""
        return self._embedder.similarity

    @property
    def record_folder(self) -> Path | None:
        """Where ``embedtune.json`` may say what the model has seen."""
        folder: Path | None = getattr(self._embedder, "record_folder", None) or getattr(self._embedder, "folder", None)
        return folder

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's."""
        return self._embed(texts, "query", self._embedder.embed_queries)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As the embedder's."""
        return self._embed(texts, "document", self._embedder.embed_documents)

    def _embed(self, texts: Sequence[str], side: Side, embed: Callable[[Sequence[str]], Vectors]) -> Vectors:
        fingerprint, name = self.fingerprint, type(self._embedder).__name__
        if fingerprint is None or not texts:
            return checked_vectors(embed(texts), len(texts), name)
        vectors = self._cache.known(fingerprint, side, texts)
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        if vectors:
            logger.info("%d of %d texts (%s) are in the cache", len(vectors), len(vectors) + len(new), side)
        size = getattr(self._embedder, "texts_at_once", None) or _TEXTS_AT_ONCE
        starts = range(0, len(new), size)
        hidden = len(starts) < 2 or not self._progress
        for start in tqdm(starts, desc=f"embedding, {side}", unit="part", leave=False, disable=hidden):
            some = new[start : start + size]
            embedded = checked_vectors(embed(some), len(some), name)
            self._cache.keep(fingerprint, side, some, embedded)
            vectors.update(zip(some, embedded, strict=True))
        if len(widths := {len(vector) for vector in vectors.values()}) > 1:
            raise EmbeddingError(
                f"Vectors of {name!r} have {sorted(widths)} dimensions under one fingerprint, {fingerprint!r}: it must "
                f"change with all that changes a vector. Remove {str(self._cache.folder)!r}, or mend the fingerprint."
            )
        return np.stack([vectors[text] for text in texts])


def cached(embedder: Embedder, cache: VectorCache | str | Path, *, progress: bool = True) -> Embedder:
    """The embedder with what it has embedded kept in a folder; an adapter goes over what the base model has there.

    Args:
        embedder: Any `Embedder`.
        cache: The folder, or the cache in it.
        progress: Whether a bar is shown over several requests.
    """
    if isinstance(embedder, AdaptedEmbedder):
        return embedder.over(cached(embedder.embedder, cache, progress=progress))
    return CachedEmbedder(embedder, cache, progress=progress)


def _key(*parts: str) -> bytes:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "big"))
        digest.update(encoded)
    return digest.digest()


def _numbers(value: bytes) -> Vectors:
    return np.frombuffer(value, dtype=_LITTLE_ENDIAN).astype(np.float32)
