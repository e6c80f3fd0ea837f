"""``embedtune generate`` from documents to a data set, over real sockets."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedtune import QADataset
from embedtune.cli import main
from fault_server import Faults, FaultServer, fault_server

N_DOCS = 6


@dataclass
class Shell:
    """Runs the command as a user would, in this process."""

    server: FaultServer
    run: Callable[..., tuple[int, str, str]]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    (tmp_path / "docs").mkdir()
    for number in range(N_DOCS):
        text = f"# Guide\n\nA text on chunk-number-{number}, and what it is for.\n"
        (tmp_path / "docs" / f"{number}.md").write_text(text, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-of-the-command-line")

    def run(*options: str) -> tuple[int, str, str]:
        words = ["embedtune", "generate", "docs", "--out", "made.json", "--llm", "openai:m", *options]
        monkeypatch.setattr(sys, "argv", words)
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    with fault_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        yield Shell(server, run)


def test_a_folder_of_documents_becomes_a_data_set_with_its_report(shell: Shell) -> None:
    status, out, _ = shell.run("--prices", "1,4", "--json", "figures.json")
    assert status == 0
    assert f"{2 * N_DOCS} of {2 * N_DOCS} asked for, on {N_DOCS} chunks" in out
    dataset = QADataset.load("made.json")
    assert len(dataset) == 2 * N_DOCS
    assert dataset.report is not None
    assert dataset.report.model_dump(mode="json") == json.loads(Path("figures.json").read_text())
    assert {path.name for path in Path.cwd().iterdir()} == {
        *("docs", "made.json", "made.json.report.json", "made.json.journal.jsonl", "figures.json"),
    }


def test_the_key_is_in_no_file_and_no_output(shell: Shell) -> None:
    _, out, err = shell.run()
    assert "sk-of-the-command-line" not in out + err
    assert not [path for path in Path.cwd().rglob("*") if path.is_file() and b"sk-of-the" in path.read_bytes()]


def test_an_estimate_sends_nothing_and_needs_no_key(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.delenv("OPENAI_BASE_URL")
    status, out, _ = shell.run("--estimate", "--prices", "1,4", "--requests-per-minute", "60")
    assert status == 0
    assert f"{N_DOCS} requests on {N_DOCS} chunks" in out
    assert "0.1 minutes at the limits" in out
    assert shell.server.log == []
    assert [path.name for path in Path.cwd().iterdir()] == ["docs"]


def test_the_journal_of_an_earlier_run_is_used_only_when_told(shell: Shell) -> None:
    shell.run()
    status, _, err = shell.run()
    assert status == 1
    assert f"holds {N_DOCS} answers and 0 batches of an earlier run. Use them with --resume" in err
    status, out, _ = shell.run("--resume")
    assert status == 0
    assert f"{N_DOCS} answers from the journal" in out
    assert len(shell.server.log) == N_DOCS


def test_a_limit_ends_early_and_a_higher_one_goes_on(shell: Shell) -> None:
    status, out, _ = shell.run("--max-requests", "4")
    assert status == 0
    assert "max_requests=4 is reached" in out
    assert len(QADataset.load("made.json")) == 8
    shell.run("--resume", "--max-requests", "100")
    assert len(QADataset.load("made.json")) == 2 * N_DOCS
    assert len(shell.server.log) == N_DOCS


def test_a_cost_limit_without_prices_is_refused_before_any_request(shell: Shell) -> None:
    status, _, err = shell.run("--max-cost", "5")
    assert status == 2
    assert "--max-cost: needs --prices READ,WRITTEN, per million tokens" in " ".join(err.replace("│", " ").split())
    assert shell.server.log == []


def test_a_target_that_is_not_ours_is_refused_before_any_request(shell: Shell) -> None:
    Path("made.json").mkdir()
    status, _, err = shell.run()
    assert status == 1
    assert "is a folder; the format 'json' is one file" in err
    assert shell.server.log == []


@pytest.mark.parametrize("option", ["--json", "--journal"])
def test_two_options_on_one_file_are_refused_before_any_request(shell: Shell, option: str) -> None:
    """The second to be written would destroy the first, which may have cost money."""
    status, _, err = shell.run(option, "made.json")
    assert status == 2
    assert "both name 'made.json'" in err
    assert shell.server.log == []


def test_the_judge_is_asked_where_the_llm_is(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is kept on a server of one's own must not go elsewhere."""
    monkeypatch.delenv("OPENAI_BASE_URL")
    status, out, _ = shell.run("--base-url", shell.server.url, "--judge", "openai:judge")
    assert status == 0
    assert "requests (judge)" in out
    assert len(shell.server.done("answered")) == 2 * N_DOCS


def test_the_estimate_counts_the_judge(shell: Shell) -> None:
    _, out, _ = shell.run("--estimate", "--judge", "openai:judge")
    assert f"{2 * N_DOCS} requests on {N_DOCS} chunks" in out


def test_a_batch_is_submitted_and_collected_later(shell: Shell) -> None:
    shell.server.faults = Faults(batch_polls=2)
    status, out, _ = shell.run("--batch")
    assert status == 75
    assert "Collect it with the same command and --resume" in out
    assert not Path("made.json").exists()
    statuses = [shell.run("--resume")[0] for _ in range(3)]
    assert 0 in statuses
    assert len(QADataset.load("made.json")) == 2 * N_DOCS
    assert len(shell.server.done()) == 0, "no chunk was asked for outside of the batch"
    assert len([entry for entry in shell.server.log if entry.path == "/v1/batches#line"]) == N_DOCS


def test_a_used_up_quota_says_so_and_keeps_what_was_answered(shell: Shell) -> None:
    shell.server.faults = Faults(quota_after=3)
    status, _, err = shell.run("--concurrency", "1")
    assert status == 1
    assert "quota" in err
    assert "3 answers are in made.json.journal.jsonl; the same command with --resume goes on" in err
    shell.server.faults = Faults()
    assert shell.run("--resume")[0] == 0
    assert len(shell.server.done("answered")) == N_DOCS


def test_a_server_that_is_not_there_is_told_without_a_word_of_answers(shell: Shell) -> None:
    status, _, err = shell.run("--base-url", "http://127.0.0.1:9/v1")
    assert status == 1
    assert "did not answer" in err
    assert "--resume" not in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--prices", "cheap"), "--prices takes two numbers"),
        (("--styles", "funny=1"), "styles must map natural, keyword, misspelt"),
        (("--styles", "natural"), "--styles takes NAME=SHARE"),
        (("--text", "body"), "is no table, so it has no columns"),
    ],
)
def test_options_that_cannot_be_meant_are_refused(shell: Shell, options: tuple[str, ...], message: str) -> None:
    status, _, err = shell.run(*options)
    assert status != 0
    assert message in " ".join(err.replace("│", " ").split())
    assert shell.server.log == []


@pytest.mark.slow
def test_control_c_says_how_to_go_on(shell: Shell) -> None:
    shell.server.faults = Faults(latency=0.6)
    words = [sys.executable, "-m", "embedtune", "generate", "docs", "--out", "made.json", "--llm", "openai:m"]
    # A shell starts jobs in the background with SIGINT ignored, and so would the child be.
    process = subprocess.Popen(
        [*words, "--concurrency", "1"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    while len(shell.server.done("answered")) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate()
    assert process.returncode == 130
    assert "the same command with --resume goes on from there" in err
    assert "Traceback" not in err
    shell.server.faults = Faults()
    n_before = len(shell.server.done("answered"))
    assert shell.run("--resume")[0] == 0
    assert len(shell.server.done("answered")) - n_before <= N_DOCS - n_before + 1
