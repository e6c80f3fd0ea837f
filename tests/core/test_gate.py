"""A gate against a stored evaluation, in the library and on the command line."""

import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from embedtune import Evaluation, EvaluationError, QADataset, evaluate
from embedtune.cli import main
from embedtune.cli.tables import comparison_table
from embedtune.comparison import summarise
from embedtune.evaluation_files import load_evaluation, save_evaluation
from embedtune.gate import gate

N_QUERIES = 400

Cli = Callable[..., tuple[int, str, str]]


def questions(n: int = N_QUERIES) -> QADataset:
    return QADataset(
        {f"q{i}": f"question {i}" for i in range(n)},
        {f"c{i}": f"chunk {i}" for i in range(n)},
        {f"q{i}": [f"c{i}"] for i in range(n)},
    )


def run_file(path: Path, share_found: float, n: int = N_QUERIES) -> Path:
    """Rankings in which the first ``share_found`` of all queries find their chunk."""
    lines = []
    for i in range(n):
        found = i if i < share_found * n else (i + 1) % n
        lines.append(f"q{i} Q0 c{found} 1 1.0 test\n")
    path.write_text("".join(lines), encoding="utf-8")
    return path


def finding(share: float) -> Evaluation:
    def search(queries: Sequence[str], k: int) -> list[list[str]]:
        numbers = [int(query.split()[1]) for query in queries]
        return [[f"c{number}" if number < share * N_QUERIES else "c0"] for number in numbers]

    return evaluate(search, questions())


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Cli:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    questions().save("questions.json")

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["embedtune", *words])
        status = 0
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


@pytest.mark.parametrize(
    ("before", "now", "outcome"),
    [(0.5, 0.5, "pass"), (0.5, 0.8, "pass"), (0.8, 0.5, "worse"), (0.5, 0.49, "cannot tell")],
)
def test_the_outcome_is_that_of_the_interval(before: float, now: float, outcome: str) -> None:
    assert gate(finding(now), finding(before), questions()).outcome == outcome


@pytest.mark.parametrize("n", [1, 8, 100])
def test_equal_answers_to_few_questions_do_not_pass(n: int) -> None:
    """They would hide a loss of more than the margin; the same model passes, and is told by its fingerprint."""
    dataset = questions(n)
    found = evaluate(lambda asked, k: [[f"c{question.split()[1]}"] for question in asked], dataset)
    assert gate(found, found, dataset).outcome == "cannot tell"
    assert gate(found, found, dataset, is_one_model=True).outcome == "pass"


def test_one_lost_question_is_not_worse_by_more_than_the_margin() -> None:
    dataset = questions(1)
    lost = evaluate(lambda asked, k: [[] for _ in asked], dataset)
    won = evaluate(lambda asked, k: [["c0"] for _ in asked], dataset)
    assert gate(lost, won, dataset).outcome == "cannot tell"


def test_a_gate_lets_few_models_pass_that_lose_more_than_the_margin() -> None:
    """A true loss of 5 points at a margin of 1, 60 draws of 10, 30 and 50 questions each."""
    rng = np.random.default_rng(0)
    passed = 0
    for n in np.repeat([10, 30, 50], 60):
        dataset = questions(int(n))
        before, now = np.ones(n), (rng.random(n) >= 0.05).astype(float)
        rows = [dict(row) for row in evaluate(lambda asked, k: [[] for _ in asked], dataset)]
        one, other = (Evaluation(tuple(rows), {"hit_rate@5": hits}, 5) for hits in (before, now))
        passed += gate(other, one, dataset).outcome == "pass"
    assert passed <= 9  # 2.5% of 180, and three standard errors


def test_a_loss_within_the_margin_passes() -> None:
    assert gate(finding(0.49), finding(0.5), questions(), margin=0.05).outcome == "pass"


def test_a_model_that_saw_the_questions_never_passes() -> None:
    now = finding(0.9)
    seen = Evaluation(tuple(row | {"seen": True} for row in now), now.per_query, now.top_k)
    result = gate(seen, finding(0.5), questions())
    assert result.outcome == "cannot tell"
    assert result.reason.startswith(f"{N_QUERIES} of the questions were seen")


def test_a_stored_evaluation_comes_back_equal(tmp_path: Path) -> None:
    evaluation = finding(0.3)
    save_evaluation(evaluation, questions(), tmp_path / "before.json", model="function")
    back, file = load_evaluation(tmp_path / "before.json", questions())
    assert list(back) == list(evaluation)
    assert back.metrics == evaluation.metrics
    assert all(np.array_equal(back.per_query[name], evaluation.per_query[name]) for name in evaluation.per_query)
    assert file.model == "function"


def test_a_baseline_of_other_questions_is_refused(tmp_path: Path) -> None:
    save_evaluation(finding(0.3), questions(), tmp_path / "before.json", model="function")
    other = questions()
    other = QADataset({**other.queries, "q0": "another question"}, other.corpus, other.relevant_docs)
    with pytest.raises(EvaluationError, match="is of another data set: its queries differ"):
        load_evaluation(tmp_path / "before.json", other)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"kind": "report"}', "no json"])
