"""A small model that trains in a second, and nodes of one document each."""

from pathlib import Path

import pytest
from llama_index.core.schema import TextNode

from embedtune import QADataset
from embedtune.testing import tiny_dataset


@pytest.fixture(scope="session")
def small_model(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM cut to its first layer, with prompts."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(minilm), device="cpu", prompts={"query": "ask: ", "document": "read: "})
    encoder = model[0].auto_model
    encoder.encoder.layer = encoder.encoder.layer[:1]
    encoder.config.num_hidden_layers = 1
    folder = tmp_path_factory.mktemp("models") / "small"
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def questions() -> QADataset:
    """Sixteen questions on eight chunks."""
    return tiny_dataset(8)


@pytest.fixture
def nodes(questions: QADataset) -> list[TextNode]:
    """The chunks as nodes under their ids."""
    return [TextNode(text=text, id_=chunk) for chunk, text in questions.corpus.items()]
