"""The Lance folder: round trips, folders of LanceDB's fine-tuning branch, and what is refused."""

import datetime
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import lancedb
import pyarrow as pa
import pytest

from embedtune import DatasetError, ModelFolderError, QADataset
from embedtune.plugins import DatasetFormat, plugin_manager
from embedtune.testing import DatasetFormatContract, tiny_dataset


class TestLanceFormat(DatasetFormatContract):
    def make(self) -> DatasetFormat:
        return plugin_manager().dataset_format("lance")


def write_branch_folder(folder: Path, corpus: list[str | None], relevant: list[list[str]]) -> None:
    """A folder as the branch wrote it: the base columns, queries ``q0``, ..., chunks ``c0``, ..."""
    database = lancedb.connect(str(folder))
    queries = {"id": [f"q{i}" for i in range(len(relevant))], "query": [f"question {i}" for i in range(len(relevant))]}
    database.create_table("queries", pa.table(queries))
    texts = pa.array(corpus, pa.string())
    database.create_table("corpus", pa.table({"id": [f"c{i}" for i in range(len(corpus))], "text": texts}))
    database.create_table("relevant_docs", pa.table({"query_id": queries["id"], "doc_id": relevant}))


def test_everything_beside_the_base_columns_comes_back(tmp_path: Path) -> None:
    metadata = {"c": {"document_id": "d", "page": 3, "tags": ["ü"], "nested": {"a": None}}, "n": {"plain": True}}
    dataset = QADataset(
        {"q": "How?", "r": "Why?"},
        {"c": "So.", "n": "Thus.", "x": "Else."},
        {"q": ["c", "n"], "r": ["n"]},
        metadata,
        {"q": "keyword"},
        {"q": {"c": 2.0, "n": 0.5}},
    )
    dataset.save(tmp_path / "data")
    loaded = QADataset.load(tmp_path / "data")
    assert loaded == dataset


def test_metadata_that_json_does_not_know_is_kept_as_text(tmp_path: Path) -> None:
    metadata = {"c": {"when": datetime.date(2026, 1, 2), 7: Path("a/b")}}
    QADataset({"q": "How?"}, {"c": "So."}, {"q": ["c"]}, metadata).save(tmp_path / "data")
    assert QADataset.load(tmp_path / "data").metadata["c"] == {"when": "2026-01-02", "7": "a/b"}


def test_tables_and_base_columns_are_those_of_the_branch(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "data")
    database = lancedb.connect(str(tmp_path / "data"))
    columns = {name: database.open_table(name).schema for name in ("queries", "corpus", "relevant_docs")}
    assert columns["queries"].names[:2] == ["id", "query"]
    assert columns["corpus"].names[:2] == ["id", "text"]
    assert columns["relevant_docs"].names[:2] == ["query_id", "doc_id"]
    assert columns["relevant_docs"].field("doc_id").type == pa.list_(pa.string())


def test_a_folder_of_the_branch_loads(tmp_path: Path) -> None:
    write_branch_folder(tmp_path / "old", ["one", "two"], [["c0"], ["c1", "c0"]])
    loaded = QADataset.load(tmp_path / "old")
    assert loaded.relevant_docs == {"q0": ["c0"], "q1": ["c1", "c0"]}
    assert loaded.documents == {"c0": None, "c1": None}


