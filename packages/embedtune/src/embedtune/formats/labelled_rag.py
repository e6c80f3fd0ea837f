"""LlamaIndex's ``rag_dataset.json``: questions with the contexts that answer them, as its benchmarks are published.

``LabelledRagDataset`` of LlamaIndex wrote it: ``{"examples": [{"query", "query_by", "reference_contexts",
"reference_answer", "reference_answer_by"}]}``. It knows neither ids nor chunks that answer nothing, so a data set
is read from it and not written to it.
"""

import json
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from embedtune.chunks import TextChunk
from embedtune.dataset import QADataset
from embedtune.dataset_checks import named
from embedtune.errors import DatasetError
from embedtune.formats.splits import refuse_split
from embedtune.texts import text_hash

__all__ = ["is_labelled_rag", "load_labelled_rag", "refuse_labelled_rag"]

logger = logging.getLogger(__name__)

_HEAD_BYTES = 4096
_FIRST_KEY = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"examples"\s*:')


def is_labelled_rag(path: Path) -> bool:
    """Whether a ``.json`` begins like one; no more than its first 4,096 bytes are read."""
    if path.suffix != ".json" or not path.is_file():
        return False
    try:
        with open(path, "rb") as file:
            return _FIRST_KEY.match(file.read(_HEAD_BYTES)) is not None
    except OSError:
        return False  # loading it says what is wrong


def refuse_labelled_rag(dataset: QADataset, path: Path) -> NoReturn:
    """Say that the format is for reading.

    Raises:
        DatasetError: Always.
    """
    raise DatasetError(
        f"The format 'labelled_rag' is for reading: it holds no ids, and no chunks that answer nothing ({dataset!r} "
        "would not come back). Save to another path, or with format='json'."
    )


def load_labelled_rag(path: Path, split: str | None = None) -> QADataset:
    """Read the file.

    Each context is a chunk, its id a hash of its text; questions of one text are one query with the contexts of
    all. Reference answers are not read. Examples without a question or a context are dropped with a warning.

    Raises:
        DatasetError: If it is not JSON, or an example is not of this shape; named with its place, from 1.
    """
    refuse_split(path, split)
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    dropped: list[str] = []
    for number, example in enumerate(_examples(path), 1):
        question, contexts = _checked(example, path, number)
        if not question or not contexts:
            dropped.append(f"example {number}")
            continue
        query = text_hash(question)
        queries.setdefault(query, question)
        for chunk in map(TextChunk.from_chunk, contexts):
            corpus.setdefault(chunk.id, chunk.text)
            relevant.setdefault(query, []).append(chunk.id)
    if dropped:
        logger.warning(
            "%s: dropped %d examples without a question or a context: %s", path.name, len(dropped), named(dropped)
        )
    return QADataset(queries, corpus, relevant)


def _examples(path: Path) -> Iterator[Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{str(path)!r} is not a data set in JSON: {error}") from error
    examples = content.get("examples") if isinstance(content, dict) else None
    if not isinstance(examples, list):
        raise DatasetError(f"{str(path)!r} must hold an object with the list 'examples', as LlamaIndex writes it.")
    yield from examples


def _checked(example: Any, path: Path, number: int) -> tuple[str, list[str]]:
    """The question, and the contexts that have text."""
    question = example.get("query", "") if isinstance(example, dict) else None
    contexts = (example.get("reference_contexts") or []) if isinstance(example, dict) else None
    texts = isinstance(contexts, list) and all(isinstance(context, str) for context in contexts)
    if not isinstance(question, str) or contexts is None or not texts:
        raise DatasetError(
            f"{path.name}, example {number}: must be an object with a str 'query' and a list of str "
            f"'reference_contexts'; got {example!r:.120}."
        )
    return question.strip(), [context for context in contexts if context.strip()]
