"""``embedtune evaluate``, ``compare``, ``report`` and ``gate``: how good a model is, and whether another is better."""

import sys
import traceback
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from embedtune.cli.options import Json, Seed, stoppable, write_json
from embedtune.cli.tables import WIDE, comparison_table, evaluation_table, findings_table
from embedtune.comparison import Comparison, compare
from embedtune.dataset import QADataset
from embedtune.errors import EmbedtuneError
from embedtune.evaluation import Evaluation, evaluate
from embedtune.evaluation_files import load_evaluation, save_evaluation
from embedtune.foreign_searches import run_file_path
from embedtune.gate import gate
from embedtune.resolve import as_embedder, record_of

__all__ = ["compare_command", "evaluate_command", "gate_command", "report_command", "show_comparison"]

P = ParamSpec("P")
T = TypeVar("T")

console = Console()

_EXIT_STATUS = {"pass": 0, "worse": 1, "cannot tell": 3}
_USAGE = 2
"""Exit status of what was asked for wrongly; typer has the same."""

_QUESTIONS = "Questions that no compared model was trained on: Lance folder, BEIR folder, .json, .csv."
_MODEL = "Model: folder, hub name, backend:ref; or a TREC run file of another search."

Questions = Annotated[Path, typer.Argument(metavar="DATASET", help=_QUESTIONS)]
Split = Annotated[str | None, typer.Option(help="Which judgments, in a BEIR folder.")]
TopK = Annotated[int, typer.Option(min=1, help="Cut-off of the hit rate.")]
Margin = Annotated[float, typer.Option(min=0.0, help="A difference that does not matter: 0.01 is one point.")]
Cache = Annotated[Path | None, typer.Option(file_okay=False, help="Folder that keeps vectors and scores.")]
Base = Annotated[str, typer.Option(help=f"Before. {_MODEL}")]
Tuned = Annotated[str, typer.Option(help=f"After. {_MODEL}")]
QueryTypes = Annotated[str, typer.Option(help="Comma-separated: vector, fts, hybrid, each also as reranked_vector.")]
Reranker = Annotated[str | None, typer.Option(help="Reranker: folder, hub name, backend:ref.")]
Depth = Annotated[int, typer.Option(min=1, help="Results that are reranked.")]
Engine = Annotated[str | None, typer.Option(help="Search engine, such as lancedb.")]
_STOPPED = "nothing was written; with --cache what was embedded is kept, but for the last few hundred texts"


def evaluate_command(
    dataset: Questions,
    model: Annotated[str, typer.Option(help=_MODEL)],
    split: Split = None,
    top_k: TopK = 5,
    cache: Cache = None,
    json_file: Json = None,
) -> None:
    """Tell how well a model finds the relevant chunks; --json writes what a gate holds later models against."""
    questions = QADataset.load(dataset, split=split)
    with stoppable(_STOPPED):
        evaluation, fingerprint, _ = _evaluated(model, questions, top_k, cache)
    if json_file is not None:
        save_evaluation(evaluation, questions, json_file, model=model, fingerprint=fingerprint)
    console.print(evaluation_table(evaluation))


