"""A real model with prompts, which LanceDB's own class leaves out."""

from pathlib import Path

import pytest

from lance_tables import save_with_prompts


@pytest.fixture(scope="session")
def prompted(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of MiniLM with prompts."""
    return save_with_prompts(minilm, tmp_path_factory.mktemp("models") / "prompted")
