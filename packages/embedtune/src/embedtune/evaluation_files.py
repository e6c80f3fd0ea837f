"""An evaluation as a file: what a later one is held against."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, FiniteFloat, PositiveInt, ValidationError

from embedtune.dataset import QADataset
from embedtune.errors import EvaluationError
from embedtune.evaluation import Evaluation
from embedtune.folders import write_file

__all__ = ["EvaluationFile", "load_evaluation", "save_evaluation"]


class EvaluationRow(BaseModel):
    """A query's row without its texts; see `Evaluation`."""

    model_config = ConfigDict(frozen=True)

    query_id: str
    retrieved: list[str]
    rank: PositiveInt | None
    is_hit: bool
    seen: bool


class EvaluationFile(BaseModel):
    """All that the file says. Texts are in the data set alone; hashes tell whether it is still the same one."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["evaluation"] = "evaluation"
    format_version: Literal[1] = 1
    model: str
    """As it was given."""
    fingerprint: str | None = None
    """Of the model, where it is known."""
    top_k: PositiveInt
    depth: int | None = None
    metrics: Mapping[str, FiniteFloat]
    """Means, for readers; `per_query` is what counts."""
    rows: tuple[EvaluationRow, ...]
    """Of each query, in the order of the data set."""
    per_query: Mapping[str, tuple[FiniteFloat, ...]]
    failed_queries: tuple[str, ...] = ()
    questions: Mapping[str, str]
    """Hashes of the data set's queries, corpus and relevant chunks."""


def save_evaluation(
    evaluation: Evaluation, dataset: QADataset, path: str | Path, *, model: str, fingerprint: str | None = None
) -> None:
    """Write an evaluation to a JSON file; a crash leaves an old one whole.

    Args:
        evaluation: Of ``dataset``.
        dataset: The questions.
        path: The file.
        model: What readers know the model by.
        fingerprint: The model's.
    """
    file = EvaluationFile(
        model=model,
        fingerprint=fingerprint,
        top_k=evaluation.top_k,
        depth=evaluation.depth,
        metrics=dict(evaluation.metrics),
        rows=tuple(EvaluationRow.model_validate(row) for row in evaluation),
        per_query={name: tuple(values.tolist()) for name, values in evaluation.per_query.items()},
        failed_queries=evaluation.failed_queries,
        questions=_question_hashes(dataset),
    )
    write_file(Path(path), file.model_dump_json(indent=1) + "\n")


def load_evaluation(path: str | Path, dataset: QADataset) -> tuple[Evaluation, EvaluationFile]:
    """Read an evaluation of the same data set.

    Raises:
        EvaluationError: If there is none, it cannot be read, or it is of other questions.
    """
    file = _read(Path(path).expanduser())
    now = _question_hashes(dataset)
    if other := [name for name in now if file.questions.get(name) != now[name]]:
        raise EvaluationError(
            f"{str(path)!r} is of another data set: its {', '.join(other)} differ. Figures on different questions or "
            "chunks do not compare; evaluate the old model on this data set once more."
        )
    rows = tuple(
        {
            "query": dataset.queries[row.query_id],
            "expected": list(dataset.relevant_docs[row.query_id]),
            **row.model_dump(),
        }
        for row in file.rows
    )
    values = {name: np.array(column, dtype=np.float64) for name, column in file.per_query.items()}
    return Evaluation(rows, values, file.top_k, file.failed_queries, file.depth), file


def _read(path: Path) -> EvaluationFile:
    try:
        file = EvaluationFile.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        raise EvaluationError(
            f"There is no evaluation at {str(path)!r}. Write one with: embedtune evaluate DATASET --model MODEL --json "
            f"{path.name}"
        ) from None
    except OSError as error:
        raise EvaluationError(f"{str(path)!r} cannot be read: {error.strerror}. Give the file.") from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise EvaluationError(f"{str(path)!r} is no evaluation of embedtune: {place}: {first['msg']}.") from error
    if any(len(column) != len(file.rows) for column in file.per_query.values()):
        raise EvaluationError(f"{str(path)!r} is damaged: its columns differ in length.")
    return file


def _question_hashes(dataset: QADataset) -> dict[str, str]:
    parts = {"queries": dataset.queries, "corpus": dataset.corpus, "relevant_docs": dataset.relevant_docs}
    parts["relevant_docs"] = {query: sorted(found) for query, found in dataset.relevant_docs.items()}
    return {
        name: hashlib.sha256(json.dumps(part, sort_keys=True).encode()).hexdigest()[:16] for name, part in parts.items()
    }
