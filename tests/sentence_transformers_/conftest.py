"""A small model with real tokenizer and architecture, and a task that only training can solve."""

import itertools
from pathlib import Path

import pytest

from embedtune import QADataset
from small_models import tiny_model as make_tiny_model


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


@pytest.fixture(scope="session")
def code_words() -> QADataset:
    """A secret language: each word of a query stands for another in its chunk. No base knows it."""
    secret = dict(zip(["apple", "river", "tower", "candle"], ["engine", "paper", "violin", "desert"], strict=True))
    secret |= dict(zip(["button", "garden", "mirror", "ladder"], ["rocket", "cheese", "carpet", "planet"], strict=True))
    queries, corpus, relevant = {}, {}, {}
    for i, words in enumerate(itertools.combinations(secret, 3)):
        queries[f"q{i}"] = " ".join(words)
        corpus[f"c{i}"] = " ".join(secret[word] for word in words)
        relevant[f"q{i}"] = [f"c{i}"]
    return QADataset(queries, corpus, relevant)


@pytest.fixture(scope="session")
def tiny_model(code_words: QADataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that is trained in a second or two; each code word is one of its tokens."""
    words = " ".join([*code_words.queries.values(), *code_words.corpus.values()]).split()
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny", words)
