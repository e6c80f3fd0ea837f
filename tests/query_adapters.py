"""Query adapters that have learned something, for tests of what takes them."""

import itertools
from pathlib import Path

import numpy as np

from embedtune import QADataset, tune
from embedtune.adapter.query_adapter import QueryAdapter
from embedtune.protocols import Embedder

__all__ = ["adapter_over", "code_words", "directions_apart", "mapped"]


def code_words() -> QADataset:
    """A secret language: each word of a query stands for another in its chunk. A linear map can learn it."""
    secret = dict(zip(["apple", "river", "tower", "candle"], ["engine", "paper", "violin", "desert"], strict=True))
    secret |= dict(zip(["button", "garden", "mirror", "ladder"], ["rocket", "cheese", "carpet", "planet"], strict=True))
    queries, corpus, relevant = {}, {}, {}
    for number, words in enumerate(itertools.combinations(secret, 3)):
        queries[f"q{number}"] = " ".join(words)
        corpus[f"c{number}"] = " ".join(secret[word] for word in words)
        relevant[f"q{number}"] = [f"c{number}"]
    return QADataset(queries, corpus, relevant)


def adapter_over(model: object, folder: Path) -> Path:
    """The folder of an adapter over a model that has learned the code words; it takes half a second.

    Args:
        model: An embedder, or a reference.
        folder: Where it is written.
    """
    result = tune(model, code_words(), path=folder, tuner="adapter", progress=False)
    assert not result.kept_base, result.record.kept_base_reason
    return result.path


def mapped(embedder: Embedder, folder: Path, text: str) -> list[float]:
    """A query's vector by the parts: the embedder's, then the map's."""
    vector: list[float] = QueryAdapter.load(folder)(embedder.embed_queries([text]))[0].tolist()
    return vector


def directions_apart(one: object, other: object) -> float:
    """1 minus the cosine of two vectors."""
    a, b = (np.asarray(side, dtype=np.float64) for side in (one, other))
    return float(1 - a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
