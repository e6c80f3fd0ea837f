"""LlamaIndex's JSON of a data set: ``queries``, ``corpus``, ``relevant_docs``, ``mode``.

``EmbeddingQAFinetuneDataset`` of LlamaIndex reads and writes it; what it does not know (metadata, styles,
grades) stands under the further key ``embedtune``, which it ignores.
"""

import json
from pathlib import Path
from typing import Any

from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.formats.splits import refuse_split

__all__ = ["load_json", "save_json"]


def save_json(dataset: QADataset, path: Path) -> None:
    """Write the file."""
    more = {"metadata": dataset.metadata, "styles": dataset.styles, "grades": dataset.grades}
    content = {
        "queries": dataset.queries,
        "corpus": dataset.corpus,
        "relevant_docs": dataset.relevant_docs,
        "mode": "text",
        "embedtune": {key: value for key, value in more.items() if value},
    }
    with open(path, "w", encoding="utf-8") as file:
        json.dump(content, file, ensure_ascii=False, indent=1, default=str)


def load_json(path: Path, split: str | None = None) -> QADataset:
    """Read the file.

    Raises:
        DatasetError: If it is not JSON, lacks a key, or holds one id twice.
    """
    refuse_split(path, split)
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DatasetError(f"{str(path)!r} is not a data set in JSON: {error}") from error
    keys = ("queries", "corpus", "relevant_docs")
    if not isinstance(content, dict) or not all(isinstance(content.get(key), dict) for key in keys):
        raise DatasetError(
            f"{str(path)!r} must hold an object with the objects 'queries', 'corpus' and 'relevant_docs'."
            + (
                " It holds 'examples': say format='labelled_rag'."
                if isinstance(content, dict) and "examples" in content
                else ""
            )
        )
    more = content.get("embedtune") or {}
    return QADataset(
        content["queries"],
        content["corpus"],
        content["relevant_docs"],
        more.get("metadata", {}),
        more.get("styles", {}),
        more.get("grades", {}),
    )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the id {twice!r} stands twice in one object")
    return found
