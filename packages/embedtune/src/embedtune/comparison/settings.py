"""What a comparison was made with: models, engine, reranker and versions, so that it can be made again."""

import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["described", "versions"]

_FRAMEWORKS = {
    "torch": "torch",
    "transformers": "transformers",
    "sentence_transformers": "sentence-transformers",
    "lancedb": "lancedb",
    "openai": "openai",
    "llama_index.core": "llama-index-core",
    "langchain_core": "langchain-core",
}
"""Distributions whose version may change a figure, by the module that tells that they were in use."""


def described(given: object, found: object) -> dict[str, Any]:
    """A model, search or reranker by name and fingerprint.

    Args:
        given: What the caller gave.
        found: What was made of it.

    >>> described("my-model", None)
    {'name': 'my-model', 'fingerprint': None}
    """
    name = str(given) if isinstance(given, str | Path) else getattr(found, "record_folder", None)
    if name is None:
        kind = given if hasattr(given, "__qualname__") else type(given)
        name = f"{kind.__module__}.{kind.__qualname__}"
    return {"name": str(name), "fingerprint": getattr(found, "fingerprint", None)}


def versions() -> Mapping[str, str]:
    """Versions of Python, of this library, and of what is loaded that makes vectors, scores or rankings."""
    from embedtune import __version__  # the package imports this module

    loaded = {"python": platform.python_version(), "embedtune": __version__, "numpy": np.__version__}
    for module, distribution in _FRAMEWORKS.items():
        if module in sys.modules:
            try:
                loaded[distribution] = version(distribution)
            except PackageNotFoundError:  # vendored, or run from a source tree
                continue
    return loaded
