"""The hooks. A plugin is a module with functions of these names, marked by `hookimpl`.

Three modes: *collect* (all answers are gathered, names are checked), *claim* (an object is shown to
all, at most one answers, strangers get None; never import a framework for it: look in
``sys.modules``), *broadcast* (nobody answers).
"""

from collections.abc import Iterable

import pluggy

from embedtune.chunks import TextChunk
from embedtune.plugins.backends import (
    DatasetFormat,
    EmbedderBackend,
    LLMBackend,
    RerankerBackend,
    SearchBackend,
    TrainingEvent,
    TunerBackend,
)
from embedtune.protocols import BaseLLM, Embedder, Reranker, Retriever, Search

PROJECT_NAME = "embedtune"
"""pluggy's project name and the entry-point group."""

hookspec = pluggy.HookspecMarker(PROJECT_NAME)
hookimpl = pluggy.HookimplMarker(PROJECT_NAME)
"""Marks a function of a plugin as an implementation of the hook of its name."""


@hookspec
def embedtune_tuners() -> Iterable[TunerBackend]:  # type: ignore[empty-body]
    """Collect: ways to tune a model."""


@hookspec
def embedtune_embedders() -> Iterable[EmbedderBackend]:  # type: ignore[empty-body]
    """Collect: loaders of embedders by reference."""


@hookspec
def embedtune_rerankers() -> Iterable[RerankerBackend]:  # type: ignore[empty-body]
    """Collect: loaders of rerankers by reference."""


@hookspec
def embedtune_llms() -> Iterable[LLMBackend]:  # type: ignore[empty-body]
    """Collect: loaders of LLMs by reference."""


@hookspec
def embedtune_dataset_formats() -> Iterable[DatasetFormat]:  # type: ignore[empty-body]
    """Collect: file and folder layouts of data sets."""


@hookspec
def embedtune_search_engines() -> Iterable[SearchBackend]:  # type: ignore[empty-body]
    """Collect: search engines."""


@hookspec
def embedtune_as_text_chunk(thing: object, metadata_mode: str) -> TextChunk | None:
    """Claim: a framework's chunk, its text with the metadata that ``metadata_mode`` asks for."""


@hookspec
def embedtune_as_embedder(thing: object) -> Embedder | None:
    """Claim: a framework's embedding model."""


@hookspec
def embedtune_as_reranker(thing: object) -> Reranker | None:
    """Claim: a framework's reranker."""


@hookspec
def embedtune_as_llm(thing: object) -> BaseLLM | None:
    """Claim: a framework's LLM."""


@hookspec
def embedtune_as_search(thing: object) -> Search | Retriever | None:
    """Claim: a framework's retriever; a `Retriever` is matched to the corpus by core."""


@hookspec
def embedtune_training_event(event: TrainingEvent) -> None:
    """Broadcast: progress of a training run. An error is logged and never stops training."""
