"""CSV: a data set as a table of pairs (see `embedtune.formats.pairs`), and columns of any table."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from embedtune.columns import check_columns
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.formats.pairs import COLUMNS, NEEDED, dataset_of_pairs, pair_rows
from embedtune.formats.splits import refuse_split

__all__ = ["load_csv", "read_csv_columns", "save_csv"]

_LARGEST_FIELD = 2**31 - 1


def save_csv(dataset: QADataset, path: Path) -> None:
    """Write the table.

    Raises:
        DatasetError: If metadata cannot be written as JSON.
    """
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(pair_rows(dataset))


def load_csv(path: Path, split: str | None = None) -> QADataset:
    """Read the table.

    Raises:
        DatasetError: If a column is missing, a line has too many cells, or an id stands with two texts; named with
            its line.
    """
    refuse_split(path, split)
    with _reader(path) as reader:
        check_columns(path.name, NEEDED, list(reader.fieldnames or ()))
        return dataset_of_pairs((f"{path.name}, line {reader.line_num}", row) for row in _rows(reader, path))


def read_csv_columns(path: Path, columns: Sequence[str] | None = None) -> Mapping[str, list[object]]:
    """Columns of a ``.csv`` or ``.tsv`` file with a header line; an empty cell is None.

    Args:
        path: The file, in UTF-8.
        columns: Names of the columns; all of them if None.

    Raises:
        DatasetError: If a column is missing, or a line has too many cells.
    """
    with _reader(path) as reader:
        there = list(reader.fieldnames or ())
        wanted = there if columns is None else list(columns)
        check_columns(path.name, wanted, there)
        found: dict[str, list[object]] = {column: [] for column in wanted}
        for row in _rows(reader, path):
            for column, values in found.items():
                values.append(row[column] or None)
    return found


@contextmanager
def _reader(path: Path) -> "Iterator[csv.DictReader[str]]":
    csv.field_size_limit(_LARGEST_FIELD)
    # The mark that Windows puts first is no part of the first column's name.
    with open(path, encoding="utf-8-sig", newline="") as file:
        # Strict: a quote that is never closed would take the rest of the file for one text.
        yield csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",", strict=True)


def _rows(reader: "csv.DictReader[str]", path: Path) -> Iterator[dict[str, str]]:
    try:
        for row in reader:
            if None in row:
                raise DatasetError(
                    f"{path.name}, line {reader.line_num}: more cells than columns; put texts with commas in quotes."
                )
            yield row
    except csv.Error as error:
        raise DatasetError(f"{path.name}, line {reader.line_num}: {error}.") from error
