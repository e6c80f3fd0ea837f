"""`QueryAdapter`: the learned map of query vectors, and the small folder that it is saved in."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from embedtune.adapter.fitting import Factors
from embedtune.errors import EmbeddingError, ModelFolderError
from embedtune.protocols import Embedder, Similarity, Vectors
from embedtune.records import read_record
from embedtune.search import checked_vectors

__all__ = ["ADAPTER_FILE", "AdaptedEmbedder", "QueryAdapter"]

ADAPTER_FILE = "adapter.safetensors"
"""Beside ``embedtune.json``."""


@dataclass(frozen=True, eq=False)
class QueryAdapter:
    """Maps the query vectors of one embedder, ``q + up @ (down @ q)``, each to the length that it had.

    Chunks keep their vectors: an index that is there stays as it is.
    """

    factors: Factors
    """Of the change; rank 0 is the identity."""
    embedder_fingerprint: str | None
    """Of the embedder that it was trained on; None if that one does not say."""

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
        lengths = [np.linalg.norm(side, axis=1, keepdims=True) for side in (queries, mapped)]
        return np.asarray(mapped * (lengths[0] / np.maximum(lengths[1], tiny)), dtype=np.float32)

    def save(self, folder: Path) -> None:
        """Write ``adapter.safetensors`` into a folder."""
        metadata = {} if self.embedder_fingerprint is None else {"embedder": self.embedder_fingerprint}
        tensors = {"up": np.ascontiguousarray(self.factors.up), "down": np.ascontiguousarray(self.factors.down)}
        save_file(tensors, folder / ADAPTER_FILE, metadata={"format": "np", **metadata})

    @classmethod
    def load(cls, folder: str | Path) -> "QueryAdapter":
        """Read the folder that a tuning wrote.

        Raises:
            ModelFolderError: If there is no adapter in it, or it cannot be read.
        """
        file = Path(folder).expanduser() / ADAPTER_FILE
        record = read_record(file.parent)
        if record is None or not file.is_file():
            raise ModelFolderError(
                f"No adapter in {str(folder)!r}: it needs embedtune.json and {ADAPTER_FILE}. Give the folder that "
                "embedtune.tune(..., tuner='adapter') wrote."
            )
        try:
            tensors = load_file(file)
            factors = Factors(tensors["up"], tensors["down"])
        except (SafetensorError, KeyError, OSError) as error:
            raise ModelFolderError(f"{str(file)!r} cannot be read: {error}. Tune again into this folder.") from error
        if factors.up.ndim != 2 or factors.up.shape != factors.down.T.shape:
            raise ModelFolderError(
                f"{str(file)!r} holds parts of shapes {factors.up.shape} and {factors.down.shape}, which do not fit. "
                "Tune again into this folder."
            )
        return cls(factors, record.base_fingerprint)


class AdaptedEmbedder:
    """An embedder whose queries go through an adapter; its chunks' vectors are its own.

    Args:
        embedder: The one that the adapter was trained on.
        adapter: An adapter, or its folder.

    Raises:
        EmbeddingError: If the adapter was trained on another embedder.
    """

    def __init__(self, embedder: Embedder, adapter: QueryAdapter | str | Path) -> None:
        self.embedder = embedder
        self.record_folder = None if isinstance(adapter, QueryAdapter) else Path(adapter)
        self.adapter = adapter if isinstance(adapter, QueryAdapter) else QueryAdapter.load(adapter)
        trained_on, this = self.adapter.embedder_fingerprint, embedder.fingerprint
        if trained_on is not None and this is not None and trained_on != this:
            raise EmbeddingError(
                f"The adapter was trained on the embedder with fingerprint {trained_on}; this one has {this}: another "
                "model, or other settings (dimensions, prompts, max_seq_length). Give the one that it was trained on, "
                "or tune an adapter for this one."
            )

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
        """The embedder's, mapped."""
        found = self.embedder.embed_queries(texts)
        return self.adapter(checked_vectors(found, len(texts), type(self.embedder).__name__)) if len(texts) else found

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """The embedder's own."""
        return self.embedder.embed_documents(texts)
