"""A gate against a stored evaluation, in the library and on the command line."""

import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from embedtune import Evaluation, EvaluationError, QADataset, evaluate
from embedtune.cli import main
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


def test_compare_takes_two_run_files(cli: Cli) -> None:
    run_file(Path("before.run"), 0.3)
    run_file(Path("now.run"), 0.6)
    words = ("compare", "questions.json", "--base", "before.run", "--tuned", "now.run", "--json", "compared.json")
    status, out, _ = cli(*words)
    assert status == 0
    assert "ship" in out
    assert json.loads(Path("compared.json").read_text())["verdict"] == "ship"
