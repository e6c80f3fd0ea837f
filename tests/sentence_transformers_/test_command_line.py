"""``embedtune tune`` and ``embedtune plugins``, as typed."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from embedtune import ModelRecord, QADataset, TuneResult, __version__, read_record
from embedtune.cli.tables import tuning_table
from embedtune.cli.tune_command import _tuner_options
from embedtune.tuner import ValidationPoint


def run(*arguments: object, folder: Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "embedtune", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_tune_writes_the_model_and_the_figures(small_model: Path, code_words: QADataset, tmp_path: Path) -> None:
    code_words.save(tmp_path / "words", format="beir")
    given = ("--base", small_model, "--out", "tuned", "--epochs", 1, "--json", "figures.json")
    done = run("tune", "words", *given, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "tuned")
    assert record is not None
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["path"] == str(tmp_path / "tuned")
    assert figures["record"]["fingerprint"] == record.fingerprint
    assert [(point["step"], point["share"]) for point in figures["history"]] == [(0, 1), (2, 1), (2, 0.5)]
    assert f"{record.metrics_after['ndcg@10']:.3f}" in done.stdout


@pytest.mark.slow
def test_the_adapter_is_tuned_dry_and_in_earnest_and_loads_by_its_folder(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    code_words.save(tmp_path / "words", format="beir")
    given = ("tune", "words", "--base", small_model, "--out", "adapter", "--method", "adapter")
    dry = run(*given, "--dry-run", folder=tmp_path)
    assert dry.returncode == 0, dry.stderr
    n_queries, n_chunks = len(set(code_words.queries.values())), len(set(code_words.corpus.values()))
    assert f"embeds {n_queries + 1} queries and {n_chunks} chunks" in " ".join(dry.stdout.split())
    assert not (tmp_path / "adapter").exists()
    done = run(*given, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    record = read_record(tmp_path / "adapter")
    assert record is not None
    assert (record.tuner, record.base_model) == ("adapter", str(small_model))
    compared = run(
        *("compare", "words", "--base", small_model, "--tuned", "adapter", "--json", "figures.json"), folder=tmp_path
    )
    assert compared.returncode == 0, compared.stderr
    assert json.loads((tmp_path / "figures.json").read_text())["settings"]["tuned"]["fingerprint"] == record.fingerprint


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--method", "adapter", "--tuner", "adapter"), "chooses the tuner, and so does --method: give one of them"),
        (("--method", "magic"), "'magic' is not one of 'full', 'lora', 'adapter', 'reranker'"),
        (("--embedder", "x"), "has no option 'embedder'"),
        (("--method", "adapter", "--option", "learning_rate=1"), "AdapterTuner has no option 'learning_rate'"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(given: tuple[str, ...], message: str, tmp_path: Path) -> None:
    code = QADataset({"a": "x?", "b": "y?"}, {"c": "x", "d": "y"}, {"a": ["c"], "b": ["d"]})
    code.save(tmp_path / "words.json")
    done = run("tune", "words.json", "--base", "base/model", "--out", "tuned", *given, folder=tmp_path)
    assert done.returncode != 0
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_a_dry_run_tells_what_it_would_take_in_80_columns_and_writes_nothing(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    split = code_words.split(val=0.3, test=0)
    split.train.save(tmp_path / "words.json")
    assert split.val is not None
    split.val.save(tmp_path / "chooses.json")
    before = sorted(tmp_path.rglob("*"))
    tune = ("tune", "words.json", "--val", "chooses.json", "--base", small_model, "--out", "tuned", "--epochs", 2)
    done = run(*tune, "--option", "batch_size=8", "--dry-run", "--json", "figures.json", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "figures.json"])
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["n_validation_queries"] == len(split.val)
    assert figures["n_steps"] == 2 * -(-len(split.train) // 8)
    assert f"{figures['n_steps']} of up to {figures['batch_size']} chunks each" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    for told in ("pairs", "precision", "minutes", "MiB and more", "MiB beside the target"):
        assert told in done.stdout


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("batch_size", "takes NAME=VALUE, as in batch_size=32; got 'batch_size'"),
        ("epochs=3", "'epochs' is no option of a tuner: it is given by --epochs"),
    ],
)
def test_an_option_that_is_none_is_refused_before_anything(given: str, message: str, tmp_path: Path) -> None:
    done = run("tune", "nowhere.json", "--base", "m", "--out", "tuned", "--option", given, folder=tmp_path)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.replace("│", " ").split())


@pytest.mark.slow
def test_an_option_that_the_tuner_lacks_is_named_with_those_it_has(
    small_model: Path, code_words: QADataset, tmp_path: Path
) -> None:
    code_words.save(tmp_path / "words.json")
    tune = ("tune", "words.json", "--base", small_model, "--out", "tuned", "--dry-run")
    done = run(*tune, "--option", "batchsize=8", folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no option 'batchsize'" in done.stderr
    assert "batch_size" in done.stderr


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("32", 32),
        ("5e-5", 5e-5),
        ("True", True),
        ("false", False),
        ("None", None),
        ("[256, 128]", (256, 128)),
        ("(256, 128)", (256, 128)),
        ("256,128", (256, 128)),
        ("bf16", "bf16"),
        ("a=b", "a=b"),
    ],
)
def test_the_value_of_an_option_is_json_or_a_text(text: str, value: object) -> None:
    assert _tuner_options([f"name={text}"]) == {"name": value}


def test_the_table_names_the_candidates_between_and_the_one_that_was_kept() -> None:
    lines = printed(tuning_table(tuned(chosen_step=12, chosen_share=0.5)))
    assert [line for line in lines if "50% of the way to step 12 *" in line]
    assert [line for line in lines if line.split()[:2] == ["step", "12"]]
    assert "* kept" in " ".join(lines)


def test_the_table_says_why_the_base_was_kept() -> None:
    reason = "no candidate had a better ndcg@10 on the 9 validation queries"
    lines = printed(tuning_table(tuned(chosen_step=0, kept_base=True, kept_base_reason=reason)))
    assert [line for line in lines if line.split()[:2] == ["base", "*"]]
    assert reason in " ".join(" ".join(lines).split())


def tuned(**chosen: Any) -> TuneResult:
    metrics = {"ndcg@10": 0.5, "hit_rate@5": 0.5, "mrr@10": 0.5}
    record = ModelRecord.model_construct(
        **({"chosen_share": 1.0, "kept_base": False, "kept_base_reason": None} | chosen)
    )
    points = [(0, 0.0, 1.0), (12, 1.0, 1.0), (12, 1.0, 0.5)]
    history = tuple(ValidationPoint(step, epoch, metrics, share) for step, epoch, share in points)
    return TuneResult(path=Path("m"), record=record, history=history, n_pairs=9, truncated_share=0.0, seconds=1.0)


def printed(table: Table) -> list[str]:
    """At 80 columns."""
    console = Console(width=80, file=io.StringIO())
    console.print(table)
    return str(console.file.getvalue()).splitlines()


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