def test_a_file_that_is_no_evaluation_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "before.json").write_text(text)
    with pytest.raises(EvaluationError, match=re.escape("before.json' is no evaluation of embedtune")):
        load_evaluation(tmp_path / "before.json", questions())


@pytest.mark.parametrize(("before", "now", "status"), [(0.5, 0.5, 0), (0.8, 0.5, 1), (0.5, 0.49, 3)])
def test_the_exit_status_is_the_outcome(cli: Cli, before: float, now: float, status: int) -> None:
    run_file(Path("before.run"), before)
    run_file(Path("now.run"), now)
    assert cli("evaluate", "questions.json", "--model", "before.run", "--json", "before.json")[0] == 0
    words = ("gate", "questions.json", "--model", "now.run", "--baseline", "before.json", "--json", "gate.json")
    got, out, _ = cli(*words)
    assert got == status
    assert "Baseline: before.run" in out
    written = json.loads(Path("gate.json").read_text())
    assert written["outcome"] in out
    assert {"verdict", "rows"} <= set(written)


def test_what_cannot_be_tried_exits_as_a_usage_error(cli: Cli) -> None:
    """1 would read as a model that is worse."""
    status, _, err = cli("gate", "questions.json", "--model", "now.run", "--baseline", "nowhere.json")
    assert status == 2
    assert "There is no evaluation at 'nowhere.json'. Write one with: embedtune evaluate" in err


@pytest.mark.parametrize("words", [("--seed", "-1"), ("--baseline", "."), ("--margin", "-1")])
def test_bad_options_exit_as_usage_errors(cli: Cli, words: tuple[str, str]) -> None:
    run_file(Path("now.run"), 0.5)
    cli("evaluate", "questions.json", "--model", "now.run", "--json", "before.json")
    given = {"--baseline": "before.json"} | dict([words])
    options = [word for pair in given.items() for word in pair]
    status, _, err = cli("gate", "questions.json", "--model", "now.run", *options)
    assert status == 2
    assert "Traceback" not in err


def test_a_bug_is_no_worse_model(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python's own exit status for an exception is 1."""
    run_file(Path("now.run"), 0.5)
    cli("evaluate", "questions.json", "--model", "now.run", "--json", "before.json")
    monkeypatch.setattr("embedtune.cli.evaluation_commands.gate", lambda *_, **__: 1 / 0)
    status, _, err = cli("gate", "questions.json", "--model", "now.run", "--baseline", "before.json")
    assert status == 2
    assert "ZeroDivisionError" in err


@pytest.mark.parametrize(
    ("place", "value"), [(("per_query", "hit_rate@5", 0), "NaN"), (("rows", 0, "rank"), '"one"'), (("top_k",), "0")]
)
def test_a_baseline_with_figures_that_are_none_is_refused(tmp_path: Path, place: Sequence[Any], value: str) -> None:
    save_evaluation(finding(0.3), questions(), tmp_path / "before.json", model="function")
    content = json.loads((tmp_path / "before.json").read_text())
    inner = content
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = json.loads(value)
    (tmp_path / "before.json").write_text(json.dumps(content))
    with pytest.raises(EvaluationError, match="is no evaluation of embedtune"):
        load_evaluation(tmp_path / "before.json", questions())


def test_compare_takes_two_run_files(cli: Cli) -> None:
    run_file(Path("before.run"), 0.3)
    run_file(Path("now.run"), 0.6)
    words = ("compare", "questions.json", "--base", "before.run", "--tuned", "now.run", "--json", "compared.json")
    status, out, _ = cli(*words)
    assert status == 0
    assert "ship" in out
    assert json.loads(Path("compared.json").read_text())["verdict"] == "ship"


def test_figures_go_through_a_pipe_and_a_link_and_never_replace_them(cli: Cli, tmp_path: Path) -> None:
    """A file in place of /dev/stdout would break every program after it."""
    run_file(Path("now.run"), 0.5)
    words = ("evaluate", "questions.json", "--model", "now.run", "--json")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "figures.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "figures.json")
    assert cli(*words, "link.json")[0] == 0
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "real" / "figures.json").read_text())["top_k"] == 5
    os.mkfifo(tmp_path / "pipe")
    compared = ("compare", "questions.json", "--base", "now.run", "--tuned", "now.run", "--json", "pipe")
    with ThreadPoolExecutor() as pool:
        read = pool.submit((tmp_path / "pipe").read_text)
        assert cli(*compared)[0] == 0
        assert "verdict" in json.loads(read.result())
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


def test_the_table_fits_into_80_columns() -> None:
    found = summarise({"reranked_hybrid": (finding(0.3), finding(0.6))}, questions(), 5)
    told = io.StringIO()
    Console(file=told, width=80).print(comparison_table(found))
    (row,) = (line.split() for line in told.getvalue().splitlines() if "hit_rate@5" in line)
    assert row[:4] + row[7:] == ["hit_rate@5", "0.300", "0.600", "+0.300", "<0.0001"]
    assert "…" not in told.getvalue()
    assert "reranked_hybrid" in told.getvalue()
