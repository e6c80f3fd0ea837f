"""``embedtune tune`` and ``embedtune plugins``, as typed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from embedtune import QADataset, __version__, read_record


def run(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "embedtune", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_tune_writes_the_model_and_the_figures(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    code_words.save(tmp_path / "words", format="beir")
    done = run("tune", "words", "--base", small_model, "--out", "tuned", "--json", "figures.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "tuned")
    assert record is not None
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["path"] == str(tmp_path / "tuned")
    assert figures["record"]["fingerprint"] == record.fingerprint
    assert [point["step"] for point in figures["history"]] == [0, 1]
    assert f"{record.metrics_after['ndcg@10']:.3f}" in done.stdout


def test_a_wrong_path_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    done = run("tune", "nowhere.json", "--base", "model", "--out", "tuned", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("embedtune: There is no data set at ")
    assert str(tmp_path / "nowhere.json") in done.stderr
    assert not list(tmp_path.iterdir())


def test_plugins_lists_who_offers_what(tmp_path: Path) -> None:
    done = run("plugins", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "sentence-transformers" in done.stdout
    assert "dataset format" in " ".join(done.stdout.split())


def test_the_version_is_printed(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path).stdout.strip() == f"embedtune {__version__}"
