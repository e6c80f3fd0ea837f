"""``embedtune dataset``, as typed."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from embedtune import QADataset, TextChunk, leaks
from embedtune.cli.app import app
from embedtune.testing import tiny_dataset

EVIL = "[bold]red[/bold] \x1b[2J\x1b]0;title\x07 \u202eback\u202c [/unopened] \\[x] {brace}\r\n" + "long " * 500


def run(*arguments: object, code: int = 0) -> str:
    """Standard output of the command."""
    done = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, ["dataset", *map(str, arguments)])
    assert done.exit_code == code, (done.output, done.exception)
    return done.output if code == 0 else f"{done.output}{done.exception}"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tiny_dataset(8).save(tmp_path / "set.json")
    return tmp_path / "set.json"


def test_a_look_tells_the_figures_and_three_queries(path: Path) -> None:
    shown = run(path)
    for fact in ("queries", "16", "8, 0 of them answer no query", "median", "overlap", "0 equal"):
        assert fact in shown
    assert shown.count("A page on ") == 3
    assert max(map(len, shown.splitlines())) <= 80


def test_samples_are_drawn_by_the_seed(path: Path) -> None:
    assert run(path, "--samples", 0).count("A page on ") == 0
    assert run(path, "--seed", 1) == run(path, "--seed", 1) != run(path, "--seed", 2)


def test_the_figures_go_to_a_file_too(path: Path, tmp_path: Path) -> None:
    run(path, "--json", tmp_path / "figures.json")
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert (figures["queries"], figures["chunk_words"]["longest"], len(figures["overlap_quartiles"])) == (16, 14, 3)


def test_texts_cannot_drive_the_terminal_nor_be_read_as_markup(tmp_path: Path) -> None:
    dataset = QADataset({"q": EVIL}, {"c": EVIL}, {"q": ["c"]}, {"c": {"document_id": EVIL}}, {"q": "[red]\x1b[31m"})
    dataset.save(tmp_path / "set.json")
    shown = run(tmp_path / "set.json")
    assert not set(shown) & {"\x1b", "\x07", "\r", "\u202e"}
    assert "[bold]red[/bold]" in shown
    assert "[/unopened] \\[x] {brace}" in " ".join(shown.split())
    assert "…" in shown
    assert len(shown) < 6000


def test_what_was_cleaned_is_told_again(tmp_path: Path) -> None:
    chunk = TextChunk.from_chunk("text")
    queries = {"a": "how?", "b": "How?"}
    dataset = QADataset.from_responses([chunk], queries, {"a": [chunk.id], "b": [chunk.id]})
    dataset.save(tmp_path / "set.json")
    assert "kept 1 of 2 queries and 1 of 2 pairs; merged 1 query of equal text" in run(tmp_path / "set.json")


# Converting


@pytest.mark.parametrize(("target", "format"), [("a.csv", None), ("b", "beir"), ("c.txt", "json")])
def test_a_data_set_is_converted(target: str, format: str | None, path: Path, tmp_path: Path) -> None:
    shown = run(path, "--to", tmp_path / target, *(["--format", format] if format else []))
    assert "QADataset(16 queries, 8 chunks, 16 pairs)" in shown
    assert QADataset.load(tmp_path / target, format).queries == tiny_dataset(8).queries


def test_a_target_that_is_not_ours_is_refused_before_the_data_are_read(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine", encoding="utf-8")
    shown = run(tmp_path / "nowhere.json", "--to", tmp_path / "mine", "--format", "beir", code=1)
    assert "is not empty and was not written by embedtune" in shown


def test_a_format_of_nothing_is_refused(path: Path) -> None:
    assert "give --to or --divide" in " ".join(run(path, "--format", "csv", code=2).replace("│", " ").split())


def test_a_split_where_there_is_none_is_refused(path: Path) -> None:
    assert "'set.json' has no splits; got split='train'" in run(path, "--split", "train", code=1)


# Dividing


@pytest.mark.parametrize(
    ("format", "names"), [(None, "{}.json"), ("csv", "{}.csv"), ("beir", "{}")], ids=["as the source", "csv", "beir"]
)
def test_a_data_set_is_divided_without_leaks(format: str | None, names: str, path: Path, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "parts"
    run(path, "--divide", folder, "--val", 0.25, "--test", 0.25, *(["--format", format] if format else []))
    parts = [QADataset.load(folder / names.format(name)) for name in ("train", "val", "test")]
    assert sum(map(len, parts)) == 16
    assert not leaks(parts[0], parts[2])


def test_a_side_without_a_share_is_not_written(path: Path, tmp_path: Path) -> None:
    run(path, "--divide", tmp_path / "parts", "--val", 0)
    assert {entry.name for entry in (tmp_path / "parts").iterdir()} == {"train.json", "test.json"}


def test_a_beir_folder_is_divided_into_beir_folders(tmp_path: Path) -> None:
    tiny_dataset(8).save(tmp_path / "set", format="beir")
    run(tmp_path / "set", "--split", "test", "--divide", tmp_path / "parts")
    assert (tmp_path / "parts" / "train" / "corpus.jsonl").is_file()
