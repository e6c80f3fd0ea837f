"""What the bridges to frameworks' embedding models share, in both directions."""

import re
import threading
import uuid
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from embedtune.adapter.query_adapter import AdaptedEmbedder
from embedtune.errors import EmbeddingError
from embedtune.fingerprints import folder_fingerprint
from embedtune.framework_adapters import completed
from embedtune.plugins.references import parse_reference
from embedtune.protocols import Embedder, Similarity, Vectors
from embedtune.resolve import as_embedder
from embedtune.search import checked_vectors

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["FrameworkEmbedder", "LazyEmbedder"]

_HARMLESS = frozenset({"device", "batch_size", "progress", "trust_remote_code"})
"""Options at load time that change no vector."""

_SECRET = re.compile(r"key|token$|secret|password", re.IGNORECASE)


class FrameworkEmbedder(ABC):
    """A framework's model as an `Embedder`; a bridge says how it embeds one query, and how it embeds chunks.

    Args:
        model: The framework's model.
    """

    def __init__(self, model: object) -> None:
        self._thing = model

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._thing).__name__})"

    @property
    def fingerprint(self) -> None:
        """None: frameworks' models do not say all that changes their vectors, so nothing is cached."""
        return None

    @property
    def similarity(self) -> Similarity:
        """Cosine, the frameworks' default."""
        return "cosine"

    @abstractmethod
    def embed_one_query(self, text: str) -> Sequence[float]:
        """As the framework embeds a query."""

    @abstractmethod
    def embed_chunks(self, texts: list[str]) -> Sequence[Sequence[float]]:
        """As the framework embeds chunks into an index; never called with none."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """One by one, since frameworks have no batch for queries; float32 (n, d)."""
        return self._checked([self.embed_one_query(text) for text in texts], len(texts))

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """In the model's own batches; float32 (n, d)."""
        return self._checked(self.embed_chunks(list(texts)) if texts else [], len(texts))

    def _checked(self, vectors: object, n_texts: int) -> Vectors:
        return checked_vectors(vectors, n_texts, type(self._thing).__name__)


