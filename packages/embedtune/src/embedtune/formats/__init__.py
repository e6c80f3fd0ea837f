"""Files and folders of data sets: which format a path is in, and the atomic write."""

import logging
import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.dataset import QADataset
from embedtune.errors import BackendNotFoundError, DatasetError
from embedtune.folders import check_target, heal, replace_file, replace_folder
from embedtune.reports import read_report, save_report

if TYPE_CHECKING:
    from embedtune.plugins import DatasetFormat, PluginManager

__all__ = ["check_can_save", "load_dataset", "save_dataset"]

logger = logging.getLogger(__name__)


def save_dataset(dataset: QADataset, path: Path, format: str | None, plugins: "PluginManager | None" = None) -> None:
    """See `QADataset.save`."""
    path = path.expanduser().absolute()
    check_can_save(path, format, plugins)
    layout = _layout(path, format, plugins)
    if layout.is_folder:
        with replace_folder(path, layout.owns) as folder:
            layout.save(dataset, folder)
    else:
        with replace_file(path) as partial:
            layout.save(dataset, partial)
    save_report(dataset.report, path)


def check_can_save(path: Path, format: str | None = None, plugins: "PluginManager | None" = None) -> None:
    """Refuse a path that `save_dataset` would refuse, before the data set costs work or money.

    Raises:
        ModelFolderError: If a folder there holds something else.
        DatasetError: If the path does not fit the format.
        BackendNotFoundError: If no installed format fits.
    """
    path = path.expanduser().absolute()
    layout = _layout(path, format, plugins)
    parent = next(folder for folder in path.parents if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise DatasetError(f"Nothing can be written below {str(parent)!r}, where {str(path)!r} is to go.")
    if layout.is_folder:
        check_target(path, layout.owns)
    elif path.is_dir():
        raise DatasetError(f"{str(path)!r} is a folder; the format {layout.name!r} is one file. Give a file's path.")


def load_dataset(
    path: Path, format: str | None, split: str | None, plugins: "PluginManager | None" = None
) -> QADataset:
    """See `QADataset.load`."""
    path = path.expanduser().absolute()
    heal(path)
    if not path.exists():
        raise DatasetError(f"There is no data set at {str(path)!r}. Give the path that QADataset.save wrote.")
    layout = _layout(path, format, plugins)
    try:
        dataset = layout.load(path, split)
    except (OSError, UnicodeError) as error:
        raise DatasetError(f"{str(path)!r} cannot be read as {layout.name!r}: {error}") from error
    return replace(dataset, report=report) if (report := read_report(path)) else dataset


def _layout(path: Path, format: str | None, plugins: "PluginManager | None") -> "DatasetFormat":
    from embedtune.plugins import plugin_manager  # the manager imports the formats

    manager = plugins or plugin_manager()
    if format is not None:
        return manager.dataset_format(format)
    found = [layout for layout in manager.dataset_formats() if layout.matches(path)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(repr(layout.name) for layout in found or manager.dataset_formats())
    if found:
        raise DatasetError(f"{str(path)!r} could be {names}; say which with format=...")
    if not path.suffix and "lance" not in {layout.name for layout in manager.dataset_formats()}:
        hint = ' A path without suffix is a Lance folder, which needs: pip install "embedtune[lancedb]"'
        raise BackendNotFoundError(f"No installed dataset format fits {str(path)!r}. Installed: {names}.{hint}")
    raise DatasetError(f"No dataset format fits what is at {str(path)!r}. Say one with format=...; installed: {names}.")
