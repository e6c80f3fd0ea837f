"""Short runs of the tuner, runs that stop in the middle, and what they leave."""

import hashlib
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from embedtune import QADataset, TrainingEvent, TuneResult, hookimpl, tune
from embedtune.plugins import PluginManager
from embedtune.protocols import Vectors
from embedtune.testing import HashEmbedder

__all__ = [
    "QUICK",
    "QUICK_RERANKER",
    "CodeTeacher",
    "cross_validated",
    "interrupted",
    "manuals",
    "one_thread",
    "resumed_weights",
    "same_tensors",
    "stopping_at",
    "tune_a_file",
    "tune_a_reranker_on_a_file",
    "tuned",
    "weights",
]

QUICK = {"device": "cpu", "progress": False, "precision": "fp32", "batch_size": 8, "learning_rate": 3e-3}

QUICK_RERANKER: dict[str, Any] = {
    "tuner": "reranker",
    "device": "cpu",
    "progress": False,
    "precision": "fp32",
    "batch_size": 16,
    "epochs": 2,
    "learning_rate": 1e-3,
    "negatives": 2,
    "random_negatives": 0,
    "depth": 3,
    "metric": "ndcg@3",
    "validations_per_epoch": 1,
}

_THINGS = ("apple", "river", "tower", "candle", "button", "garden", "mirror", "ladder")


def manuals() -> QADataset:
    """Questions that manuals answer: a search by words finds rumours first, and a reranker learns better in 8 steps."""
    queries, corpus, relevant = {}, {}, {}
    for i, words in enumerate(itertools.combinations(_THINGS, 3)):
        thing = " ".join(words)
        queries[f"q{i}"], relevant[f"q{i}"] = f"{thing}?", [f"manual{i}"]
        corpus |= {f"{kind}{i}": f"{thing} {kind}" for kind in ("rumour", "gossip")}
        corpus[f"manual{i}"] = f"{thing} from the manual"
    return QADataset(queries, corpus, relevant)


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrices as small as a tiny model's take ten times as long where busy cores share them."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def tuned(model: object, dataset: QADataset, path: Path, **options: object) -> TuneResult:
    """A run on 70% of a data set that is validated on the rest."""
    split = dataset.split(val=0.3, test=0)
    with one_thread():
        return tune(model, split.train, split.val, path, **(QUICK | options))


def tune_a_file(model: Path, file: Path, path: Path, **options: Any) -> None:
    """`tuned`, for a process of its own that may be killed."""
    split = QADataset.load(file).split(val=0.3, test=0)
    tune(str(model), split.train, split.val, path, **options)


def tune_a_reranker_on_a_file(model: Path, file: Path, path: Path, **options: Any) -> None:
    """As `tune_a_file`, for a reranker."""
    split = QADataset.load(file).split(val=0.3, test=0)
    embedder = HashEmbedder(256)
    tune(str(model), split.train, split.val, path, embedder=embedder, **(QUICK_RERANKER | options))


def cross_validated(model: object, dataset: QADataset, path: Path, **options: object) -> TuneResult:
    """A run that is chosen in folds."""
    with one_thread():
        return tune(model, dataset, path=path, **(QUICK | options))


def weights(folder: Path) -> bytes:
    """The file of weights, to the byte."""
    return (folder / "model.safetensors").read_bytes()


def same_tensors(one: Path, other: Path) -> dict[str, bool]:
    """By name, whether the tensors of two model folders are equal to the bit."""
    ours, theirs = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert ours.keys() == theirs.keys()
    return {name: torch.equal(ours[name], theirs[name]) for name in ours}


def stopping_at(step: int) -> PluginManager:
    """All plugins, and one that raises KeyboardInterrupt as Ctrl+C would, once, after a step."""

    class Stop:
        @hookimpl
        def embedtune_training_event(self, event: TrainingEvent) -> None:
            if (event.kind, event.step) == ("step", step):
                raise KeyboardInterrupt

    manager = PluginManager()
    manager.register(Stop(), "stop", "test 1")
    return manager


def interrupted(model: object, dataset: QADataset, path: Path, step: int, **options: object) -> None:
    """A run that Ctrl+C ends after a step; each step is a checkpoint."""
    with pytest.raises(KeyboardInterrupt):
        tuned(model, dataset, path, plugins=stopping_at(step), checkpoint_steps=1, **options)


def resumed_weights(model: object, dataset: QADataset, path: Path, step: int, **options: object) -> bytes:
    """The weights of a run that was interrupted after a step and gone on with."""
    interrupted(model, dataset, path, step, **options)
    tuned(model, dataset, path, resume=True, checkpoint_steps=1, **options)
    return weights(path)


class CodeTeacher:
    """A reranker that knows the answers of a data set by heart, and counts what it is asked."""

    def __init__(self, dataset: QADataset, fingerprint: str | None = "knows-the-code") -> None:
        self._right = {
            (dataset.queries[query], dataset.corpus[chunk])
            for query, chunks in dataset.relevant_docs.items()
            for chunk in chunks
        }
        digest = hashlib.sha256(repr(sorted(self._right)).encode()).hexdigest()
        self.fingerprint = fingerprint and f"{fingerprint}-{digest[:8]}"
        self.asked: list[tuple[str, str]] = []

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """10 for an answer, else -10."""
        self.asked += pairs
        return np.array([10 if pair in self._right else -10 for pair in pairs], dtype=np.float32)
