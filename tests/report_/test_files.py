"""The folder of a report: its files, and what it never overwrites."""

import json
from pathlib import Path

import pytest

import embedtune.report.writing
from embedtune import ModelFolderError, compare
from embedtune.report import check_report_folder, write_report
from embedtune.testing import HashEmbedder, tiny_dataset
from reported import compared, dataset_of

NAMES = ["comparison.json", "qrels.txt", "queries.jsonl", "report.html", "report.md", "runs"]


def names_in(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def test_report_of_a_real_comparison_is_a_folder_with_all_forms(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    comparison = compare(HashEmbedder(2), HashEmbedder(64), dataset, top_k=1)
    page = write_report(comparison, dataset, tmp_path / "report")
    assert page == tmp_path / "report" / "report.html"
    assert names_in(page.parent) == NAMES
    assert json.loads((page.parent / "comparison.json").read_bytes()) == json.loads(json.dumps(comparison.to_json()))
    assert names_in(tmp_path) == ["report"]


def test_every_question_stands_in_the_json_with_both_models_results(tmp_path: Path) -> None:
    dataset = dataset_of(3)
    folder = write_report(compared([(None, 2), (1, 1), (7, None)], dataset), dataset, tmp_path / "report").parent
    rows = [json.loads(line) for line in (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["query_id"] for row in rows] == ["q0", "q1", "q2"]
    found = rows[0]["results"]["vector"]
    assert (found["outcome"], found["base"]["rank"], found["tuned"]["rank"]) == ("won", None, 2)
    assert found["tuned"]["retrieved"] == ["c1", "c0", "c2", "c3", "c4"]
    assert rows[0]["query"] == dataset.queries["q0"]
    assert [row["results"]["vector"]["outcome"] for row in rows] == ["won", "same", "down"]


def test_an_earlier_report_is_replaced(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    write_report(compared([(None, 1)], dataset, reason="older"), dataset, tmp_path / "report")
    page = write_report(compared([(None, 1)], dataset, ["fts"], reason="newer"), dataset, tmp_path / "report")
    assert "newer" in page.read_text(encoding="utf-8")
    assert names_in(page.parent / "runs") == ["fts.base.run", "fts.tuned.run"]


def test_a_folder_with_anything_else_is_left_as_it_is(tmp_path: Path) -> None:
    dataset = dataset_of(1)
    folder = write_report(compared([(1, 1)], dataset), dataset, tmp_path / "report").parent
    (folder / "my notes.txt").write_text("mine", encoding="utf-8")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ModelFolderError, match="is not empty and was not written by embedtune"):
        write_report(compared([(None, 1)], dataset), dataset, folder)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_folder_can_be_checked_before_the_models_are_compared(tmp_path: Path) -> None:
    check_report_folder(tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(ModelFolderError, match="is not empty"):
        check_report_folder(tmp_path)
    assert names_in(tmp_path) == ["file"]


def test_a_failure_leaves_the_earlier_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = dataset_of(1)
    page = write_report(compared([(1, 1)], dataset, reason="older"), dataset, tmp_path / "report")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(embedtune.report.writing, "write_trec", fail)
    with pytest.raises(OSError, match="the disk is full"):
        write_report(compared([(1, 1)], dataset, reason="newer"), dataset, tmp_path / "report")
    assert "older" in page.read_text(encoding="utf-8")
    assert names_in(page.parent) == NAMES
    assert names_in(tmp_path) == ["report"]
