"""The learned map, its folder, and an embedder whose queries go through it."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embedtune.adapter.fitting import Factors
from embedtune.errors import EmbeddingError, ModelFolderError, ModelNotFoundError
from embedtune.folders import heal
from embedtune.protocols import Embedder, Similarity, Vectors
from embedtune.records import read_record
from embedtune.search import checked_vectors

__all__ = ["ADAPTER_FILE", "PROBE", "AdaptedEmbedder", "QueryAdapter", "is_adapter_folder", "without_adapter"]

ADAPTER_FILE = "adapter.safetensors"
"""Beside ``embedtune.json``."""

PROBE = "Which embedder is this?"
"""A query whose vector tells embedders apart that have no fingerprint."""
_SAME_DIRECTION = 0.98
"""Cosine of the probe's vector then and now: rounding stays above, another model far below."""


def is_adapter_folder(folder: str | Path) -> bool:
    """Whether there is an adapter in a folder."""
    return (Path(folder) / ADAPTER_FILE).is_file()


@dataclass(frozen=True, eq=False)
class QueryAdapter:
    """Maps the query vectors of one embedder, ``q + up @ (down @ q)``, each to the length that it had.

    Chunks keep their vectors: an index that is there stays as it is.
    """

    factors: Factors
    """Of the change; rank 0 is the identity."""
    embedder_fingerprint: str | None
    """Of the embedder that it was trained on; None if that one does not say."""
    probe: Vectors
    """That embedder's vector of the query `PROBE`, shape (d,)."""

    @property
    def dim(self) -> int:
        """Numbers in a vector."""
        return int(self.factors.up.shape[0])

    @property
    def fingerprint(self) -> str:
        """Hash of the map."""
        digest = hashlib.sha256()
        for part in (self.factors.up, self.factors.down):
            digest.update(np.ascontiguousarray(part, dtype="<f4").tobytes())
        return digest.hexdigest()[:32]

    def __call__(self, queries: Vectors) -> Vectors:
        """Map query vectors, float32 (n, d).

        Raises:
            EmbeddingError: If they have another number of dimensions.
        """
        queries = np.asarray(queries, dtype=np.float32)
        if queries.ndim != 2 or queries.shape[1] != self.dim:
            raise EmbeddingError(
                f"The adapter maps query vectors of {self.dim} dimensions; got shape {queries.shape}. It belongs to "
                "another embedder, or to other settings of this one."
            )
        if self.factors.rank == 0:
            return queries
        mapped = queries + self.factors.change(queries)
        tiny = np.finfo(np.float32).tiny
        before, after = (np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, mapped))
        return np.asarray(mapped * (before / np.maximum(after, tiny)), dtype=np.float32)

    def check_fits(self, embedder: Embedder) -> bool:
        """Whether its fingerprint proves an embedder to be the one that this was trained on.

        Returns:
            False where one of the two has no fingerprint: the probe's vector has to tell.

        Raises:
            EmbeddingError: If they are known to be two.
        """
        trained_on, this = self.embedder_fingerprint, embedder.fingerprint
        if trained_on is None or this is None:
            return False
        if trained_on != this:
            raise EmbeddingError(_another(f"has fingerprint {this}", f"fingerprint {trained_on}"))
        return True

    def check_probe(self, vector: Vectors) -> None:
        """Compare an embedder's vector of `PROBE`, shape (d,), with the one of training.

        Raises:
            EmbeddingError: If they are another's.
        """
        if vector.shape != self.probe.shape:
            raise EmbeddingError(
                _another(f"gives vectors of {len(vector)} dimensions", f"{len(self.probe)} dimensions")
            )
        lengths = float(np.linalg.norm(vector) * np.linalg.norm(self.probe))
        cosine = float(vector @ self.probe) / lengths if lengths else float(np.array_equal(vector, self.probe))
        if cosine < _SAME_DIRECTION:
            told = f"gives the query {PROBE!r} a vector whose cosine with that of training is {cosine:.3f}"
            raise EmbeddingError(_another(told, f"a cosine of at least {_SAME_DIRECTION}"))

    def save(self, folder: Path) -> None:
        """Write ``adapter.safetensors`` into a folder."""
        from safetensors.numpy import save

        tensors = {"up": self.factors.up, "down": self.factors.down, "probe": self.probe}
        # The embedder's fingerprint stands here too: the folder's own fingerprint, over its files, has to name it.
        # One entry, since safetensors writes several in any order, and equal adapters are equal files.
        metadata = {"embedder": self.embedder_fingerprint or ""}
        plain = {name: np.ascontiguousarray(tensor, dtype=np.float32) for name, tensor in tensors.items()}
        (folder / ADAPTER_FILE).write_bytes(save(plain, metadata))

    @classmethod
    def load(cls, folder: str | Path) -> "QueryAdapter":
        """Read the folder that a tuning wrote.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFolderError: If there is no adapter in it, or it cannot be read.
        """
        path = Path(folder).expanduser().absolute()
        heal(path)
        if not path.is_dir():
            raise ModelNotFoundError(f"No adapter folder at {str(path)!r}. Give the folder that tuning wrote.")
        record = read_record(path)
        if record is None or not is_adapter_folder(path):
            raise ModelFolderError(
                f"No adapter in {str(path)!r}: it needs embedtune.json and {ADAPTER_FILE}. Give the folder that "
                "embedtune.tune(..., tuner='adapter') wrote."
            )
        up, down, probe = _tensors(path / ADAPTER_FILE)
        return cls(Factors(up, down), record.base_fingerprint, probe)


