"""Columns of a table, wherever it stands: a file, a Lance table, a data frame, or a mapping of columns.

Files are read by the data-set format that is named like their suffix (``.parquet`` by ``parquet``), through its
`DatasetFormat.read_columns`; data frames by their shape, so that none of their libraries is imported.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune.errors import DatasetError

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["TABLE_SUFFIXES", "check_columns", "is_missing", "is_table_path", "read_table", "text_cell"]

TABLE_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".parquet": "parquet", ".lance": "lance"}
"""The formats that read columns, by suffix; further ones are named like their suffix."""


def read_table(
    table: object, columns: Sequence[str], *, plugins: "PluginManager | None" = None
) -> dict[str, list[Any]]:
    """Read columns of a table.

    Args:
        table: Path of a ``.csv``, ``.tsv`` or ``.parquet`` file or of a ``.lance`` table folder; a data frame
            (pandas, polars, pyarrow); or a mapping of columns.
        columns: Names of the columns wanted.
        plugins: Where the readers of files are looked up.

    Returns:
        The values by column, all of one length; a missing value is None, NaN or its library's own (`is_missing`).

    Raises:
        DatasetError: If nothing is there, a column is missing (those that are there are named), or the
            columns differ in length.
        BackendNotFoundError: If no installed plugin reads the file; the message says what to install.

    >>> read_table({"query": ["how?"], "clicks": (3,)}, ["clicks"])
    {'clicks': [3]}
    """
    if isinstance(table, str | Path):
        return _read_path(Path(table), columns, plugins)
    name = f"The {type(table).__name__}"
    if type(table).__name__ == "LazyFrame":
        raise DatasetError("A LazyFrame has no rows yet; give lazy_frame.collect().")
    there = list(table) if isinstance(table, Mapping) else _names_in(table)
    check_columns(name, columns, there)
    found = {column: _as_list(table[column]) for column in columns}  # type: ignore[index]
    lengths = {column: len(values) for column, values in found.items()}
    if len(set(lengths.values())) > 1:
        raise DatasetError(f"{name} has columns of different lengths: {lengths}.")
    return found


def _names_in(table: object) -> list[Any]:
    # pyarrow has both, and its `columns` holds the values.
    names = getattr(table, "column_names", None)
    names = getattr(table, "columns", None) if names is None else names
    if names is None or not hasattr(table, "__getitem__"):
        raise DatasetError(
            f"Cannot read columns of {type(table).__module__}.{type(table).__name__}. Give the path of a .csv, .tsv, "
            ".parquet or .lance table, a data frame, or a mapping of columns."
        )
    return list(names)


def _as_list(values: Any) -> list[Any]:
    for method in ("to_pylist", "to_list", "tolist"):
        if hasattr(values, method):
            return list(getattr(values, method)())
    return list(values)


def _read_path(path: Path, columns: Sequence[str], plugins: "PluginManager | None") -> dict[str, list[Any]]:
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import this module

    path = path.expanduser().absolute()
    if not path.exists():
        raise DatasetError(f"There is no table at {str(path)!r}.")
    if not path.suffix:
        raise DatasetError(f"{str(path)!r} has no suffix that says what it is; known: {', '.join(TABLE_SUFFIXES)}.")
    name = TABLE_SUFFIXES.get(path.suffix.lower(), path.suffix.lower().removeprefix("."))
    layout = (plugins or plugin_manager()).dataset_format(name)
    if layout.read_columns is None:
        raise DatasetError(f"{str(path)!r}: the format {name!r} has no columns; known: {', '.join(TABLE_SUFFIXES)}.")
    try:
        found = layout.read_columns(path, list(columns))
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read as {name!r}: {error}") from error
    return {column: list(found[column]) for column in columns}


def is_table_path(path: Path) -> bool:
    """Whether a path is named like a table."""
    return path.suffix.lower() in TABLE_SUFFIXES


def check_columns(where: str, wanted: Iterable[str], there: Sequence[str] | None) -> None:
    """Refuse a table that lacks a column, or has it twice.

    Args:
        where: The table, as the message names it.
        wanted: Columns that are needed.
        there: Columns that the table has.

    Raises:
        DatasetError: Naming the columns that are there.

    >>> check_columns("log.csv", ["query", "clicks"], ["query", "click"])
    Traceback (most recent call last):
    embedtune.errors.DatasetError: log.csv has no column 'clicks'; columns: ['query', 'click'].
    """
    there = list(there or ())
    if missing := sorted(set(wanted) - set(there)):
        raise DatasetError(f"{where} has no column {' and '.join(map(repr, missing))}; columns: {there}.")
    if twice := sorted({column for column in wanted if there.count(column) > 1}):
        raise DatasetError(f"{where} has the column {twice[0]!r} twice; columns: {there}.")


def is_missing(value: object) -> bool:
    """Whether a cell holds nothing: None, NaN, or what pandas puts for them.

    >>> is_missing(None), is_missing(float("nan")), is_missing(""), is_missing(0)
    (True, True, False, False)
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)


def text_cell(value: object, column: str, row: int) -> str:
    """A text or an id out of a cell; whole numbers become their digits.

    pandas makes decimals of whole numbers where a cell of the column is empty, so ``12.0`` is ``"12"`` too.

    Args:
        value: What the cell holds; not missing.
        column: Its column, for the message.
        row: Its row, counted from 1, for the message.

    Raises:
        DatasetError: If it is neither text nor a whole number.

    >>> text_cell("c-7", "chunk_id", row=1), text_cell(7.0, "chunk_id", row=2)
    ('c-7', '7')
    """
    if isinstance(value, str):
        return str(value)
    whole = value.item() if type(value).__module__ == "numpy" and hasattr(value, "item") else value
    if isinstance(whole, int | float) and not isinstance(whole, bool) and math.isfinite(whole) and whole == int(whole):
        return str(int(whole))
    raise DatasetError(f"Row {row}, column {column!r}: expected a text or a whole number; got {value!r:.80}.")
