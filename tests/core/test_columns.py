"""Columns of data frames, mappings and files, without importing what made them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from embedtune import DatasetError, PluginManager
from embedtune.columns import is_missing, read_table, text_cell
from embedtune.plugins import DatasetFormat, hookimpl

COLUMNS = {"query": ["how?", "why?"], "clicks": [3, 4]}


class ColumnsOfPolars:
    """A data frame with the surface of polars: a list of names, and series that have ``to_list``."""

    columns = ("query", "clicks")

    def __getitem__(self, name: str) -> Any:
        class Series:
            def to_list(self) -> list[object]:
                return COLUMNS[name]

        return Series()


@pytest.mark.parametrize(
    "table",
    [
        COLUMNS,
        {name: tuple(values) for name, values in COLUMNS.items()},
        {"query": COLUMNS["query"], "clicks": np.array([3, 4])},
        pd.DataFrame(COLUMNS),
        pa.table(COLUMNS),
        pa.record_batch(COLUMNS),
        ColumnsOfPolars(),
    ],
    ids=lambda table: type(table).__name__,
)
def test_every_kind_of_table_gives_plain_lists(table: object) -> None:
    found = read_table(table, ["clicks", "query"])
    assert found == {"clicks": [3, 4], "query": ["how?", "why?"]}
    assert [type(value) for value in found["clicks"]] == [int, int]


@pytest.mark.parametrize("table", [COLUMNS, pd.DataFrame(COLUMNS), pa.table(COLUMNS)], ids=lambda t: type(t).__name__)
def test_a_missing_column_names_those_that_are_there(table: object) -> None:
    with pytest.raises(DatasetError, match=r"has no column 'chunk_id'; columns: \['query', 'clicks'\]"):
        read_table(table, ["query", "chunk_id"])


def test_a_column_that_stands_twice_is_refused() -> None:
    frame = pd.DataFrame([[1, 2]], columns=["a", "a"])
    with pytest.raises(DatasetError, match="has the column 'a' twice"):
        read_table(frame, ["a"])


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(DatasetError, match=r"columns of different lengths: \{'a': 1, 'b': 2\}"):
        read_table({"a": [1], "b": [1, 2]}, ["a", "b"])


@pytest.mark.parametrize("table", [None, 7, ["a"], object()])
def test_what_is_no_table_is_refused(table: object) -> None:
    with pytest.raises(DatasetError, match=r"Cannot read columns of builtins\..* Give the path of a \.csv"):
        read_table(table, ["a"])


def test_missing_values_of_every_library_are_missing() -> None:
    assert all(map(is_missing, [None, float("nan"), np.float64("nan"), pd.NA, pd.NaT]))
    assert not any(map(is_missing, ["", "nan", 0, 0.0, False]))


@pytest.mark.parametrize("value", [True, 1.5, float("inf"), [1], b"x", np.float64(0.5)])
def test_an_id_is_text_or_a_whole_number(value: object) -> None:
    with pytest.raises(DatasetError, match=r"Row 3, column 'id': expected a text or a whole number; got"):
        text_cell(value, "id", 3)


def test_whole_numbers_of_numpy_and_pandas_are_ids() -> None:
    assert [text_cell(value, "id", 1) for value in (7, 7.0, np.int32(7), np.float32(7))] == ["7"] * 4


# Files


@pytest.mark.parametrize(("name", "mark"), [("log.csv", ","), ("log.TSV", "\t")])
def test_an_empty_cell_of_a_file_is_missing(name: str, mark: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(f"\ufeffa{mark}b\r\n1{mark}\r\n2\r\n", encoding="utf-8", newline="")
    assert read_table(tmp_path / name, ["b", "a"]) == {"b": [None, None], "a": ["1", "2"]}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone.csv", r"There is no table at .*gone\.csv'"),
        ("log", r"log' has no suffix that says what it is; known: \.csv, \.tsv, \.parquet, \.lance"),
        ("set.json", r"set\.json': the format 'json' has no columns"),
        ("bad.csv", r"bad\.csv' cannot be read as 'csv': .*codec can't decode"),
    ],
)
def test_a_path_that_is_no_table_is_named(name: str, message: str, tmp_path: Path) -> None:
    for there in ("log", "set.json"):
        (tmp_path / there).write_text("{}", encoding="utf-8")
    (tmp_path / "bad.csv").write_bytes(b"a\n\xff\n")
    with pytest.raises(DatasetError, match=message):
        read_table(tmp_path / name, ["a"])


def test_a_plugin_reads_the_suffix_of_its_name(tmp_path: Path, plugins: PluginManager) -> None:
    class Sheets:
        @hookimpl
        def embedtune_dataset_formats(self) -> list[DatasetFormat]:
            def refuse(*_: object) -> Any:
                raise NotImplementedError

            return [
                DatasetFormat(
                    name="sheet",
                    matches=lambda path: False,
                    save=refuse,
                    load=refuse,
                    read_columns=lambda path, names: {"a": [path.name]},
                )
            ]

    plugins.register(Sheets(), "sheets", "sheets 1.0")
    (tmp_path / "x.sheet").touch()
    assert read_table(tmp_path / "x.sheet", ["a"], plugins=plugins) == {"a": ["x.sheet"]}
