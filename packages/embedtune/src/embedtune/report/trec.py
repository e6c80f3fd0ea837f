"""Run and qrels files, as trec_eval, ir_measures and ranx read them."""

from collections.abc import Iterator
from pathlib import Path

from embedtune.comparison import Comparison
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation
from embedtune.folders import replace_file
from embedtune.judging import Judge
from embedtune.report.escaping import in_trec

__all__ = ["QRELS", "RUNS", "write_trec"]

QRELS = "qrels.txt"
"""The file of judgments."""
RUNS = "runs"
"""The folder of rankings."""


def write_trec(comparison: Comparison, dataset: QADataset, folder: str | Path) -> None:
    """Write ``qrels.txt`` and, in ``runs``, each query type's ``.base.run`` and ``.tuned.run``.

    Ids are percent-encoded, as they may hold white space. Scores fall strictly, since the tools sort by score and
    not by rank; they say nothing else. Chunks of equal text stand as one, so that metrics come out as ours. Grades
    that are whole numbers are written as such: trec_eval reads no others.

    Args:
        comparison: The rankings, down to the largest cut-off.
        dataset: The judgments.
        folder: Where the files go; those of the same names are replaced.
    """
    folder = Path(folder).expanduser()
    _write(folder / QRELS, _judgments(dataset, comparison.top_k))
    for query_type, evaluations in comparison.evaluations.items():
        for name, evaluation in zip(("base", "tuned"), evaluations, strict=True):
            _write(folder / RUNS / f"{in_trec(query_type).replace('/', '%2F')}.{name}.run", _ranking(evaluation, name))


def _write(path: Path, lines: Iterator[str]) -> None:
    with replace_file(path) as partial, open(partial, "w", encoding="ascii", newline="\n") as file:
        file.writelines(f"{line}\n" for line in lines)


def _judgments(dataset: QADataset, top_k: int) -> Iterator[str]:
    for query, grades in zip(dataset.queries, Judge(dataset, top_k, ()).grades, strict=True):
        for chunk, grade in grades.items():
            yield f"{in_trec(query)} 0 {in_trec(chunk)} {int(grade) if grade.is_integer() else grade}"


def _ranking(evaluation: Evaluation, tag: str) -> Iterator[str]:
    for row, found in zip(evaluation, evaluation.rankings, strict=True):
        for rank, chunk in enumerate(found, 1):
            yield f"{in_trec(row['query_id'])} Q0 {in_trec(chunk)} {rank} {len(found) - rank + 1} {tag}"
