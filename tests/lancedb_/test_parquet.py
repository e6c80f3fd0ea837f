"""The Parquet file of pairs, and columns of Parquet files and Lance tables."""

from pathlib import Path
from typing import Any

import lancedb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embedtune import DatasetError, QADataset
from embedtune.columns import read_table
from embedtune.plugins import DatasetFormat, plugin_manager
from embedtune.sources import read_chunks
from embedtune.testing import DatasetFormatContract, tiny_dataset


class TestParquet(DatasetFormatContract):
    path = "dataset.parquet"

    def make(self) -> DatasetFormat:
        return plugin_manager().dataset_format("parquet")


def write(path: Path, **columns: Any) -> Path:
    pq.write_table(pa.table(columns), path)
    return path


def write_table(folder: Path, **columns: Any) -> Path:
    """A LanceDB table; its own folder."""
    lancedb.connect(str(folder)).create_table("docs", pa.table(columns))
    return folder / "docs.lance"


def test_everything_that_a_data_set_holds_comes_back(tmp_path: Path) -> None:
    dataset = QADataset(
        {"q": "How?", "r": "Why?"},
        {"c": "So.", "n": "Thus.", "x": "Else."},
        {"q": ["c", "n"], "r": ["n"]},
        {"c": {"document_id": "d", "page": 3, "tags": ["ü"], "nested": {"a": None}}, "n": {"plain": True}},
        {"q": "keyword"},
        {"q": {"c": 0.1234567, "n": 2.0}},
    )
    dataset.save(tmp_path / "set.parquet")
    assert QADataset.load(tmp_path / "set.parquet") == dataset


def test_more_rows_than_one_batch_come_back(tmp_path: Path) -> None:
    corpus = {f"c{i}": f"text {i}" for i in range(3000)}
    dataset = QADataset({"q": "How?"}, corpus, {"q": ["c2999"]})
    dataset.save(tmp_path / "set.parquet")
    assert QADataset.load(tmp_path / "set.parquet").corpus == corpus


def test_query_and_chunk_are_enough_and_other_columns_are_not_read(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", query=["how?", None], chunk=["so", "else"], vector=[[0.5], [1.5]])
    dataset = QADataset.load(path)
    assert (list(dataset.queries.values()), list(dataset.corpus.values())) == (["how?"], ["so", "else"])


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"query": ["how?"], "text": ["so"]}, r"set.parquet has no column 'chunk'; columns: \['query', 'text'\]"),
        ({"query": [1], "chunk": ["so"]}, "set.parquet, row 1: 'query' must hold texts; got 1"),
        (
            {"query": ["a?", "b?"], "query_id": ["q", "q"], "chunk": ["so", "so"]},
            "set.parquet, row 2: the id 'q' stood",
        ),
        ({"query": ["a?"], "chunk": ["so"], "grade": ["high"]}, "set.parquet, row 1: the grade 'high' is no number"),
        ({"query": ["a?"], "chunk": ["so"], "metadata": ["{"]}, "set.parquet, row 1: the metadata"),
    ],
)
def test_a_broken_table_names_the_row(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=message):
        QADataset.load(write(tmp_path / "set.parquet", **columns))


@pytest.mark.parametrize("content", [b"", b"PAR1", b"no parquet at all"])
def test_a_file_that_is_no_parquet_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.parquet").write_bytes(content)
    with pytest.raises(DatasetError, match=r"set\.parquet' cannot be read as Parquet"):
        QADataset.load(tmp_path / "set.parquet")
    with pytest.raises(DatasetError, match=r"set\.parquet' cannot be read as Parquet"):
        read_table(tmp_path / "set.parquet", ["a"])


def test_a_split_is_refused(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "set.parquet")
    with pytest.raises(DatasetError, match=r"'set.parquet' has no splits; got split='train'"):
        QADataset.load(tmp_path / "set.parquet", split="train")


def test_what_is_no_unicode_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    dataset = QADataset({"q": "How?"}, {"c": "So."}, {"q": ["c"]}, styles={"q": "half \ud800 a pair"})
    with pytest.raises(DatasetError, match="a text that is no Unicode"):
        dataset.save(tmp_path / "set.parquet")
    assert list(tmp_path.iterdir()) == []


# Columns of any table


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_columns_are_read_with_nulls_and_all_rows(kind: str, tmp_path: Path) -> None:
    """A search of LanceDB gives ten rows unless told."""
    columns = {"id": list(range(2000)), "text": ["a", None] * 1000, "vector": [[0.5, 0.5]] * 2000}
    path = write(tmp_path / "t.parquet", **columns) if kind == "parquet" else write_table(tmp_path, **columns)
    found = read_table(path, ["text", "id"])
    assert found == {"text": columns["text"], "id": columns["id"]}


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_a_missing_column_names_those_that_are_there(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", id=[1]) if kind == "parquet" else write_table(tmp_path, id=[1])
    with pytest.raises(DatasetError, match=rf"{path.name} has no column 'text'; columns: \['id'\]"):
        read_table(path, ["text"])


@pytest.mark.parametrize("kind", ["parquet", "lance"])
def test_all_columns_are_read_where_none_is_named(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", id=[1]) if kind == "parquet" else write_table(tmp_path, id=[1])
    read = plugin_manager().dataset_format(kind).read_columns
    assert read is not None
    assert read(path, None) == {"id": [1]}


def test_a_lance_table_gives_chunks(tmp_path: Path) -> None:
    path = write_table(tmp_path, key=[1, 2, 3], body=["one", "", None], file=["a.md", "a.md", None])
    (chunk,) = read_chunks(path, text="body", id="key", document="file")
    assert (chunk.id, chunk.text, dict(chunk.metadata)) == ("1", "one", {"document_id": "a.md"})


@pytest.mark.parametrize("content", [None, "file"])
def test_a_folder_that_is_no_lance_table_is_named_and_left_as_it_is(content: str | None, tmp_path: Path) -> None:
    path = tmp_path / "docs.lance"
    path.mkdir() if content is None else path.write_text(content, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"docs\.lance' (cannot be read as a LanceDB table|is no folder of a)"):
        read_chunks(path)
    assert [entry.name for entry in tmp_path.rglob("*")] == ["docs.lance"]
