"""Reading the chunks to tune on: a folder of text files, one file, or a table."""

import contextlib
import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune.chunks import TextChunk, chunk_id
from embedtune.columns import TABLE_SUFFIXES, is_missing, is_table_path, read_table, text_cell
from embedtune.dataset_checks import named
from embedtune.errors import DatasetError
from embedtune.passages import cut_text
from embedtune.text_blocks import Markup

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["TEXT_SUFFIXES", "read_chunks"]

logger = logging.getLogger(__name__)

TEXT_SUFFIXES: dict[str, Markup] = {".txt": "plain", ".md": "markdown", ".markdown": "markdown", ".rst": "rst"}
"""The text files that are read, and what each is written in."""

_DEFAULT_TEXT = "text"


def read_chunks(
    source: str | Path,
    *,
    text: str | None = None,
    id: str | None = None,
    document: str | None = None,
    metadata: Sequence[str] = (),
    max_characters: int = 1200,
    plugins: "PluginManager | None" = None,
) -> list[TextChunk]:
    """Read chunks to write questions on, or to search.

    A folder is read with all folders in it, in the order of the names, but for hidden ones; each text file in
    it (``.txt``, ``.md``, ``.markdown``, ``.rst``; UTF-8) is cut into chunks by `embedtune.passages.cut_text`. A
    file that holds no text in UTF-8 is left out with a warning. ``document_id`` in the metadata is the file's
    path in the folder, ``heading`` the headings above the chunk, such as ``Guide > Install``. Ids are hashes of
    text and path. A text that stands twice in one file is one chunk.

    A table (``.csv``, ``.tsv``, ``.parquet``, or a Lance table's folder ``something.lance``) gives one chunk a
    row, its text not cut; rows without text are left out with a warning.

    Args:
        source: Folder, text file, or table.
        text: Column of the text, in a table; ``"text"`` if None.
        id: Column of the chunk's id, in a table; if None the id is a hash of text and document.
        document: Column of the document that the chunk came from, in a table.
        metadata: Further columns of a table that are kept in the metadata.
        max_characters: Most characters of a chunk that is cut from a text file.
        plugins: Where the readers of tables are looked up.

    Returns:
        The chunks in the order of the files and of the text; at least one.

    Raises:
        DatasetError: If nothing is there, no file of it can be read, a column is missing, a column is named
            for a source that is no table, or one id stands for two texts.
        BackendNotFoundError: If no installed plugin reads the table; the message says what to install.
    """
    path = Path(source).expanduser().absolute()
    if not path.exists():
        raise DatasetError(f"There is no {str(path)!r}. Give a folder of text files, a text file, or a table.")
    if is_table_path(path):
        return _read_rows(path, text or _DEFAULT_TEXT, id, document, metadata, plugins)
    if text or id or document or metadata:
        raise DatasetError(
            f"{str(path)!r} is no table, so it has no columns (text, id, document and metadata name columns). Tables "
            f"are {', '.join(TABLE_SUFFIXES)}."
        )
    if path.is_dir():
        return _read_folder(path, max_characters)
    if path.suffix.lower() not in TEXT_SUFFIXES or not path.is_file():  # a pipe would never end
        raise DatasetError(
            f"{str(path)!r} is of no kind that is read: {', '.join([*TEXT_SUFFIXES, *TABLE_SUFFIXES])}. "
            "Turn it into text first, or make TextChunks of it yourself."
        )
    if chunks := _chunks_of(path, path.name, max_characters):
        return chunks
    raise DatasetError(f"{str(path)!r} holds no text.")


def _read_folder(folder: Path, max_characters: int) -> list[TextChunk]:
    chunks: list[TextChunk] = []
    unread: list[str] = []
    files = [path for path in _files(folder) if path.suffix.lower() in TEXT_SUFFIXES]
    for path in files:
        # A name in another encoding than the system's is no Unicode, and could not be written to any file.
        name = path.relative_to(folder).as_posix().encode("utf-8", "replace").decode("utf-8")
        try:
            chunks += _chunks_of(path, name, max_characters)
        except (DatasetError, OSError) as error:
            logger.debug("cannot read %s", path, exc_info=error)
            unread.append(name)
    if unread:
        logger.warning("left out %d files that cannot be read as text in UTF-8: %s", len(unread), named(unread))
    if not chunks:
        raise DatasetError(
            f"{str(folder)!r} holds no text in {len(files)} files ending in {', '.join(TEXT_SUFFIXES)}, hidden ones "
            "aside. Other kinds of files must be turned into text first; a table is given by its own path."
        )
    return chunks


