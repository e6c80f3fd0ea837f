"""An adapter's folder as an embedder: the one that it was trained on, loaded by its reference."""

from pathlib import Path

from embedtune.adapter.query_adapter import AdaptedEmbedder, QueryAdapter, is_adapter_folder
from embedtune.errors import ModelFolderError
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.records import read_record

__all__ = ["REFERENCE", "folders_under", "load_adapted", "reference_of"]

REFERENCE = "embedder_reference"
"""Where the record's configuration says what loads the embedder; None for an object that has no reference."""


_PREFIX = "adapter:"


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
    folder = Path(folder).expanduser().absolute()
    QueryAdapter.load(folder)  # whether it can be read, before anything is loaded
    record = read_record(folder)
    reference = record.configuration.get(REFERENCE) if record is not None else None
    if not isinstance(reference, str):
        name = record.base_model if record is not None else "an embedder"
        raise ModelFolderError(
            f"The adapter {str(folder)!r} was trained on {name}, an object that no reference leads to. Give the "
            "object too: AdaptedEmbedder(as_embedder(object), folder)."
        )
    if folder.resolve() in folders_under(reference):
        raise ModelFolderError(
            f"The adapter {str(folder)!r} names itself as the embedder that it was trained on: it was copied over "
            "that one. Tune again, from the embedder."
        )
    return AdaptedEmbedder(plugin_manager().embedder(reference, **options), folder)


def reference_of(model: object) -> str | None:
    """What loads the model again, from any working folder; None for an object."""
    if not isinstance(model, str | Path):
        ref = getattr(model, "ref", None)
        return ref if isinstance(ref, str) else None
    parsed = parse_reference(str(model), [row.name for row in plugin_manager().embedders()])
    return parsed.ref if parsed.backend is None else f"{parsed.backend}:{parsed.ref}"


def folders_under(model: object) -> set[Path]:
    """The folders that a model is made of: its own, and of an adapter also those of what it is over."""
    found: set[Path] = set()
    while model is not None:
        if isinstance(model, str | Path):
            folder = Path(str(model).removeprefix(_PREFIX)).expanduser()
            model = None
        else:
            named = getattr(model, "record_folder", None) or getattr(model, "folder", None)
            folder, model = Path(named) if isinstance(named, str | Path) else Path(), getattr(model, "embedder", None)
        if not folder.is_dir() or folder.resolve() in found or folder == Path():
            continue
        found.add(folder.resolve())
        if model is None and is_adapter_folder(folder):
            record = read_record(folder)
            model = record.configuration.get(REFERENCE) if record is not None else None
    return found