def _tensors(file: Path) -> tuple[Vectors, Vectors, Vectors]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    way_out = "Tune again into this folder."
    try:
        found = load_file(file)
        up, down, probe = (np.asarray(found[name], dtype=np.float32) for name in ("up", "down", "probe"))
    except (SafetensorError, KeyError, OSError, ValueError) as error:
        raise ModelFolderError(f"{str(file)!r} cannot be read: {error}. {way_out}") from error
    if up.ndim != 2 or up.shape != down.T.shape or probe.shape != up.shape[:1]:
        shapes = f"up {up.shape}, down {down.shape}, probe {probe.shape}"
        raise ModelFolderError(f"{str(file)!r} holds parts that do not fit: {shapes}. {way_out}")
    if not all(np.isfinite(part).all() for part in (up, down, probe)):
        raise ModelFolderError(f"{str(file)!r} holds NaN or infinity. {way_out}")
    return up, down, probe


def _another(this: str, trained_on: str) -> str:
    return (
        f"The adapter was trained on another embedder: this one {this}; expected {trained_on}. It may be another "
        "model, or other settings (dimensions, prompts, max_seq_length, address). Give the one that it was trained "
        "on, or tune an adapter for this one."
    )


class AdaptedEmbedder:
    """An embedder whose queries go through an adapter; its chunks' vectors are its own.

    An embedder without a fingerprint is known by its vector of the query `PROBE`, which is embedded once, beside the
    first queries.

    Args:
        embedder: The one that the adapter was trained on.
        adapter: An adapter, or its folder.

    Raises:
        EmbeddingError: If the adapter was trained on another embedder; for one without a fingerprint at its first
            queries.

    >>> from embedtune.testing import HashEmbedder
    >>> identity = QueryAdapter(Factors.identity(64), None, HashEmbedder().embed_queries([PROBE])[0])
    >>> AdaptedEmbedder(HashEmbedder(), identity).embed_queries(["red apples"]).shape
    (1, 64)
    """

    def __init__(self, embedder: Embedder, adapter: QueryAdapter | str | Path) -> None:
        # Not isinstance(embedder, Embedder): that asks for its properties, for which some load a model.
        is_embedder = callable(getattr(embedder, "embed_queries", None))
        if not is_embedder or not isinstance(adapter, QueryAdapter | str | Path):
            raise EmbeddingError(
                f"An adapter and its embedder are needed; got a {type(embedder).__name__} as embedder and a "
                f"{type(adapter).__name__} as adapter. Give an Embedder, as as_embedder() makes it, and a folder."
            )
        self.embedder = embedder
        self.record_folder = None if isinstance(adapter, QueryAdapter) else Path(adapter).expanduser().absolute()
        self.adapter = adapter if isinstance(adapter, QueryAdapter) else QueryAdapter.load(adapter)
        self._is_known = self.adapter.check_fits(embedder)

    def over(self, embedder: Embedder) -> "AdaptedEmbedder":
        """The same map over the same embedder in another coat, such as one that keeps its vectors."""
        adapted = AdaptedEmbedder(embedder, self.adapter)
        adapted.record_folder = self.record_folder
        return adapted

    def __repr__(self) -> str:
        return f"AdaptedEmbedder({self.embedder!r})"

    @property
    def fingerprint(self) -> str | None:
        """Hash of the embedder's and the map; the embedder's own where the map is the identity."""
        base = self.embedder.fingerprint
        if base is None or self.adapter.factors.rank == 0:
            return base
        return hashlib.sha256(f"{base} {self.adapter.fingerprint}".encode()).hexdigest()[:32]

    @property
    def similarity(self) -> Similarity:
        """The embedder's own."""
        return self.embedder.similarity

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The embedder's, mapped; float32 (n, d)."""
        if not texts:
            return np.zeros((0, self.adapter.dim), dtype=np.float32)
        asked = list(texts) if self._is_known else [*texts, PROBE]
        found = checked_vectors(self.embedder.embed_queries(asked), len(asked), type(self.embedder).__name__)
        if not self._is_known:
            self.adapter.check_probe(found[-1])
            self._is_known = True
        return self.adapter(found[: len(texts)])

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """The embedder's own; float32 (n, d)."""
        return self.embedder.embed_documents(texts)


def without_adapter(embedder: Embedder) -> Embedder:
    """What is under the adapters of an embedder; itself if it has none."""
    while isinstance(embedder, AdaptedEmbedder):
        embedder = embedder.embedder
    return embedder
