"""`TextChunk`: one piece of a document, with an id that stays the same from run to run."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from embedtune.errors import DatasetError
from embedtune.texts import text_hash

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["TextChunk", "chunk_id", "converted_chunk", "is_random_id"]

_UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", re.IGNORECASE)
_UUID4_HEX = re.compile(r"[0-9a-f]{12}4[0-9a-f]{3}[89ab][0-9a-f]{15}", re.IGNORECASE)


def chunk_id(text: str, source: str | None = None) -> str:
    """A stable id: a hash of the text and, if there is one, of where it came from.

    >>> chunk_id("a text") == chunk_id("a text")
    True
    >>> chunk_id("a text") == chunk_id("a text", source="manual.pdf")
    False
    """
    return text_hash(text if source is None else f"{source}\0{text}")


def is_random_id(identifier: str | None) -> bool:
    """Whether an id is absent or a random UUID (version 4), which is another one at the next parse.

    >>> is_random_id("6f1c2f0e-3a54-4a1e-9d3b-0a3c1b2d4e5f"), is_random_id("manual-12")
    (True, False)
    """
    if not identifier:
        return True
    return bool(_UUID4.fullmatch(identifier) or _UUID4_HEX.fullmatch(identifier))


@dataclass(frozen=True)
class TextChunk:
    """One piece of text to be retrieved.

    Args:
        text: The text that is embedded, exactly as it will stand in the user's index.
        id: Unique in a dataset, and the same in the next run; `TextChunk.from_chunk` makes one.
        metadata: Anything else. ``document_id`` names the document that the chunk came from: splits
            and statistics go by it.

    Raises:
        DatasetError: If text or id is not a string, or the id is empty.
    """

    text: str
    id: str
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.text, str):
            raise DatasetError(f"TextChunk.text must be a str; got {type(self.text).__name__} for id {self.id!r}.")
        if not isinstance(self.id, str) or not self.id:
            raise DatasetError(f"TextChunk.id must be a non-empty str; got {self.id!r}.")
        object.__setattr__(self, "metadata", MappingProxyType(dict(self.metadata)))

    def __reduce__(self) -> tuple[type["TextChunk"], tuple[str, str, dict[str, Any]]]:
        # The read-only view of the metadata does not pickle; multiprocessing needs chunks that do.
        return (TextChunk, (self.text, self.id, dict(self.metadata)))

    def __hash__(self) -> int:
        return hash((self.text, self.id))

    @classmethod
    def from_chunk(cls, chunk: str, metadata: Mapping[str, Any] | None = None) -> "TextChunk":
        """Make a chunk of a plain string; the id is a hash of its text.

        Args:
            chunk: The text.
            metadata: Kept as it is; ``source``, ``file_name`` or ``url`` in it also enter the id.

        >>> TextChunk.from_chunk("LanceDB is a vector database.").id
        'a9d7b59ec43423e6'
        """
        metadata = dict(metadata or {})
        return cls(text=chunk, id=chunk_id(chunk, stable_source(metadata)), metadata=metadata)

    @classmethod
    def from_llama_index_node(
        cls,
        node: object,
        metadata_mode: Literal["none", "embed", "llm", "all"] = "none",
        *,
        plugins: "PluginManager | None" = None,
    ) -> "TextChunk":
        """Convert a LlamaIndex ``TextNode`` (or ``NodeWithScore``).

        Args:
            node: The node.
            metadata_mode: Which metadata stands in the text. LlamaIndex indexes embed ``"embed"``:
                say so here if the model is used there with metadata. ``"none"`` is the bare text.
            plugins: Where converters are looked up; the installed ones by default.

        Raises:
            BackendNotFoundError: If ``llama-index-embeddings-embedtune`` is not installed.
            DatasetError: If it is no LlamaIndex node.
        """
        from embedtune.plugins import plugin_manager  # the manager imports this module

        return (plugins or plugin_manager()).as_text_chunk(node, extra="llama-index", metadata_mode=metadata_mode)

    @classmethod
    def from_langchain_node(cls, node: object, *, plugins: "PluginManager | None" = None) -> "TextChunk":
        """Convert a LangChain ``Document``.

        Args:
            node: The document, as a splitter returns it.
            plugins: Where converters are looked up; the installed ones by default.

        Raises:
            BackendNotFoundError: If ``langchain-embedtune`` is not installed.
            DatasetError: If it is no LangChain document.
        """
        from embedtune.plugins import plugin_manager  # the manager imports this module

        return (plugins or plugin_manager()).as_text_chunk(node, extra="langchain")


def stable_source(metadata: Mapping[str, Any]) -> str | None:
    """The first of file name, source or URL that the metadata has, with the offset if there is one.

    A path is cut to its file name: the same file in another folder is the same source.
    """
    for key in ("file_name", "file_path", "source", "url"):
        value = metadata.get(key)
        if isinstance(value, str) and value:
            name = value if "://" in value else value.replace("\\", "/").rsplit("/", 1)[-1]
            offset = metadata.get("start_index")
            return name if offset is None else f"{name}\0{offset}"
    return None


def converted_chunk(
    text: str,
    *,
    source_id: str | None = None,
    document_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> TextChunk:
    """What a converter makes of a framework's chunk: no random id gets in, and its document stays known.

    Args:
        text: The text as it is embedded.
        source_id: The framework's id of the chunk. It stays the id unless it is a random UUID; then the id is a
            hash of the text and a stable source, and the UUID is kept as ``source_id`` in the metadata.
        document_id: The framework's id of the document. A random one counts only where the metadata names no
            file: it still keeps the chunks of one document together, in this run.
        metadata: The framework's metadata.

    >>> converted_chunk("a text", metadata={"source": "docs/manual.md"}).metadata["document_id"]
    'docs/manual.md'
    """
    kept = dict(metadata or {})
    stable_document = None if is_random_id(document_id) else document_id
    if document := _document_of(document_id, kept):
        kept["document_id"] = document
    if source_id and not is_random_id(source_id):
        return TextChunk(text, source_id, kept)
    if source_id:
        kept.setdefault("source_id", source_id)
    return TextChunk(text, chunk_id(text, stable_source(kept) or stable_document), kept)


def _document_of(document_id: str | None, metadata: Mapping[str, Any]) -> str | None:
    """The first stable name of the document; a random one where there is no other.

    The whole path comes before the file name: folders of ``index.md`` are many documents.
    """
    named = [str(name) for name in (metadata.get("document_id"), document_id) if name]
    places = [metadata.get(key) for key in ("file_path", "source", "url", "file_name")]
    stable = [name for name in named if not is_random_id(name)]
    stable += [place for place in places if isinstance(place, str) and place]
    return next(iter(stable or named), None)
