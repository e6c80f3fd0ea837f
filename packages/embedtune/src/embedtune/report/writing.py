"""The report's files, each written whole or not at all."""

from collections.abc import Iterable
from pathlib import Path

from embedtune.comparison import Comparison
from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.folders import check_target, replace_file, replace_folder
from embedtune.report.changes import question_rows
from embedtune.report.contents import Contents
from embedtune.report.escaping import in_json
from embedtune.report.in_markdown import as_markdown
from embedtune.report.page import check_libraries, html_page
from embedtune.report.trec import QRELS, RUNS, write_trec

__all__ = ["check_report_folder", "write_page", "write_report"]

_PAGE, _MARKDOWN, _FIGURES, _QUESTIONS = "report.html", "report.md", "comparison.json", "queries.jsonl"
_OURS = {_PAGE, _MARKDOWN, _FIGURES, _QUESTIONS, QRELS, RUNS}


def check_report_folder(folder: str | Path) -> None:
    """Refuse before the models are compared what `write_report` would refuse after it.

    Args:
        folder: Where the report is to go.

    Raises:
        BackendNotFoundError: If jinja2 or plotly is missing.
        ModelFolderError: If the folder holds anything but a report.
    """
    check_libraries()
    check_target(Path(folder).expanduser().absolute(), _is_ours)


def write_report(
    comparison: Comparison,
    dataset: QADataset,
    folder: str | Path,
    *,
    base_name: str = "base",
    tuned_name: str = "tuned",
) -> Path:
    """Write a comparison in all its forms to one folder.

    ``report.html`` is the page, as of `write_page`; ``report.md`` the same figures as Markdown; ``comparison.json``
    those of `Comparison.to_json`; ``queries.jsonl`` each question with both models' ranks and results; ``runs`` and
    ``qrels.txt`` what `write_trec` writes. A crash leaves the old folder whole, or the new one.

    Args:
        comparison: What is reported.
        dataset: The data set that it was made on.
        folder: New, empty, or an earlier report, which is replaced.
        base_name: What to call the model before.
        tuned_name: What to call the model after.

    Returns:
        The absolute path of ``report.html``.

    Raises:
        BackendNotFoundError: If jinja2 or plotly is missing.
        EvaluationError: If the comparison was made on other questions.
        ModelFolderError: If the folder holds anything else.
    """
    check_report_folder(folder)
    _check_questions(comparison, dataset)
    contents = Contents(comparison, (base_name, tuned_name), dataset)
    folder = Path(folder).expanduser().absolute()
    with replace_folder(folder, _is_ours) as new:
        _write(new / _PAGE, [html_page(contents, dataset)])
        _write(new / _MARKDOWN, [as_markdown(contents)])
        _write(new / _FIGURES, [in_json(comparison.to_json(), indent=1), "\n"])
        _write(new / _QUESTIONS, (f"{in_json(row)}\n" for row in question_rows(comparison)))
        write_trec(comparison, dataset, new)
    return folder / _PAGE


def write_page(
    comparison: Comparison,
    dataset: QADataset,
    path: str | Path,
    *,
    base_name: str = "base",
    tuned_name: str = "tuned",
) -> Path:
    """Write a comparison as one HTML file, below 10 MB, that opens anywhere and asks no network.

    It lists at most 2,000 of the questions that changed, the won and lost ones first, with the texts of what both
    models retrieved, cut at 500 characters.

    Args:
        comparison: What is reported.
        dataset: The data set that it was made on.
        path: The file; an existing one is replaced.
        base_name: What to call the model before.
        tuned_name: What to call the model after.

    Returns:
        The file's absolute path.

    Raises:
        BackendNotFoundError: If jinja2 or plotly is missing.
        EvaluationError: If the comparison was made on other questions.
    """
    check_libraries()
    _check_questions(comparison, dataset)
    path = Path(path).expanduser().absolute()
    with replace_file(path) as partial:
        _write(partial, [html_page(Contents(comparison, (base_name, tuned_name), dataset), dataset)])
    return path


def _check_questions(comparison: Comparison, dataset: QADataset) -> None:
    asked = [row["query_id"] for row in comparison.evaluations[comparison.primary][0]]
    if asked != list(dataset.queries):
        raise EvaluationError(
            f"The comparison was made on {len(asked)} questions, and the data set holds {len(dataset)} or others, or "
            "has another order. Give the data set that compare() was given."
        )


def _write(path: Path, parts: Iterable[str]) -> None:
    with open(path, "w", encoding="utf-8", newline="\n") as file:
        file.writelines(parts)


def _is_ours(folder: Path) -> bool:
    names = {entry.name for entry in folder.iterdir()}
    return names == _OURS and all(entry.suffix == ".run" for entry in (folder / RUNS).iterdir())
