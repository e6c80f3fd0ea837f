"""The refusal of a split where a layout has none."""

from pathlib import Path

from embedtune.errors import DatasetError

__all__ = ["refuse_split"]


def refuse_split(path: Path, split: str | None) -> None:
    """Refuse a split that would be ignored, and the whole file taken for it.

    Raises:
        DatasetError: If one is asked for.
    """
    if split is not None:
        raise DatasetError(
            f"{path.name!r} has no splits; got split={split!r}. Leave it out; a BEIR folder is the layout with splits."
        )
