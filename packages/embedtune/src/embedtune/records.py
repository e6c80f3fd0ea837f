"""``embedtune.json``: where a tuned model comes from, what it was trained on, and what it gained."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_serializer

from embedtune.dataset import QADataset
from embedtune.errors import ModelFolderError
from embedtune.texts import fold, text_hash

__all__ = ["RECORD_FILE", "ModelRecord", "SeenTexts", "is_model_folder", "read_record"]

RECORD_FILE = "embedtune.json"
"""Its presence marks a folder as ours, which a later run may replace."""


class SeenTexts(BaseModel):
    """Hashes of the texts that shaped a model: it has trained on them, or was chosen by them."""

    model_config = ConfigDict(frozen=True)

    queries: frozenset[str] = frozenset()
    """Hashes of the folded query texts, 16 hex digits."""
    chunks: frozenset[str] = frozenset()
    """Hashes of the folded texts of relevant chunks."""

    @field_serializer("queries", "chunks")
    def _in_order(self, hashes: frozenset[str]) -> list[str]:
        return sorted(hashes)

    @classmethod
    def of(cls, datasets: Iterable[QADataset]) -> "SeenTexts":
        """The queries and relevant chunks of data sets; distractors are not counted as seen."""
        queries: set[str] = set()
        chunks: set[str] = set()
        for dataset in datasets:
            queries.update(_hash(text) for text in dataset.queries.values())
            chunks.update(_hash(dataset.corpus[c]) for found in dataset.relevant_docs.values() for c in found)
        return cls(queries=frozenset(queries), chunks=frozenset(chunks))

    def __or__(self, other: "SeenTexts") -> "SeenTexts":
        """What either has seen."""
        return SeenTexts(queries=self.queries | other.queries, chunks=self.chunks | other.chunks)

    def queries_in(self, dataset: QADataset) -> list[str]:
        """Ids of the queries whose text, or one of whose relevant chunks, has been seen."""
        seen_chunks = {chunk for chunk, text in dataset.corpus.items() if _hash(text) in self.chunks}
        return [
            query
            for query, text in dataset.queries.items()
            if _hash(text) in self.queries or not seen_chunks.isdisjoint(dataset.relevant_docs[query])
        ]


def _hash(text: str) -> str:
    return text_hash(fold(text))


class ModelRecord(BaseModel):
    """All that ``embedtune.json`` says."""

    model_config = ConfigDict(frozen=True)

    format_version: int = 1
    base_model: str
    """Hub name or folder of the base model, as it was given."""
    base_fingerprint: str | None
    """Fingerprint of the base model; see `folder_fingerprint`."""
    fingerprint: str
    """Fingerprint of this model."""
    tuner: str
    """Name of the tuner."""
    configuration: Mapping[str, Any] = Field(default_factory=dict)
    """Every option of the run, defaults included."""
    versions: Mapping[str, str] = Field(default_factory=dict)
    """Versions of Python, embedtune and the frameworks."""
    metrics_before: Mapping[str, float] = Field(default_factory=dict)
    """Validation metrics of the base model."""
    metrics_after: Mapping[str, float] = Field(default_factory=dict)
    """Validation metrics of this model, on the same queries; they chose it, so they flatter it."""
    chosen_step: int
    """Optimiser step that the validation chose; 0 is the base model."""
    chosen_share: float = 1.0
    """Of the way from the base model's weights to those of the chosen step."""
    kept_base: bool
    """Whether the weights are the base model's, since no candidate was better beyond chance."""
    kept_base_reason: str | None = None
    """Why, with the figures."""
    neighbours_kept: float | None = None
    """How much is left of the base model's view of general text: mean share of its ten nearest neighbours of each
    of some general sentences that are still among the ten; in [0, 1], 1 for the base itself."""
    seen: SeenTexts
    """What trained or chose this model."""

    def write(self, folder: Path) -> None:
        """Write ``embedtune.json`` into a folder."""
        (folder / RECORD_FILE).write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")


def is_model_folder(folder: Path) -> bool:
    """Whether a folder was written by a tuner of ours."""
    return (folder / RECORD_FILE).is_file()


def read_record(folder: str | Path) -> ModelRecord | None:
    """What a model folder says of itself; None where there is no ``embedtune.json``.

    Raises:
        ModelFolderError: If there is one that cannot be read.
    """
    path = Path(folder) / RECORD_FILE
    if not path.is_file():
        return None
    try:
        record = ModelRecord.model_validate_json(path.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise ModelFolderError(
            f"{str(path)!r} cannot be read: {place}: {first['msg']}. Tune again into this path, or remove the file "
            "to use the folder as a plain model."
        ) from error
    if record.format_version > 1:
        raise ModelFolderError(
            f"{str(path)!r} has format {record.format_version}; this version reads 1. Update embedtune, or tune again."
        )
    return record
