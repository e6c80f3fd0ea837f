"""Options and endings that the commands share."""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from embedtune.folders import write_file

__all__ = ["Json", "Seed", "check_apart", "stoppable", "write_json"]

_INTERRUPTED = 130
"""Exit status of a program that SIGINT ended, as shells have it."""


def _writable(path: Path | None) -> Path | None:
    """Refuse a path that cannot be written before the work, not after it."""
    if path is not None and (path.is_dir() or not path.expanduser().absolute().parent.is_dir()):
        raise typer.BadParameter(f"{str(path)!r} is a folder, or its folder does not exist.")
    return path


Json = Annotated[Path | None, typer.Option("--json", callback=_writable, help="Write the figures to this file too.")]
Seed = Annotated[int, typer.Option(min=0, help="Same seed, same machine, same figures.")]


def check_apart(paths: Mapping[str, Path | None]) -> None:
    """Refuse two options that name one file: the second to be written would destroy the first.

    Args:
        paths: What each option names, by the option's name; None where it is not given.
    """
    names: dict[Path, str] = {}
    for name, path in paths.items():
        if path is not None and (other := names.setdefault(path.expanduser().resolve(), name)) != name:
            raise typer.BadParameter(f"{other} and {name} both name {str(path)!r}. Give each its own.")


@contextmanager
def stoppable(what_is_left: str) -> Iterator[None]:
    """On Ctrl-C say what is left, instead of a traceback."""
    try:
        yield
    except KeyboardInterrupt:
        sys.stderr.write(f"\nembedtune: stopped; {what_is_left}\n")
        raise typer.Exit(_INTERRUPTED) from None


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write figures to a file; see `write_file`."""
    write_file(path, json.dumps(content, indent=1) + "\n")
