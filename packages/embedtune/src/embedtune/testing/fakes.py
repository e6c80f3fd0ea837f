"""Small deterministic parts: no network, no weights, the same on every machine."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation, evaluate
from embedtune.protocols import BaseLLM, Similarity, Vectors

__all__ = ["CannedLLM", "HashEmbedder", "WordReranker", "WordSearch", "tiny_dataset", "tiny_evaluation"]


class HashEmbedder:
    """Bag of words: each word is a fixed random direction, a text the sum of its words.

    Args:
        dim: Dimensions of the vectors.
    """

    def __init__(self, dim: int = 64) -> None:
        self.dim = dim

    @property
    def fingerprint(self) -> str:
        """Depends on the dimension alone."""
        return f"hash-embedder-{self.dim}"

    @property
    def similarity(self) -> Similarity:
        """Cosine."""
        return "cosine"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As documents: there are no prompts."""
        return self.embed_documents(texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Sum of the words' directions, float32 (n, dim)."""
        return np.array([self._embed(text) for text in texts], dtype=np.float32).reshape(len(texts), self.dim)

    def _embed(self, text: str) -> Vectors:
        directions = np.zeros((1, self.dim), dtype=np.float32)
        for word in text.casefold().replace("?", " ").replace(".", " ").split():
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            directions = directions + np.random.default_rng(seed).standard_normal(self.dim, dtype=np.float32)
        return np.asarray(directions[0], dtype=np.float32)


class WordSearch:
    """A search by number of shared words; finds nothing where none is shared.

    Args:
        corpus: Text by chunk id.
    """

    def __init__(self, corpus: Mapping[str, str]) -> None:
        self._words = {chunk: set(text.casefold().split()) for chunk, text in corpus.items()}

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """Chunks by number of shared words, at most ``k``."""
        return [self._search(set(query.casefold().split()))[:k] for query in queries]

    def _search(self, words: set[str]) -> list[str]:
        shared = {chunk: len(words & found) for chunk, found in self._words.items()}
        return sorted((chunk for chunk in shared if shared[chunk]), key=lambda chunk: (-shared[chunk], chunk))


class WordReranker:
    """Scores a pair by the share of the query's words that the text has."""

    @property
    def fingerprint(self) -> str:
        """Always the same."""
        return "word-reranker"

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Shares in [0, 1], float32 (n,)."""
        return np.array([self._score(_words(query), _words(text)) for query, text in pairs], dtype=np.float32)

    def _score(self, asked: set[str], written: set[str]) -> float:
        return len(asked & written) / max(len(asked), 1)


def _words(text: str) -> set[str]:
    return set(text.casefold().replace("?", " ").replace(".", " ").replace(",", " ").split())


class CannedLLM(BaseLLM):
    """Answers in turn what it was given, and keeps the prompts.

    Args:
        answers: Its answers; the last one is repeated.
    """

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.prompts: list[str] = []

    def chat_completion(self, prompt: str) -> str:
        """The next answer."""
        self.prompts.append(prompt)
        return self._answers[min(len(self.prompts), len(self._answers)) - 1]


def tiny_dataset(n_documents: int = 4) -> QADataset:
    """Two questions on each of a few chunks, each chunk of its own document, that `HashEmbedder` finds.

    Args:
        n_documents: Number of chunks, at least 1.
    """
    things = ["apples", "bicycles", "clouds", "drums", "engines", "ferries", "gardens", "hammers"]
    corpus: dict[str, str] = {}
    queries: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    for i in range(n_documents):
        thing = f"{things[i % len(things)]}{i // len(things) or ''}"
        corpus[f"c{i}"] = f"A page on {thing}: where {thing} come from, number {i * 7919}, and what {thing} cost."
        for n, question in enumerate((f"where do {thing} come from?", f"what do {thing} cost?")):
            queries[f"q{i}-{n}"] = question
            relevant[f"q{i}-{n}"] = [f"c{i}"]
    return QADataset(queries, corpus, relevant, {chunk: {"document_id": f"d{chunk}"} for chunk in corpus})


def tiny_evaluation() -> Evaluation:
    """The evaluation of `HashEmbedder` on `tiny_dataset`: everything is found."""
    return evaluate(HashEmbedder(), tiny_dataset())
