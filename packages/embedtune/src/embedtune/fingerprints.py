"""Content hashes of models: two equal fingerprints give equal vectors."""

import hashlib
import json
from pathlib import Path
from typing import Any

__all__ = ["fingerprint_of_settings", "folder_fingerprint"]

_IRRELEVANT_SUFFIXES = {".md", ".png", ".jpg", ".svg", ".html", ".pdf", ".onnx", ".msgpack", ".h5", ".lock"}
_IRRELEVANT_FILES = {"embedtune.json", "data_config.json", "train_script.py", ".gitattributes", ".gitignore"}
_IRRELEVANT_KEYS = {"__version__", "_name_or_path", "transformers_version"}
_BLOCK = 1 << 20


def folder_fingerprint(folder: Path, **settings: object) -> str:
    """Hash of every file that can change a vector: weights, modules, pooling, tokenizer, prompts.

    Model card, pictures, version stamps and other backends' weights do not count.

    Args:
        folder: A model folder.
        settings: What the caller changes at load time, such as ``max_seq_length``; None does not count.

    Returns:
        32 hex digits.
    """
    digest = hashlib.sha256()
    weights_twice = any(folder.rglob("*.safetensors"))
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        relative = path.relative_to(folder)
        hidden = any(part.startswith(".") or part in ("onnx", "openvino") for part in relative.parts)
        if hidden or relative.name in _IRRELEVANT_FILES or relative.suffix.lower() in _IRRELEVANT_SUFFIXES:
            continue
        if relative.suffix == ".bin" and weights_twice:  # the older copy of the same weights, which is not loaded
            continue
        digest.update(f"{relative.as_posix()}\0".encode())
        _update(digest, path)
    return _with_settings(digest, settings)


def fingerprint_of_settings(**settings: object) -> str:
    """Fingerprint of a hosted model, of which only provider, address, name and dimensions are known.

    >>> fingerprint_of_settings(provider="openai", model="a") == fingerprint_of_settings(model="a", provider="openai")
    True
    """
    return _with_settings(hashlib.sha256(), settings)


def _with_settings(digest: "hashlib._Hash", settings: dict[str, object]) -> str:
    given = {key: value for key, value in settings.items() if value is not None}
    if given:
        digest.update(json.dumps(given, sort_keys=True, default=str).encode())
    return digest.hexdigest()[:32]


def _update(digest: "hashlib._Hash", path: Path) -> None:
    if path.suffix == ".json":
        try:
            content = json.loads(path.read_bytes())
        except ValueError:
            digest.update(path.read_bytes())
        else:
            digest.update(json.dumps(_relevant(content), sort_keys=True).encode())
        return
    with open(path, "rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)


def _relevant(content: Any) -> Any:
    if not isinstance(content, dict):
        return content
    return {key: value for key, value in content.items() if key not in _IRRELEVANT_KEYS}
