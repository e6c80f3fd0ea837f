"""LangChain's documents as chunks."""

from typing import TYPE_CHECKING, cast

from embedtune import TextChunk
from embedtune.chunks import converted_chunk

if TYPE_CHECKING:
    from langchain_core.documents import Document

__all__ = ["text_chunk_of_document"]


def text_chunk_of_document(document: "Document | object") -> TextChunk:
    """A document as a chunk, with an id that is the same at the next run.

    LangChain's splitters drop a document's id. The chunk's id is then a hash of its text, its source and its
    ``start_index``, where the metadata has them. ``document_id`` in the metadata is kept, else it is the source.

    Args:
        document: A ``Document``, as a splitter returns it.
    """
    known = cast("Document", document)
    return converted_chunk(known.page_content, source_id=known.id, metadata=known.metadata)
