"""A model and a query adapter as frameworks' classes are given them: one of the two may stand for both."""

from pathlib import Path

from embedtune.adapter.loading import REFERENCE
from embedtune.adapter.query_adapter import QueryAdapter, is_adapter_folder
from embedtune.errors import EmbeddingError, ModelFolderError
from embedtune.folders import heal
from embedtune.records import read_record

__all__ = ["completed"]

_BACKEND = "adapter:"


def completed(model: object, adapter: str | Path | None) -> tuple[object, Path | None]:
    """The model and the adapter's folder, where one of them may have been left out.

    An adapter's folder names the embedder that it was trained on, if a reference leads to that one. Given as the
    model, it is the adapter.

    Args:
        model: Whatever the framework's class takes, or None.
        adapter: A folder that ``tune(..., tuner="adapter")`` wrote, or None.

    Returns:
        The model as it was given, or a reference; and the absolute folder, or None where no adapter is meant.

    Raises:
        ModelNotFoundError: If there is no such adapter.
        ModelFolderError: If the folder holds none, or ``model`` is left out and no reference leads to it.
    """
    if adapter is None:
        adapter = _adapter_given_as(model)
        if adapter is None:
            return model, None
        model = None
    if not isinstance(adapter, str | Path):
        raise EmbeddingError(f"adapter must be the folder that tuning wrote; got a {type(adapter).__name__}.")
    folder = Path(adapter).expanduser().absolute()
    QueryAdapter.load(folder)
    return (_reference_in(folder) if model is None else model), folder


def _adapter_given_as(model: object) -> Path | None:
    if not isinstance(model, str | Path):
        return None
    folder = Path(str(model).removeprefix(_BACKEND)).expanduser()
    heal(folder)
    return folder if is_adapter_folder(folder) else None


def _reference_in(folder: Path) -> str:
    record = read_record(folder)
    assert record is not None  # it could be read as an adapter
    reference = record.configuration.get(REFERENCE)
    if not isinstance(reference, str):
        raise ModelFolderError(
            f"The adapter {str(folder)!r} was trained on {record.base_model}, an object that no reference leads to. "
            "Give the object too, as model=..."
        )
    return reference