def _files(folder: Path) -> Iterator[Path]:
    """All files below a folder by name, without hidden ones; each folder once, so that a link in a loop ends."""
    waiting: list[Path] = [folder]
    seen: set[tuple[int, int]] = set()
    while waiting:
        here = waiting.pop()
        try:
            status = here.stat()
            names = sorted(name for name in os.listdir(here) if not name.startswith("."))
        except OSError as error:
            logger.warning("left out the folder %s: %s", here, error)
            continue
        if (status.st_dev, status.st_ino) in seen:
            continue
        seen.add((status.st_dev, status.st_ino))
        paths = [here / name for name in names if _is_inside(here / name, folder)]
        yield from (path for path in paths if path.is_file())
        waiting += reversed([path for path in paths if path.is_dir()])


def _is_inside(path: Path, folder: Path) -> bool:
    """Whether a path, links followed, is in the folder: what lies elsewhere was not given to be read."""
    with contextlib.suppress(OSError, RuntimeError):  # a link to itself
        if not path.is_symlink() or path.resolve().is_relative_to(folder.resolve()):
            return True
    logger.warning("left out %s: it is a link to what is not in the folder", path)
    return False


def _chunks_of(path: Path, name: str, max_characters: int) -> list[TextChunk]:
    """The chunks of one text file.

    Raises:
        DatasetError: If it is no text in UTF-8 (or UTF-16 with a mark that says so).
    """
    content = path.read_bytes()
    try:
        marked = content.startswith((b"\xff\xfe", b"\xfe\xff"))
        text = content.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise DatasetError(f"{str(path)!r} is no text in UTF-8: {error}. Save it in UTF-8.") from error
    if "\0" in text:
        raise DatasetError(f"{str(path)!r} is no text: it holds the byte 0.")
    chunks: dict[str, TextChunk] = {}
    for passage in cut_text(text, max_characters=max_characters, markup=TEXT_SUFFIXES[path.suffix.lower()]):
        heading = {"heading": " > ".join(passage.headings)} if passage.headings else {}
        chunk = TextChunk(passage.text, chunk_id(passage.text, name), {"document_id": name, **heading})
        chunks.setdefault(chunk.id, chunk)
    return list(chunks.values())


def _read_rows(
    path: Path,
    text: str,
    id: str | None,
    document: str | None,
    metadata: Sequence[str],
    plugins: "PluginManager | None",
) -> list[TextChunk]:
    columns = list(dict.fromkeys([text, *filter(None, (id, document)), *metadata]))
    table = read_table(path, columns, plugins=plugins)
    chunks: dict[str, TextChunk] = {}
    without_text: list[str] = []
    for number, body in enumerate(table[text], 1):
        if is_missing(body) or not str(body).strip():
            without_text.append(f"row {number}")
            continue
        row = {column: values[number - 1] for column, values in table.items()}
        chunk = _row_chunk(row, number, text, id, document, metadata)
        if chunks.setdefault(chunk.id, chunk).text != chunk.text:
            raise DatasetError(
                f"{path.name}, row {number}: the id {chunk.id!r} stood before with another text. Name a column of "
                "ids in which each chunk has its own, or none."
            )
    if without_text:
        logger.warning("%s: left out %d rows without text: %s", path.name, len(without_text), named(without_text))
    if not chunks:
        raise DatasetError(f"{path.name} holds no text in its column {text!r}.")
    return list(chunks.values())


def _row_chunk(
    row: dict[str, Any], number: int, text: str, id: str | None, document: str | None, metadata: Sequence[str]
) -> TextChunk:
    kept = {column: row[column] for column in metadata if not is_missing(row[column])}
    if document is not None and not is_missing(row[document]):
        kept["document_id"] = text_cell(row[document], document, number)
    body = text_cell(row[text], text, number)
    if id is None:
        return TextChunk(body, chunk_id(body, kept.get("document_id")), kept)
    if is_missing(row[id]):
        raise DatasetError(f"Row {number} has no id in the column {id!r}. Fill it, or name no column of ids.")
    return TextChunk(body, text_cell(row[id], id, number), kept)
