"""Options and endings that the commands share."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from embedtune.folders import replace_file

__all__ = ["Json", "Seed", "stoppable", "write_json"]

_INTERRUPTED = 130
"""Exit status of a program that SIGINT ended, as shells have it."""


def _writable(path: Path | None) -> Path | None:
    """Refuse a path that cannot be written before the work, not after it."""
    if path is not None and (path.is_dir() or not path.expanduser().absolute().parent.is_dir()):
        raise typer.BadParameter(f"{str(path)!r} is a folder, or its folder does not exist.")
    return path


Json = Annotated[Path | None, typer.Option("--json", callback=_writable, help="Write the figures to this file too.")]
Seed = Annotated[int, typer.Option(help="Same seed, same machine, same figures.")]


@contextmanager
def stoppable(what_is_left: str) -> Iterator[None]:
    """On Ctrl-C say what is left, instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nembedtune: stopped; {what_is_left}\n")
        raise typer.Exit(_INTERRUPTED) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write figures to a file, atomically."""
    with replace_file(path) as partial:
        partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
