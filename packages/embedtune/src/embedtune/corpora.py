"""A corpus out of chunks of any framework."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from embedtune.chunks import TextChunk
from embedtune.errors import DatasetError

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["corpus_of"]


def corpus_of(
    nodes: Iterable[object], plugins: "PluginManager | None"
) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
    """Texts and metadata by chunk id, of chunks of any framework.

    Raises:
        DatasetError: If two chunks share an id and differ in text.
    """
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import this module

    corpus: dict[str, str] = {}
    metadata: dict[str, dict[str, Any]] = {}
    for node in nodes:
        chunk = node if isinstance(node, TextChunk) else (plugins or plugin_manager()).as_text_chunk(node)
        if corpus.setdefault(chunk.id, chunk.text) != chunk.text:
            raise DatasetError(
                f"Two chunks share the id {chunk.id!r} and differ in text: {corpus[chunk.id][:60]!r} and "
                f"{chunk.text[:60]!r}. Give each its own id, or make them with TextChunk.from_chunk."
            )
        if chunk.metadata:
            metadata[chunk.id] = dict(chunk.metadata)
    return corpus, metadata
