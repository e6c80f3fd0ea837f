"""LangChain's documents as chunks."""

import json
from typing import TYPE_CHECKING, Any, cast

from embedtune import DatasetError, TextChunk
from embedtune.chunks import converted_chunk

if TYPE_CHECKING:
    from langchain_core.documents import Document

__all__ = ["chunk_id_of_document", "text_chunk_of_document"]


def text_chunk_of_document(document: "Document | object") -> TextChunk:
    """A document as a chunk, with an id that is the same at the next run.

    LangChain's splitters drop a document's id. The chunk's id is then a hash of its text, its source and its
    ``start_index``, where the metadata has them. ``document_id`` in the metadata is kept, else it is the source.

    Metadata are kept as they are. Where a data set is saved, what JSON does not know (a date, a number of NumPy's) is
    written as its ``str``.

    Args:
        document: A ``Document``, as a splitter returns it.

    Raises:
        DatasetError: If its metadata could never be saved: they contain themselves, or a key is no plain value.
    """
    known = cast("Document", document)
    _check_metadata(known)
    return _converted(known)


def chunk_id_of_document(document: "Document | object") -> str:
    """The id of `text_chunk_of_document`, whatever the metadata are."""
    return _converted(cast("Document", document)).id


def _converted(document: "Document") -> TextChunk:
    return converted_chunk(document.page_content, source_id=document.id, metadata=document.metadata)


def _check_metadata(document: "Document") -> None:
    for key, value in document.metadata.items():
        if (reason := _unsaveable({key: value})) is not None:
            raise DatasetError(
                f"The metadata {key!r} of the document {document.page_content[:60]!r} cannot be saved: {reason} Change "
                "it to text, numbers, lists and dicts with str keys, or remove it."
            )


def _told(value: object) -> str:
    text = str(value)
    if f" at {hex(id(value))}" in text:
        raise TypeError(f"{text} is told by its place in memory, which is another one in the next run")
    return text


def _unsaveable(metadata: dict[Any, Any]) -> str | None:
    try:
        json.dumps(metadata, default=_told)
    except (TypeError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}."
    return None
