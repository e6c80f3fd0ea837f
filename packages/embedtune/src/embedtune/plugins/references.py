"""Model references in strings: ``backend:ref``, a folder, or a hub name."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from embedtune.errors import ModelNotFoundError
from embedtune.folders import heal

__all__ = ["ModelReference", "parse_reference"]


@dataclass(frozen=True)
class ModelReference:
    """A parsed model reference."""

    backend: str | None
    """The backend that was named, or None."""
    ref: str
    """An absolute folder, a hub name, or whatever the backend understands."""


def parse_reference(text: str, backends: Iterable[str]) -> ModelReference:
    """Split off a backend's name and check a folder before anything is imported.

    Args:
        text: ``backend:ref``, a folder or a hub name.
        backends: The names that count as a backend; anything else before a colon is part of the ref.

    Raises:
        ModelNotFoundError: If it can only be a folder and the folder is not there.

    >>> parse_reference("openai:text-embedding-3-small", ["openai"])
    ModelReference(backend='openai', ref='text-embedding-3-small')
    >>> parse_reference("BAAI/bge-small-en-v1.5", ["openai"])
    ModelReference(backend=None, ref='BAAI/bge-small-en-v1.5')
    """
    prefix, colon, rest = text.partition(":")
    if colon and rest and prefix in set(backends):
        # What a named backend serves may well have slashes: "openai:accounts/acme/models/embed-1".
        return ModelReference(prefix, _folder_or_name(rest, is_path=_is_clearly_a_path(rest)))
    return ModelReference(None, _folder_or_name(text, is_path=_is_spelt_as_path(text)))


def _folder_or_name(ref: str, *, is_path: bool) -> str:
    path = Path(ref).expanduser()
    if is_path:
        heal(path)
        if not ref.strip() or not path.is_dir():
            raise ModelNotFoundError(
                f"No model folder at {ref!r} (looked at {str(path.absolute())!r}). Give the folder that "
                "tuning wrote, or a hub name such as 'sentence-transformers/all-MiniLM-L6-v2'."
            )
    return str(path.absolute()) if path.is_dir() else ref


def _is_clearly_a_path(ref: str) -> bool:
    """Empty, absolute, or with ``~``, ``.`` or a backslash."""
    return not ref.strip() or ref.startswith(("~", ".", "/", os.sep)) or "\\" in ref


def _is_spelt_as_path(ref: str) -> bool:
    """Clearly, or deeper than owner/name, or inside a folder that exists."""
    if _is_clearly_a_path(ref) or ref.endswith("/") or ref.count("/") > 1:
        return True
    parent, slash, _ = ref.partition("/")
    return bool(slash) and Path(parent).is_dir()