def compare_command(
    dataset: Questions,
    base: Base,
    tuned: Tuned,
    split: Split = None,
    query_types: QueryTypes = "vector",
    top_k: TopK = 5,
    margin: Margin = 0.01,
    reranker: Reranker = None,
    depth: Depth = 50,
    engine: Engine = None,
    cache: Cache = None,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Ask both models the same questions over each way of searching, and tell whether the difference is real."""
    questions = QADataset.load(dataset, split=split)
    with stoppable(_STOPPED):
        comparison = _compared(questions, base, tuned, query_types, top_k, margin, reranker, depth, engine, cache, seed)
    if json_file is not None:
        write_json(json_file, comparison.to_json())
    show_comparison(comparison)


def report_command(
    dataset: Questions,
    base: Base,
    tuned: Tuned,
    out: Annotated[Path, typer.Option(help="Folder of the report: a page, Markdown, JSON, TREC files.")],
    split: Split = None,
    query_types: QueryTypes = "vector",
    top_k: TopK = 5,
    margin: Margin = 0.01,
    reranker: Reranker = None,
    depth: Depth = 50,
    engine: Engine = None,
    cache: Cache = None,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """As compare, and write it down: a page for the browser, with the questions that were won and lost."""
    from embedtune.report import check_report_folder, write_report  # jinja2 and plotly, of the extra "report"

    check_report_folder(out)
    questions = QADataset.load(dataset, split=split)
    with stoppable(_STOPPED):
        comparison = _compared(questions, base, tuned, query_types, top_k, margin, reranker, depth, engine, cache, seed)
        page = write_report(comparison, questions, out)
    if json_file is not None:
        write_json(json_file, comparison.to_json())
    show_comparison(comparison)
    console.print(f"Report: {page}", highlight=False, soft_wrap=True)


def _errors_are_usage(command: Callable[P, T]) -> Callable[P, T]:
    """1 and 3 are verdicts of a gate: what it cannot do must not look like one."""

    @wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except typer.Exit:
            raise
        except (EmbedtuneError, OSError) as error:
            sys.stderr.write(f"embedtune: {error}\n")
            raise typer.Exit(_USAGE) from None
        except Exception:  # a bug: Python would exit with 1, which says worse
            traceback.print_exc()
            raise typer.Exit(_USAGE) from None

    return wrapped


@_errors_are_usage
def gate_command(
    dataset: Questions,
    model: Annotated[str, typer.Option(help=_MODEL)],
    baseline: Annotated[Path, typer.Option(help="What embedtune evaluate --json wrote of the model before.")],
    split: Split = None,
    margin: Margin = 0.01,
    cache: Cache = None,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """For CI: is the model worse than a stored baseline by more than the margin?

    Exit status: 0 no, 1 yes, 3 these questions cannot tell, 2 it could not be tried.
    """
    questions = QADataset.load(dataset, split=split)
    before, stored = load_evaluation(baseline, questions)
    with stoppable(_STOPPED):
        evaluation, fingerprint, is_known = _evaluated(model, questions, before.top_k, cache)
    is_one = fingerprint is not None and fingerprint == stored.fingerprint
    result = gate(evaluation, before, questions, margin=margin, seed=seed, is_one_model=is_one)
    if json_file is not None:
        write_json(json_file, {"outcome": result.outcome, **result.comparison.to_json(), "reason": result.reason})
    console.print(f"[bold]{result.outcome}[/bold]: {result.reason}", highlight=False, soft_wrap=True)
    same = ", the same model by its fingerprint" if is_one else ""
    console.print(f"Baseline: {stored.model}{same}", highlight=False, markup=False, soft_wrap=True)
    if not is_known:
        note = "Note: what it was trained on is not known; if on these questions, they prove nothing."
        console.print(note, highlight=False, soft_wrap=True)
    raise typer.Exit(_EXIT_STATUS[result.outcome])


def _evaluated(model: str, questions: QADataset, top_k: int, cache: Path | None) -> tuple[Evaluation, str | None, bool]:
    """The evaluation, the model's fingerprint if it is a model, and whether it tells what it was trained on."""
    if run_file_path(model) is not None:
        return evaluate(model, questions, top_k), None, False
    embedder = as_embedder(model)
    is_known = record_of(embedder) is not None
    return evaluate(embedder, questions, top_k, cache=cache), embedder.fingerprint, is_known


def _compared(
    questions: QADataset,
    base: str,
    tuned: str,
    query_types: str,
    top_k: int,
    margin: float,
    reranker: str | None,
    depth: int,
    engine: str | None,
    cache: Path | None,
    seed: int,
) -> Comparison:
    names = tuple(name.strip() for name in query_types.split(",") if name.strip())
    more: dict[str, Any] = {"reranker": reranker, "depth": depth, "engine": engine, "cache": cache, "seed": seed}
    return compare(base, tuned, questions, names, top_k, margin=margin, **more)


def show_comparison(comparison: Comparison) -> None:
    """Table, verdict, notes and findings."""
    console.print(comparison_table(comparison, is_wide=console.width >= WIDE))
    console.print(f"[bold]{comparison.verdict}[/bold]: {comparison.reason}", highlight=False)
    for note in comparison.notes:
        console.print(f"Note: {note}", highlight=False, markup=False)
    if comparison.findings:
        console.print(findings_table(comparison))
