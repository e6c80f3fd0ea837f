"""What a plugin yields: small frozen rows that name a thing and tell how to load it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, runtime_checkable

from embedtune.protocols import BaseLLM, Embedder, Reranker, Search

if TYPE_CHECKING:
    from embedtune.dataset import QADataset
    from embedtune.tuner import BaseEmbeddingTuner

T = TypeVar("T")

__all__ = [
    "DatasetFormat",
    "EmbedderBackend",
    "IndexedEngine",
    "LLMBackend",
    "ReferenceBackend",
    "RerankerBackend",
    "SearchBackend",
    "SearchEngine",
    "TrainingEvent",
    "TunerBackend",
]


@dataclass(frozen=True, kw_only=True)
class TunerBackend:
    """A way to tune a model, by name."""

    name: str
    """What users type, as in ``tune(..., tuner="sentence-transformers")``."""
    load: "Callable[[], type[BaseEmbeddingTuner]]"
    """Imports the framework and returns the class; called only when the tuner is asked for."""
    summary: str = ""
    """One line for ``embedtune plugins``."""


@dataclass(frozen=True, kw_only=True)
class ReferenceBackend(Generic[T]):
    """Something that a string can refer to: ``name:ref``, or a bare ref that it matches."""

    name: str
    """The prefix, as in ``openai:text-embedding-3-small``."""
    load: Callable[..., T]
    """``load(ref, **options)``; imports the framework."""
    matches: Callable[[str], bool] = field(default=lambda ref: False)
    """Whether a bare ref (a folder that exists, or a hub name) is its own; imports nothing."""
    summary: str = ""
    """One line for ``embedtune plugins``."""


class EmbedderBackend(ReferenceBackend[Embedder]):
    """Loads an `Embedder` by reference."""


class RerankerBackend(ReferenceBackend[Reranker]):
    """Loads a `Reranker` by reference."""


class LLMBackend(ReferenceBackend[BaseLLM]):
    """Loads a `BaseLLM` by reference."""


class SearchEngine(Protocol):
    """A search engine filled with one corpus."""

    def searcher(self, query_type: str) -> Search:
        """The engine's search of one type."""


@runtime_checkable
class IndexedEngine(SearchEngine, Protocol):
    """A search engine with an approximate search, the query type ``vector_indexed``."""

    def index_recall(self, queries: Sequence[str], k: int) -> float:
        """Share of the exact first ``k`` of all queries that the index gives back, in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class SearchBackend:
    """An engine that searches a corpus in one or several ways."""

    name: str
    """What users type, as in ``compare(..., engine="lancedb")``."""
    query_types: tuple[str, ...]
    """The ways: ``vector``, ``vector_indexed``, ``fts``, ``hybrid``. Core adds the reranked ones."""
    load: Callable[[Mapping[str, str], Embedder | None], SearchEngine]
    """``load(corpus, embedder)`` fills an engine with texts by id; None where only text is searched."""
    model_free: frozenset[str] = frozenset({"fts"})
    """The query types whose ranking the model cannot change."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the engine, for the record of a comparison; JSON can hold them."""
    summary: str = ""
    """One line for ``embedtune plugins``."""


@dataclass(frozen=True, kw_only=True)
class DatasetFormat:
    """A file or folder layout for `QADataset`."""

    name: str
    """What users type, as in ``save(path, format="beir")``."""
    matches: Callable[[Path], bool]
    """Whether a path, existing or new, is in this format; imports nothing."""
    save: "Callable[[QADataset, Path], None]"
    """Writes to a path that does not exist yet; the caller makes it atomic."""
    load: "Callable[[Path, str | None], QADataset]"
    """``load(path, split)``; raises DatasetError naming file and line."""
    is_folder: bool = False
    """Whether the path is a folder."""
    owns: Callable[[Path], bool] = field(default=lambda path: path.is_file())
    """Whether an existing target is of this format, so that saving may replace it."""
    read_columns: Callable[[Path, Sequence[str] | None], Mapping[str, list[object]]] | None = None
    """``read_columns(path, names)`` reads columns of any table of this kind of file, all of them if None; a
    missing value is None. It raises DatasetError for a column that is not there. None where there are no columns."""
    summary: str = ""
    """One line for ``embedtune plugins``."""


@dataclass(frozen=True, kw_only=True)
class TrainingEvent:
    """Something that happened in training, broadcast to all plugins."""

    kind: str
    """``start``, ``step``, ``validation`` or ``end``."""
    step: int
    """Optimiser steps done."""
    total_steps: int
    """Optimiser steps planned."""
    epoch: float = 0.0
    """Passes over the pairs done."""
    loss: float | None = None
    """Training loss, mean since the last event, in nats."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Validation metrics, for ``validation`` and ``end``."""
