"""A model of four layers' worth of nothing: real tokenizer and architecture, trained in a second."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def small_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM cut to its first layer: the same files and code paths at a sixth of the time."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu")
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:1]
    encoder.config.num_hidden_layers = 1
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture(scope="session")
def prompted_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with a query and a document prompt."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(small_model), device="cpu", prompts={"query": "ask: ", "document": "read: "})
    folder = tmp_path_factory.mktemp("models") / "prompted"
    model.save(str(folder), create_model_card=False)
    return folder
