"""`QADataset.from_table`: search logs in files and data frames."""

from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pytest

from embedtune import BackendNotFoundError, DatasetError, PluginManager, QADataset, TextChunk

CHUNKS = [TextChunk("text x", "x"), TextChunk("text y", "y"), TextChunk("text 7", "7")]
LOG = {"query": ["how?", "how?", "why?"], "chunk_id": ["x", "y", "y"]}


def load(table: object, **options: Any) -> QADataset:
    return QADataset.from_table(CHUNKS, table, **options)


def texts(dataset: QADataset) -> dict[str, list[str]]:
    """The answers by the query's text."""
    return {dataset.queries[query]: chunks for query, chunks in dataset.relevant_docs.items()}


@pytest.mark.parametrize("table", [LOG, pd.DataFrame(LOG), pa.table(LOG)], ids=lambda table: type(table).__name__)
def test_every_kind_of_table_gives_the_same_data_set(table: object) -> None:
    assert texts(load(table)) == {"how?": ["x", "y"], "why?": ["y"]}
    assert load(table) == load(LOG)


def test_a_file_is_read_by_its_columns(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("q,c,n\nhow?,x,3\nwhy?,7,1\n", encoding="utf-8")
    dataset = load(tmp_path / "log.csv", query="q", chunk="c", clicks="n", min_clicks=2)
    assert texts(dataset) == {"how?": ["x"]}


def test_query_ids_are_kept_or_made_of_the_text() -> None:
    table = {**LOG, "id": [1, 1, "b"]}
    assert list(load(table, query_id="id").queries) == ["1", "b"]
    assert list(load(LOG).queries) == list(load(LOG).queries)


def test_numbers_that_pandas_made_decimals_of_are_still_ids() -> None:
    frame = pd.DataFrame({"query": ["how?", "why?"], "chunk_id": [7, None]})
    assert texts(load(frame)) == {"how?": ["7"]}


def test_clicks_of_equal_rows_are_added() -> None:
    table = {"query": ["how?"] * 3, "chunk_id": ["x", "x", "y"], "n": [2, 3, 4]}
    dataset = load(table, clicks="n", min_clicks=5)
    assert texts(dataset) == {"how?": ["x"]}
    assert dataset.grades == {}


def test_without_a_column_of_clicks_each_row_is_one() -> None:
    table = {"query": ["how?"] * 3, "chunk_id": ["x", "x", "y"]}
    assert texts(load(table, min_clicks=2)) == {"how?": ["x"]}


def test_grades_are_kept_the_highest_of_equal_rows() -> None:
    table = {"query": ["how?"] * 4, "chunk_id": ["x", "x", "y", "7"], "g": ["1", "3", "2", "0"]}
    dataset = load(table, grade="g")
    assert list(dataset.grades.values()) == [{"x": 3.0, "y": 2.0}]
    assert texts(dataset) == {"how?": ["x", "y"]}


def test_clicks_and_grades_do_their_own_work() -> None:
    table = {"query": ["how?"] * 2, "chunk_id": ["x", "y"], "g": [3, 2], "n": [9, 1]}
    dataset = load(table, grade="g", clicks="n", min_clicks=5)
    assert list(dataset.grades.values()) == [{"x": 3.0}]


@pytest.mark.parametrize("nothing", [None, float("nan"), "", "  ", pd.NA])
@pytest.mark.parametrize(("column", "reason"), [("query", "without a query"), ("chunk_id", "without a chunk")])
def test_rows_that_say_nothing_are_dropped_counted_and_told(
    nothing: object, column: str, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    table = {**LOG, column: [*LOG[column][:2], nothing]}
    dataset = load(table)
    assert dataset.report is not None
    assert dataset.report.model_dump()["dropped_rows"] == {reason: {"count": 1, "examples": ("row 3",)}}
    assert f"dropped 1 row (1 {reason})" in caplog.text


@pytest.mark.parametrize("value", ["many", "", "1,000", True, float("inf"), [1]])
def test_a_number_that_is_none_names_its_row(value: object) -> None:
    with pytest.raises(DatasetError, match=r"Row 2, column 'n': expected a finite number; got"):
        load({**LOG, "n": [1, value, 1]}, clicks="n")


@pytest.mark.parametrize("value", [None, float("nan"), pd.NA])
def test_a_missing_number_names_its_row(value: object) -> None:
    with pytest.raises(DatasetError, match=r"Row 2, column 'n': the number is missing. Write 0, or leave out the row"):
        load({**LOG, "n": [1, value, 1]}, grade="n")


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (LOG, {"clicks": "n"}, r"The dict has no column 'n'; columns: \['query', 'chunk_id'\]"),
        (LOG, {"query": "q", "chunk": "c"}, "The dict has no column 'c' and 'q'"),
        ({"query": [], "chunk_id": []}, {}, "The dict holds no row with a query and a chunk in 0 rows"),
        (
            {**LOG, "id": ["a", "b", "a"]},
            {"query_id": "id"},
            r"Row 3: the query id 'a' stood before .*'how\?'; now 'why",
        ),
        ({**LOG, "id": ["a", "a", None]}, {"query_id": "id"}, "Row 3 has no query id in the column 'id'"),
        (
            {**LOG, "chunk_id": ["x", "y", 1.5]},
            {},
            "Row 3, column 'chunk_id': expected a text or a whole number; got 1.5",
        ),
        ({**LOG, "chunk_id": ["x", "y", "gone"]}, {}, "names 1 chunks that are not in the corpus: 'gone'"),
        ({**LOG, "g": [1, 1, 1]}, {"grade": "g", "min_clicks": 2}, "min_clicks needs a column of clicks"),
        ({**LOG, "n": [1, -1, 1]}, {"clicks": "n"}, "The clicks on chunk 'y' for query .* are below 0: -1"),
    ],
)
def test_a_broken_table_is_named(table: object, options: dict[str, str], message: str) -> None:
    with pytest.raises(DatasetError, match=message):
        load(table, **options)


def test_deleted_documents_can_be_dropped() -> None:
    dataset = load({**LOG, "chunk_id": ["x", "gone", "gone"]}, unknown_chunks="drop")
    assert texts(dataset) == {"how?": ["x"]}


def test_a_parquet_file_without_its_reader_says_what_to_install(tmp_path: Path, plugins: PluginManager) -> None:
    (tmp_path / "log.parquet").touch()
    with pytest.raises(BackendNotFoundError, match=r'pip install "embedtune\[lancedb\]"'):
        load(tmp_path / "log.parquet", plugins=plugins)


def test_a_log_of_100_000_rows_is_read_in_seconds() -> None:
    n = 100_000
    table = {"query": [f"query {i % 5000}" for i in range(n)], "chunk_id": ["x" if i % 3 else "y" for i in range(n)]}
    dataset = load(table, min_clicks=6)
    assert len(dataset) == 5000
