"""`EmbedtuneEmbeddings`: a tuned or base model as LangChain's ``Embeddings``."""

import copy
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from langchain_core.embeddings import Embeddings
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, field_validator, model_validator

from embedtune import Embedder, EmbeddingError, ModelRecord, plugin_manager
from embedtune.framework_adapters import completed
from embedtune.framework_embedder import LazyEmbedder
from embedtune.plugins.references import parse_reference
from embedtune.resolve import record_of

__all__ = ["EmbedtuneEmbeddings"]

_LOAD_OPTIONS = ("device", "batch_size", "truncate_dim", "max_seq_length", "progress", "trust_remote_code")
"""The settings that a backend loads a model with, under the names that it knows them by."""


class EmbedtuneEmbeddings(BaseModel, Embeddings):
    """Embeds as the model was tuned: queries with its query prompt, documents with its document prompt.

    Texts reach the model as they are. The weights are loaded at the first use; threads take turns. What is set here
    cannot be changed later: `model_copy` makes another. Pickled, it is its settings, and loads where it arrives.

    Raises:
        ModelNotFoundError: If ``model`` can only be a folder, and is not there, or ``adapter`` is not.
        pydantic.ValidationError: If a setting is unknown or out of range, or comes too late for a loaded model, or the
            adapter is known to be another model's; a ``ValueError``.

    Example:
        .. code-block:: python

            embeddings = EmbedtuneEmbeddings(model="tuned_model")
            store = InMemoryVectorStore.from_documents(documents, embeddings)
    """

    model_config = ConfigDict(
        extra="forbid", frozen=True, arbitrary_types_allowed=True, protected_namespaces=(), populate_by_name=True
    )

    model: Any = None
    """Model folder, hub name, ``backend:ref``, a loaded ``SentenceTransformer``, another ``Embeddings``, or an
    `embedtune.Embedder`; may be left out where the adapter's folder names it."""
    adapter: str | None = None
    """Folder of a query adapter that was trained on the model: queries go through it, documents do not. One that is
    known to be another model's is refused at once, or, where the model is not known before it embeds, then."""
    device: str | None = None
    """Such as ``"cpu"``; the fastest there is if None."""
    batch_size: int | None = Field(default=None, ge=1)
    """Texts at once; the backend's default if None."""
    truncate_dim: int | None = Field(default=None, ge=1)
    """Numbers kept of each vector, of queries and documents alike, for models trained so; all if None."""
    max_seq_length: int | None = Field(default=None, ge=2)
    """Tokens read of a text; the model's own setting if None."""
    progress: bool | None = Field(default=None, alias="show_progress")
    """Whether a bar is shown; for 256 texts and more if None. LangChain's other classes call it ``show_progress``."""
    trust_remote_code: bool | None = None
    """Whether Python code from the model's own folder may run; it may not if None."""

    _lock: threading.RLock = PrivateAttr()
    _lazy: LazyEmbedder | None = PrivateAttr(default=None)
    _known_fingerprint: str | None = PrivateAttr(default=None)

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: Any) -> Any:
        """The adapter's folder may stand for both; it is read at once."""
        if not isinstance(given, Mapping):
            return given
        model, adapter = completed(given.get("model"), given.get("adapter"))
        found = {"model": model} if adapter is None else {"model": model, "adapter": str(adapter)}
        return {**given, **found}

    @field_validator("model")
    @classmethod
    def _absolute(cls, model: object) -> object:
        """A folder's path, so that another working folder, or process, finds the same model."""
        if model is None:
            raise ValueError("model must be a folder, a hub name or a loaded model; got None")
        if not isinstance(model, str | Path):
            return model
        parsed = parse_reference(str(model), [row.name for row in plugin_manager().embedders()])
        return parsed.ref if parsed.backend is None else f"{parsed.backend}:{parsed.ref}"

    def model_post_init(self, context: Any, /) -> None:
        """Check the settings against the model, without loading it."""
        if self._options and not isinstance(self.model, str):
            raise ValueError(
                f"{', '.join(self._options)} would be of no use: this {type(self.model).__name__} is loaded already. "
                "Set that on it yourself, or give the model's folder or hub name"
            )
        self._lock = threading.RLock()
        if self.adapter is not None and (not isinstance(self.model, str) or Path(self.model).is_dir()):
            _ = self._referred  # tells what does not fit; a model by another reference would be loaded for it

    @property
    def embedder(self) -> Embedder:
        """What embeds, as embedtune knows it; loads the model."""
        return self._referred.embedder

    @property
    def fingerprint(self) -> str | None:
        """Hash of all that changes a vector, such as weights, prompts and ``truncate_dim``; None if it cannot be known.

        The namespace for LangChain's ``CacheBackedEmbeddings``. Cache queries in another store than documents, or not
        at all: LangChain looks both up by their text, and a model with prompts embeds them differently. Of a model
        folder it comes from the files, and nothing is loaded.
        """
        return self._referred.fingerprint

    @property
    def record(self) -> ModelRecord | None:
        """What the model folder says of its tuning; None if it is not one of ours."""
        return record_of(self._referred)

    @property
    def record_folder(self) -> Path | None:
        """Where the record stands, if there is one: the adapter's folder, or the model's."""
        return self._referred.record_folder

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed chunks, with the model's document prompt if it has one.

        Args:
            texts: Any number of texts; they are not changed.

        Returns:
            One vector per text, in the order given.

        Raises:
            EmbeddingError: If a text is no str, or the model does not return one vector of finite numbers per text.
            ModelNotFoundError: If the model cannot be loaded.
        """
        return self._embedded(texts, "embed_documents")

    def embed_query(self, text: str) -> list[float]:
        """Embed a query, with the model's query prompt if it has one; errors as `embed_documents`."""
        return self._embedded([text], "embed_queries")[0]

    def _embedded(self, texts: list[str], method: str) -> list[list[float]]:
        if isinstance(texts, str) or not all(isinstance(text, str) for text in texts):
            kinds = sorted({type(text).__name__ for text in texts})
            raise EmbeddingError(f"Texts must be a list of str; got a {type(texts).__name__} of {', '.join(kinds)}.")
        if not texts:
            return []
        rows: list[list[float]] = getattr(self._referred, method)(texts).tolist()
        return rows

    @property
    def _options(self) -> dict[str, object]:
        """What is set of `_LOAD_OPTIONS`."""
        given = {name: getattr(self, name) for name in _LOAD_OPTIONS}
        return {name: value for name, value in given.items() if value is not None}

    @property
    def _referred(self) -> LazyEmbedder:
        with self._lock:
            if self._lazy is None:
                self._lazy = LazyEmbedder(
                    self.model, self._options, adapter=self.adapter, fingerprint=self._known_fingerprint
                )
            return self._lazy

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Another one with other settings, which are checked; without an update it shares what is loaded.

        Args:
            update: Settings to change.
            deep: Of no effect: nothing in here changes.
        """
        if not update:
            return copy.copy(self)
        return type(self)(**{name: getattr(self, name) for name in self.model_fields_set} | dict(update))

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        return copy.copy(self)

    def __getstate__(self) -> dict[Any, Any]:
        if not isinstance(self.model, str):
            raise EmbeddingError(
                f"EmbedtuneEmbeddings of a loaded {type(self.model).__name__} is not pickled: its weights would go "
                "along. Save the model, and give EmbedtuneEmbeddings its folder."
            )
        known = self._known_fingerprint if self._lazy is None else self._lazy.fingerprint
        return {**super().__getstate__(), "__pydantic_private__": {"_lazy": None, "_known_fingerprint": known}}

    def __setstate__(self, state: dict[Any, Any]) -> None:
        super().__setstate__(state)
        self._lock = threading.RLock()

    def __repr_args__(self) -> Any:
        for name, value in super().__repr_args__():
            if value is not None:
                yield name, value if name != "model" or isinstance(value, str) else type(value).__name__
