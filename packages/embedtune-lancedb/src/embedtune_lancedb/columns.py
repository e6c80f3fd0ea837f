"""Columns of a Parquet file or of one LanceDB table, as plain Python values."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq

from embedtune import DatasetError
from embedtune.columns import check_columns

__all__ = ["read_lance_columns", "read_parquet_columns"]


def read_parquet_columns(path: Path, columns: Sequence[str] | None = None) -> Mapping[str, list[object]]:
    """Columns of a ``.parquet`` file; null is None.

    Args:
        path: The file.
        columns: Names of the columns; all of them if None.

    Raises:
        DatasetError: If it is no Parquet file, or a column is missing.
    """
    try:
        there = pq.read_schema(path).names
        check_columns(path.name, columns or (), there)
        table = pq.read_table(path, columns=None if columns is None else list(columns))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read as Parquet: {error}") from error
    return _values(table)


def read_lance_columns(folder: Path, columns: Sequence[str] | None = None) -> Mapping[str, list[object]]:
    """Columns of one LanceDB table, given by its own folder ``<database>/<table>.lance``; null is None.

    Args:
        folder: The table's folder.
        columns: Names of the columns; all of them if None. A vector is read only if it is named.

    Raises:
        DatasetError: If there is no such table, or a column is missing.
    """
    if folder.suffix != ".lance" or not folder.is_dir():  # connecting would make it
        raise DatasetError(f"{str(folder)!r} is no folder of a LanceDB table; give <database>/<table>.lance.")
    try:
        table = lancedb.connect(str(folder.parent)).open_table(folder.stem)
        there = table.schema.names
    except Exception as error:  # lancedb raises RuntimeError, ValueError or OSError, by what is damaged
        raise DatasetError(f"{str(folder)!r} cannot be read as a LanceDB table: {error}") from error
    check_columns(folder.name, columns or (), there)
    try:
        return _values(table.search().select(there if columns is None else list(columns)).to_arrow())
    except Exception as error:  # as above
        raise DatasetError(f"{str(folder)!r} cannot be read as a LanceDB table: {error}") from error


def _values(table: pa.Table) -> dict[str, list[object]]:
    return {name: table.column(name).to_pylist() for name in table.column_names}
