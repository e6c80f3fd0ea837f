"""LlamaIndex's nodes as chunks."""

from typing import TYPE_CHECKING, Literal, cast, get_args

from embedtune import DatasetError, TextChunk
from embedtune.chunks import converted_chunk

if TYPE_CHECKING:
    from llama_index.core.schema import BaseNode

__all__ = ["MetadataModeName", "text_chunk_of_node"]

MetadataModeName = Literal["none", "embed", "llm", "all"]
"""Which metadata stands in front of the text, in LlamaIndex's own words."""


def text_chunk_of_node(node: "BaseNode | object", metadata_mode: MetadataModeName | str = "none") -> TextChunk:
    """A node as a chunk, with an id that is the same at the next parse.

    LlamaIndex gives random ids to nodes and documents. A random node id is kept as ``source_id`` in the
    metadata, and the chunk's id is a hash of its text and its file. ``document_id`` in the metadata is the
    document's id if that is stable, else the file; a random one only where there is no file.

    Args:
        node: Any node with text.
        metadata_mode: Which metadata stands in the text. An index of LlamaIndex embeds ``"embed"``; a model
            that is tuned for one must see the same text. ``"none"`` is the bare text.

    Raises:
        DatasetError: If there is no such mode.
    """
    if metadata_mode not in get_args(MetadataModeName):
        raise DatasetError(f"metadata_mode must be one of {get_args(MetadataModeName)}; got {metadata_mode!r}.")
    from llama_index.core.schema import MetadataMode  # whoever has a node has it loaded

    known = cast("BaseNode", node)
    source = known.source_node
    return converted_chunk(
        known.get_content(metadata_mode=MetadataMode(metadata_mode)),
        source_id=known.node_id,
        document_id=None if source is None else source.node_id,
        metadata=known.metadata,
    )
