"""What the tests of embedtune-lancedb share: rows, a table's schema, and a real model with prompts."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from lancedb.embeddings import EmbeddingFunction
from lancedb.pydantic import LanceModel, Vector
from sentence_transformers import SentenceTransformer

from embedtune_lancedb import get_registry

TEXTS = ["apples are red", "drums are loud", "clouds drift over the sea"]
ROWS = [{"id": str(place), "text": text} for place, text in enumerate(TEXTS)]


def run_script(code: str, *arguments: object, folder: Path | None = None) -> tuple[str, str]:
    """Standard output and error of a fresh interpreter in a folder; it sees the packages as this one does."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr


def schema_of(function: Any) -> type[LanceModel]:
    """The schema of a table with this function, as LanceDB's documentation writes it."""

    class Row(LanceModel):
        id: str
        text: str = function.SourceField()
        vector: Vector(function.ndims()) = function.VectorField()  # type: ignore[valid-type]

    return Row


def function_of(folder: Path) -> EmbeddingFunction:
    """Our sentence-transformers function for a model folder."""
    return get_registry().get("sentence-transformers").create(name=str(folder))


def save_with_prompts(minilm: Path, target: Path, query: str = "query: ") -> Path:
    """MiniLM with prompts, as E5 models have them."""
    SentenceTransformer(str(minilm), prompts={"query": query, "document": "passage: "}).save(str(target))
    return target
