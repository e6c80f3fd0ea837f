"""The typed face of the plugins: ask by name or reference, show an object, hear clearly what is missing."""

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from embedtune.chunks import TextChunk
from embedtune.errors import (
    BackendNotFoundError,
    DatasetError,
    PluginConflictError,
    PluginLoadError,
)
from embedtune.plugins.backends import (
    DatasetFormat,
    EmbedderBackend,
    LLMBackend,
    ReferenceBackend,
    RerankerBackend,
    SearchBackend,
    TunerBackend,
)
from embedtune.plugins.references import parse_reference
from embedtune.plugins.registry import DISABLE_VARIABLE, PluginRegistry
from embedtune.protocols import BaseLLM, Embedder, Reranker, Retriever, Search

__all__ = ["PluginManager", "plugin_manager"]

EXTRAS = {
    "sentence-transformers": "sentence-transformers",
    "reranker": "sentence-transformers",
    "lancedb": "lancedb",
    "lance": "lancedb",
    "parquet": "lancedb",
    "openai": "openai",
}
"""Which extra of embedtune brings a backend, by the backend's name; an extra is an entry point's name."""


class _Named(Protocol):
    @property
    def name(self) -> str: ...


class PluginManager(PluginRegistry):
    """All plugins of one set; use `plugin_manager` for the installed ones."""

    def tuners(self) -> list[TunerBackend]:
        """All ways to tune."""
        return self._collect("embedtune_tuners")

    def embedders(self) -> list[EmbedderBackend]:
        """All loaders of embedders."""
        return self._collect("embedtune_embedders")

    def rerankers(self) -> list[RerankerBackend]:
        """All loaders of rerankers."""
        return self._collect("embedtune_rerankers")

    def llms(self) -> list[LLMBackend]:
        """All loaders of LLMs."""
        return self._collect("embedtune_llms")

    def dataset_formats(self) -> list[DatasetFormat]:
        """All layouts of data sets."""
        return self._collect("embedtune_dataset_formats")

    def search_engines(self) -> list[SearchBackend]:
        """All search engines."""
        return self._collect("embedtune_search_engines")

    def tuner(self, name: str) -> TunerBackend:
        """The tuner of that name.

        Raises:
            BackendNotFoundError: If nothing offers it; the message says what to install.
            PluginLoadError: If its plugin is broken.
            PluginConflictError: If two plugins offer it.
        """
        return cast(TunerBackend, self._one("embedtune_tuners", name, "tuner"))

    def dataset_format(self, name: str) -> DatasetFormat:
        """The data-set layout of that name; errors as for `tuner`."""
        return cast(DatasetFormat, self._one("embedtune_dataset_formats", name, "dataset format"))

    def search_engine(self, name: str) -> SearchBackend:
        """The search engine of that name; errors as for `tuner`."""
        return cast(SearchBackend, self._one("embedtune_search_engines", name, "search engine"))

    def embedder(self, ref: str, **options: object) -> Embedder:
        """Load an embedder by reference: ``backend:ref``, a folder, or a hub name.

        Raises:
            ModelNotFoundError: If the folder does not exist; raised before any framework is imported.
            BackendNotFoundError: If no plugin loads it.
        """
        return cast(Embedder, self._by_reference("embedtune_embedders", ref, "embedder", options))

    def reranker(self, ref: str, **options: object) -> Reranker:
        """Load a reranker by reference; as `embedder`."""
        return cast(Reranker, self._by_reference("embedtune_rerankers", ref, "reranker", options))

    def llm(self, ref: str, **options: object) -> BaseLLM:
        """Load an LLM by reference; as `embedder`."""
        return cast(BaseLLM, self._by_reference("embedtune_llms", ref, "LLM", options))

    def _collect(self, hook: str) -> list[Any]:
        return [row for _, row in self.rows(hook)]

    def _one(self, hook: str, name: str, kind: str) -> Any:
        rows = [(info, cast(_Named, row)) for info, row in self.rows(hook)]
        found = [(info, row) for info, row in rows if row.name == name]
        if len(found) > 1:
            raise PluginConflictError(
                f"{len(found)} plugins offer a {kind} named {name!r}: {' and '.join(str(info) for info, _ in found)}. "
                f"Uninstall one of them, or disable one by its entry-point name: {DISABLE_VARIABLE}=name."
            )
        if not found:
            self._raise_missing([row for _, row in rows], name, kind)
        return found[0][1]

    def _raise_missing(self, rows: Sequence[_Named], name: str, kind: str) -> NoReturn:
        for info in self.installed:
            if info.error is not None and info.name == EXTRAS.get(name, name):
                raise PluginLoadError(
                    f"The plugin {info} offers the {kind} {name!r}, but is broken: "
                    f"{type(info.error).__name__}: {info.error}"
                ) from info.error
        installed = ", ".join(repr(row.name) for row in rows) or "none"
        message = f"No {kind} named {name!r}. Installed {kind}s: {installed}."
        if broken := ", ".join(str(info) for info in self.installed if info.error is not None):
            message += f" Installed but broken: {broken}; `embedtune plugins` says why."
        if name in EXTRAS:
            message += f' Install it with: pip install "embedtune[{EXTRAS[name]}]"'
        raise BackendNotFoundError(message)

    def _by_reference(self, hook: str, ref: str, kind: str, options: dict[str, object]) -> Any:
        rows = cast("list[ReferenceBackend[object]]", self._collect(hook))
        parsed = parse_reference(ref, [row.name for row in rows] + list(EXTRAS))
        if parsed.backend is not None:
            return self._one(hook, parsed.backend, kind).load(parsed.ref, **options)
        found = [row for row in rows if row.matches(parsed.ref)]
        if len(found) > 1:
            raise PluginConflictError(
                f"{ref!r} is claimed by {' and '.join(repr(row.name) for row in found)}. "
                f"Say which one loads it: {found[0].name + ':' + ref!r}."
            )
        if not found:
            self._raise_unmatched(rows, ref, kind)
        return found[0].load(parsed.ref, **options)

    def _raise_unmatched(self, rows: Sequence[_Named], ref: str, kind: str) -> NoReturn:
        installed = [row.name for row in rows]
        if kind != "LLM" and "sentence-transformers" not in installed:
            self._raise_missing(rows, "sentence-transformers", kind)
        names = ", ".join(map(repr, installed)) or "none"
        if Path(ref).is_dir():
            raise BackendNotFoundError(
                f"The folder {ref!r} holds no model that an installed {kind} knows ({names}): a model folder has a "
                "modules.json or a config.json. Give the folder that tuning wrote, or a hub name."
            )
        raise BackendNotFoundError(
            f"No installed {kind} loads {ref!r}. Installed {kind}s: {names}. Say which with 'name:{ref}'."
        )

    def as_embedder(self, thing: object) -> Embedder | None:
        """The object as an `Embedder`: itself, or what a plugin makes of it; None for a stranger."""
        claimed = self.claim("embedtune_as_embedder", thing)
        return cast("Embedder | None", claimed) or (thing if isinstance(thing, Embedder) else None)

    def as_search(self, thing: object) -> Search | Retriever | None:
        """The object as a `Search`, or as a `Retriever`; as `as_embedder`."""
        return cast("Search | Retriever | None", self.claim("embedtune_as_search", thing))

    def as_reranker(self, thing: object) -> Reranker | None:
        """The object as a `Reranker`; as `as_embedder`."""
        claimed = self.claim("embedtune_as_reranker", thing)
        return cast("Reranker | None", claimed) or (thing if isinstance(thing, Reranker) else None)

    def as_llm(self, thing: object) -> BaseLLM | None:
        """The object as a `BaseLLM`; as `as_embedder`."""
        claimed = self.claim("embedtune_as_llm", thing)
        return cast("BaseLLM | None", claimed) or (thing if isinstance(thing, BaseLLM) else None)

    def as_text_chunk(self, thing: object, *, extra: str | None = None, metadata_mode: str = "none") -> TextChunk:
        """A framework's chunk as a `TextChunk`.

        Args:
            thing: The foreign chunk.
            extra: The extra of embedtune that converts it, for the message.
            metadata_mode: Which metadata stands in the text, where the framework has the notion.

        Raises:
            BackendNotFoundError: If the converter is not installed.
            DatasetError: If nothing knows the object.
        """
        if isinstance(thing, TextChunk):
            return thing
        claimed = self.claim("embedtune_as_text_chunk", thing, metadata_mode=metadata_mode)
        if claimed is not None:
            return cast(TextChunk, claimed)
        if extra is not None and extra not in {info.name for info in self.installed}:
            raise BackendNotFoundError(
                f"No converter for {type(thing).__module__}.{type(thing).__name__} is installed. "
                f'Install it with: pip install "embedtune[{extra}]"'
            )
        raise DatasetError(
            f"Cannot make a TextChunk of {type(thing).__module__}.{type(thing).__name__}. Give a LlamaIndex node, "
            "a LangChain Document, a TextChunk, or a string through TextChunk.from_chunk."
        )


@lru_cache(maxsize=1)
def plugin_manager() -> PluginManager:
    """The installed plugins, discovered once in a process."""
    return PluginManager()
