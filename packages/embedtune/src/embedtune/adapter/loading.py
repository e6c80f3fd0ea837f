"""An adapter's folder as an embedder: the one that it was trained on, loaded by its reference."""

from pathlib import Path

from embedtune.adapter.query_adapter import AdaptedEmbedder, QueryAdapter
from embedtune.errors import ModelFolderError
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.records import read_record

__all__ = ["REFERENCE", "load_adapted", "reference_of"]

REFERENCE = "embedder_reference"
"""Where the record's configuration says what loads the embedder; None for an object that has no reference."""


def load_adapted(folder: str | Path, **options: object) -> AdaptedEmbedder:
    """The embedder of an adapter's folder, with the adapter over it.

    Args:
        folder: What tuning wrote.
        options: Of the backend that loads the embedder, such as ``device``.

    Raises:
        ModelFolderError: If there is no adapter, or it was trained on an object that no reference leads to.
        ModelNotFoundError: If the embedder is gone.
        EmbeddingError: If the reference leads to another embedder by now.
    """
    QueryAdapter.load(folder)  # whether it can be read, before anything is loaded
    record = read_record(folder)
    reference = record.configuration.get(REFERENCE) if record is not None else None
    if not isinstance(reference, str):
        name = record.base_model if record is not None else "an embedder"
        raise ModelFolderError(
            f"The adapter {str(folder)!r} was trained on {name}, an object that no reference leads to. Give the "
            "object too: AdaptedEmbedder(as_embedder(object), folder)."
        )
    return AdaptedEmbedder(plugin_manager().embedder(reference, **options), folder)


def reference_of(model: object) -> str | None:
    """What loads the model again, from any working folder; None for an object."""
    if not isinstance(model, str | Path):
        ref = getattr(model, "ref", None)
        return ref if isinstance(ref, str) else None
    parsed = parse_reference(str(model), [row.name for row in plugin_manager().embedders()])
    return parsed.ref if parsed.backend is None else f"{parsed.backend}:{parsed.ref}"
