"""A base and a tuned model for LangChain's classes, small, with real tokenizer and architecture; and real texts."""

from pathlib import Path

import pytest
from langchain_core.documents import Document

from embedtune import QADataset, tune
from embedtune.testing import tiny_dataset
from small_models import first_layer_of


@pytest.fixture(scope="session")
def prompted(minilm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """MiniLM cut to its first layer, with a query and a document prompt."""
    return first_layer_of(minilm, tmp_path_factory.mktemp("models") / "prompted", query="ask: ", document="read: ")


@pytest.fixture(scope="session")
def tuned(prompted: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, tuned on a few pairs."""
    split = tiny_dataset(8).split(val=0.25, test=0)
    folder = tmp_path_factory.mktemp("models") / "tuned"
    tune(str(prompted), split.train, split.val, folder, learning_rate=1e-3, device="cpu", progress=False)
    return folder


@pytest.fixture(scope="session")
def wikipedia(test_data: Path) -> QADataset:
    """Two real German questions on each of thirty paragraphs of six Wikipedia articles."""
    whole = QADataset.load(test_data / "xquad_de", split="train")
    articles = {f"a{number:02}" for number in range(0, 12, 2)}
    chunks = [chunk for chunk in whole.corpus if chunk[:3] in articles]
    asked: dict[str, list[str]] = {chunk: [] for chunk in chunks}
    for query, relevant in whole.relevant_docs.items():
        for chunk in asked.keys() & relevant:
            asked[chunk].append(query)
    return whole.subset([query for queries in asked.values() for query in queries[:2]], chunks)


@pytest.fixture(scope="session")
def documents(wikipedia: QADataset) -> list[Document]:
    """Its paragraphs as LangChain's documents, without ids, as splitters leave them."""
    return [Document(text, metadata={"source": f"{chunk[:3]}.md"}) for chunk, text in wikipedia.corpus.items()]
