"""Small worlds for the query adapter: an embedder whose queries are turned away from its chunks."""

import random
from collections.abc import Sequence

import numpy as np

from embedtune import QADataset
from embedtune.protocols import Vectors
from embedtune.testing import HashEmbedder

DIM = 32


class TurnedEmbedder(HashEmbedder):
    """Chunks as `HashEmbedder`; queries are turned by a fixed matrix, which a linear map can undo.

    Args:
        fingerprint: None for an embedder that does not say what it is.
        turn: Draws the matrix.
    """

    def __init__(self, fingerprint: str | None = "turned", turn: int = 0) -> None:
        super().__init__(DIM)
        self._fingerprint = fingerprint
        noise = np.random.default_rng(turn).standard_normal((DIM, DIM), dtype=np.float32)
        self._matrix = np.eye(DIM, dtype=np.float32) + noise * np.float32(1.2 / DIM**0.5)
        self.asked: dict[str, list[str]] = {"query": [], "document": []}

    @property
    def fingerprint(self) -> str | None:  # type: ignore[override]
        """As given."""
        return self._fingerprint

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Turned."""
        self.asked["query"] += texts
        return np.asarray(super().embed_documents(texts) @ self._matrix, dtype=np.float32)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As they are."""
        self.asked["document"] += texts
        return super().embed_documents(texts)


def words_dataset(n_chunks: int = 300, *, seed: int = 0, shuffled: bool = False) -> QADataset:
    """Chunks of six words out of eighty, each with one question of four of them.

    Args:
        n_chunks: Chunks and questions.
        seed: Draws the words.
        shuffled: Whether each question is given the answer of another.
    """
    draw = random.Random(seed)
    vocabulary = [f"word{i}" for i in range(80)]
    words = [draw.sample(vocabulary, 6) for _ in range(n_chunks)]
    corpus = {f"c{i}": " ".join(some) + f" {seed}-{i}" for i, some in enumerate(words)}
    queries = {f"q{i}": f"{' '.join(draw.sample(some, 4))}?" for i, some in enumerate(words)}
    answers = list(range(n_chunks))
    if shuffled:
        draw.shuffle(answers)
    return QADataset(queries, corpus, {f"q{i}": [f"c{answers[i]}"] for i in range(n_chunks)})