class LazyEmbedder:
    """A model by reference that is loaded when it first embeds: what a framework's class for tuned models holds.

    The fingerprint is known before: a folder's comes from its files alone; any other model is loaded for it. Threads
    take turns. It pickles as its reference; copies share what is loaded.

    Args:
        model: A reference, as in `as_embedder`; a relative folder is made absolute. Or an `Embedder`, or what a
            plugin makes one of: it has no reference, and cannot be named in a file. None if ``adapter`` names it.
        options: Of the backend that loads the reference, such as ``device``; none for an object, and no key, since
            frameworks write them to files.
        adapter: Folder of a query adapter that was trained on the model; it may be given as ``model`` too.
        fingerprint: What the model is known by elsewhere; another one at this place is an error.
        plugins: Where the model is looked up.

    Raises:
        ModelNotFoundError: If it, or the adapter, is a folder that does not exist; before any framework is imported.
        ModelFolderError: If there is no adapter in its folder, or it names no model and none is given.
        BackendNotFoundError: If it is a folder without a model.
        EmbeddingError: If ``fingerprint`` is another than the model's, the adapter was trained on another model, or an
            option does not fit. Where a model has no fingerprint, the first queries tell.

    >>> from embedtune.testing import HashEmbedder
    >>> LazyEmbedder(HashEmbedder()).embed_queries(["red apples"]).shape
    (1, 64)
    """

    def __init__(
        self,
        model: object,
        options: Mapping[str, object] = MappingProxyType({}),
        *,
        adapter: str | Path | None = None,
        fingerprint: str | None = None,
        plugins: "PluginManager | None" = None,
    ) -> None:
        model, self.adapter = completed(model, adapter)
        self.options = {name: value for name, value in options.items() if value is not None}
        """What the backend is given, without None."""
        self.ref: str | None = None
        """The absolute folder, hub name or ``backend:ref`` of what the adapter, if any, is over; None for an object."""
        self.folder: Path | None = None
        """The model's folder, if it is one and has no adapter over it."""
        _check_options(self.options, is_reference=isinstance(model, str | Path))
        self._plugins = plugins
        self._lock = threading.RLock()
        self._loaded: Embedder | None = None
        self._base: LazyEmbedder | None = None
        if self.adapter is not None:
            self._adapt(model, self.adapter)
        elif isinstance(model, str | Path):
            self._refer_to(str(model))
        else:
            self._loaded = as_embedder(model, plugins)
        self.fingerprint = self._fingerprint()
        """Of the model as it was when this object was made; see `embedtune.fingerprints`."""
        self._check_same(fingerprint, self.fingerprint)

    def __repr__(self) -> str:
        return f"LazyEmbedder({self.name!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> "LazyEmbedder":
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        if self.ref is None:
            return (_revived, (self._base or self._loaded, self.options, None, self.adapter))
        return (_revived, (self.ref, self.options, self.fingerprint, self.adapter))

    @property
    def name(self) -> str:
        """Readable, and another for another model: the last part of the reference, ``@``, and the fingerprint."""
        # Without a fingerprint no two objects are known to be equal, so nothing may be found under this name.
        return f"{self._short_name}@{self.fingerprint or uuid.uuid5(uuid.NAMESPACE_OID, str(id(self))).hex}"

    @property
    def _short_name(self) -> str:
        if self._base is not None and self.adapter is not None:
            return f"{self._base._short_name}+{self.adapter.name}"
        told = type(self._loaded).__name__ if self.ref is None else self.ref.replace("\\", "/").rstrip("/")
        return told.rpartition("/")[2]

    @property
    def similarity(self) -> Similarity:
        """The model's own."""
        return self.embedder.similarity

    @property
    def record_folder(self) -> Path | None:
        """Where ``embedtune.json`` may say what the model has seen."""
        if self.folder is not None or self._loaded is None:
            return self.folder
        folder = getattr(self._loaded, "record_folder", None)
        return folder if isinstance(folder, Path) else None

    @property
    def embedder(self) -> Embedder:
        """The loaded model.

        Raises:
            EmbeddingError: If the folder holds another model than when this object was made.
        """
        with self._lock:
            if self._loaded is None:
                loaded = self._load()
                self._check_same(self.fingerprint, self._fingerprint())
                self._loaded = loaded
        return self._loaded

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As the model does, with its query prompt, and through the adapter, if any; float32 (n, d)."""
        with self._lock:  # tokenizers fail where two threads set how they pad
            return checked_vectors(self.embedder.embed_queries(texts), len(texts), self.name)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As the model does, with its document prompt; float32 (n, d)."""
        with self._lock:
            return checked_vectors(self.embedder.embed_documents(texts), len(texts), self.name)

    def _adapt(self, model: object, adapter: Path) -> None:
        """Put the adapter over the model, which is loaded when it embeds, and shared if it was made already."""
        base = model if isinstance(model, LazyEmbedder) else LazyEmbedder(model, self.options, plugins=self._plugins)
        # What is itself an adapter over a model is named by its folder, which leads to both.
        self.ref = base.ref if base.adapter is None else str(base.adapter)
        self.options = base.options
        self._base, self._loaded = base, AdaptedEmbedder(base, adapter)

    def _refer_to(self, model: str) -> None:
        from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

        self._plugins = self._plugins or plugin_manager()
        backends = self._plugins.embedders()
        parsed = parse_reference(model, [row.name for row in backends])
        self.ref = parsed.ref if parsed.backend is None else f"{parsed.backend}:{parsed.ref}"
        self.folder = Path(parsed.ref) if Path(parsed.ref).is_dir() else None
        if self.folder and parsed.backend is None and not any(row.matches(parsed.ref) for row in backends):
            self._load()  # says that there is no model in it; a project's folder takes minutes to hash

    def _load(self) -> Embedder:
        assert self._plugins is not None
        assert self.ref is not None
        return self._plugins.embedder(self.ref, **self.options)

    def _fingerprint(self) -> str | None:
        if self.folder is not None:
            changing = {name: value for name, value in self.options.items() if name not in _HARMLESS}
            return folder_fingerprint(self.folder, **changing)
        self._loaded = self._loaded or self._load()
        return self._loaded.fingerprint

    def _check_same(self, known: str | None, found: str | None) -> None:
        if known is not None and known != found:
            adapted = f" with the adapter {str(self.adapter)!r}" if self.adapter is not None else ""
            raise EmbeddingError(
                f"The model {self.ref!r}{adapted} has fingerprint {found}; expected {known}: it was replaced. "
                "Vectors of the two do not compare. Make the embedding anew from the model as it is, and embed the "
                "chunks again."
            )


def _revived(
    model: object, options: Mapping[str, object], fingerprint: str | None, adapter: Path | None
) -> LazyEmbedder:
    return LazyEmbedder(model, options, adapter=adapter, fingerprint=fingerprint)


def _check_options(options: Mapping[str, object], *, is_reference: bool) -> None:
    if options and not is_reference:
        raise EmbeddingError(
            f"The options {', '.join(map(repr, options))} are for a model given by reference; this one is loaded."
        )
    if secret := [name for name in options if _SECRET.search(name)]:
        raise EmbeddingError(
            f"The option {secret[0]!r} would stand in every file that the framework writes of this model. Set the "
            "provider's environment variable, or give the embedder itself, loaded with it."
        )
