"""`QADataset` as one Parquet file: a table of pairs, with the columns of `embedtune.formats.pairs`."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from embedtune import DatasetError, QADataset
from embedtune.columns import check_columns
from embedtune.formats.pairs import COLUMNS, NEEDED, dataset_of_pairs, pair_rows
from embedtune.formats.splits import refuse_split

__all__ = ["load_parquet", "save_parquet"]

_ROWS_AT_ONCE = 1024
"""Rows of a batch: bounds memory, and an Arrow array of str at 2 GiB."""

_SCHEMA = pa.schema([(name, pa.float64() if name == "grade" else pa.string()) for name in COLUMNS])


def save_parquet(dataset: QADataset, path: Path) -> None:
    """Write the table.

    Raises:
        DatasetError: If metadata cannot be written as JSON, or a text is no Unicode.
    """
    rows = iter(pair_rows(dataset))
    with pq.ParquetWriter(path, _SCHEMA) as writer:
        while some := list(islice(rows, _ROWS_AT_ONCE)):
            try:
                writer.write_batch(pa.RecordBatch.from_pylist(some, schema=_SCHEMA))
            except UnicodeEncodeError as error:
                raise DatasetError(f"The data set holds a text that is no Unicode: {error}.") from error


def load_parquet(path: Path, split: str | None = None) -> QADataset:
    """Read the table; other columns than `COLUMNS` are not read.

    Raises:
        DatasetError: If it is no Parquet file, a column is missing or holds no text, or an id stands with two
            texts; named with its row.
    """
    refuse_split(path, split)
    try:
        with pq.ParquetFile(path) as file:
            check_columns(path.name, NEEDED, file.schema_arrow.names)
            return dataset_of_pairs(_rows(file, path.name))
    except (pa.ArrowException, OSError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read as Parquet: {error}") from error


def _rows(file: pq.ParquetFile, name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    columns = [column for column in COLUMNS if column in file.schema_arrow.names]
    number = 0
    for batch in file.iter_batches(batch_size=_ROWS_AT_ONCE, columns=columns):
        for row in batch.to_pylist():
            number += 1
            for column, value in row.items():
                if column != "grade" and value is not None and not isinstance(value, str):
                    raise DatasetError(f"{name}, row {number}: {column!r} must hold texts; got {value!r:.80}.")
            yield f"{name}, row {number}", row