def test_empty_texts_of_the_branch_are_dropped_whether_null_or_one_space(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_branch_folder(tmp_path / "old", ["one", None, " "], [["c0", "c1"], ["c2"], ["c1", "c2"]])
    loaded = QADataset.load(tmp_path / "old")
    assert (loaded.corpus, loaded.relevant_docs) == ({"c0": "one"}, {"q0": ["c0"]})
    assert "dropped 2 queries" in caplog.text


def test_rows_keep_their_order_over_several_batches(tmp_path: Path) -> None:
    corpus = {f"c{i}": f"text {i}" for i in range(5000)}
    QADataset({"q": "How?"}, corpus, {"q": ["c4999"]}).save(tmp_path / "data")
    assert list(QADataset.load(tmp_path / "data").corpus) == list(corpus)


def test_loading_from_nowhere_is_an_error_and_makes_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="no data set at"):
        QADataset.load(tmp_path / "missing")
    layout = plugin_manager().dataset_format("lance")
    with pytest.raises(DatasetError, match="no Lance folder at"):
        layout.load(tmp_path / "missing", None)
    assert not (tmp_path / "missing").exists()


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    lancedb.connect(str(tmp_path / "data")).create_table("corpus", pa.table({"id": ["c"], "text": ["a"]}))
    with pytest.raises(DatasetError, match="no table 'queries'"):
        QADataset.load(tmp_path / "data")


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    lancedb.connect(str(tmp_path / "data")).create_table("queries", pa.table({"id": ["q"], "text": ["a"]}))
    with pytest.raises(DatasetError, match="no column 'query'"):
        QADataset.load(tmp_path / "data")


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "data")
    (written,) = (tmp_path / "data" / "corpus.lance" / "data").glob("*.lance")
    written.write_bytes(b"")
    with pytest.raises(DatasetError, match="table 'corpus'"):
        QADataset.load(tmp_path / "data")


def test_an_id_with_two_texts_is_named(tmp_path: Path) -> None:
    database = lancedb.connect(str(tmp_path / "data"))
    database.create_table("queries", pa.table({"id": ["q", "q"], "query": ["a", "b"]}))
    with pytest.raises(DatasetError, match="id 'q' twice"):
        QADataset.load(tmp_path / "data")


def test_what_no_table_can_hold_is_refused_and_nothing_stays(tmp_path: Path) -> None:
    dataset = QADataset({"q": "How?"}, {"c": "So."}, {"q": ["c"]}, styles={"q": "half \ud800 a pair"})
    with pytest.raises(DatasetError, match="a text that is no Unicode"):
        dataset.save(tmp_path / "data")
    circle: dict[str, object] = {}
    circle["itself"] = circle
    with pytest.raises(DatasetError, match="metadata of chunk 'c' cannot be written as JSON"):
        QADataset({"q": "How?"}, {"c": "So."}, {"q": ["c"]}, {"c": circle}).save(tmp_path / "data")
    assert list(tmp_path.iterdir()) == []


def test_splits_are_refused(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "data")
    with pytest.raises(DatasetError, match="no splits; got split='train'"):
        QADataset.load(tmp_path / "data", split="train")


def test_a_database_with_further_tables_is_never_replaced(tmp_path: Path) -> None:
    tiny_dataset().save(tmp_path / "data")
    lancedb.connect(str(tmp_path / "data")).create_table("mine", pa.table({"a": [1]}))
    with pytest.raises(ModelFolderError, match="not written by embedtune"):
        tiny_dataset().save(tmp_path / "data")
    assert (tmp_path / "data" / "mine.lance").is_dir()


SAVE_FOREVER = """
import sys
from embedtune import QADataset
def of(n):
    return QADataset({"q": f"size {n}?"}, {f"c{i}": f"text {i} " * 50 for i in range(n)}, {"q": ["c0"]})
sizes = [of(500), of(1500)]
sizes[0].save(sys.argv[1])
print("ready", flush=True)
while True:
    for dataset in sizes:
        dataset.save(sys.argv[1])
"""


@pytest.mark.slow
def test_a_killed_save_leaves_the_old_whole_or_the_new_whole(tmp_path: Path) -> None:
    target, draw = tmp_path / "data", random.Random(0)
    for _ in range(10):
        command = [sys.executable, "-c", SAVE_FOREVER, str(target)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            time.sleep(0.2 + draw.random())
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
        loaded = QADataset.load(target)
        assert loaded.queries == {"q": f"size {len(loaded.corpus)}?"}
        assert len(loaded.corpus) in (500, 1500)
        assert {entry.name for entry in tmp_path.iterdir()} <= {"data", ".data.partial"}
