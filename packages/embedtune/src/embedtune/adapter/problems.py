"""A validation plan as vectors: every text embedded once, queries and chunks as rows of arrays."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm.auto import tqdm

from embedtune.adapter.choosing import Fold, Problem
from embedtune.adapter.pooling import ChunkVectors, unit_rows
from embedtune.adapter.query_adapter import PROBE
from embedtune.comparison.pairing import clusters_of
from embedtune.dataset import QADataset
from embedtune.errors import EmbeddingError
from embedtune.protocols import Embedder, Vectors
from embedtune.search import checked_vectors
from embedtune.validation import ValidationPlan

__all__ = ["Embedded", "embedded_problem"]

_BLOCK = 4096
"""Texts whose vectors are in memory at once."""


@dataclass(frozen=True, eq=False)
class Embedded:
    """What is learned from, as vectors."""

    problem: Problem
    folds: Sequence[Fold]
    probe: Vectors
    """The embedder's vector of the query `PROBE`, shape (d,)."""


def embedded_problem(plan: ValidationPlan, embedder: Embedder, folder: Path, *, progress: bool) -> Embedded:
    """Embed the queries and chunks of a plan, each text once.

    The chunks' vectors go to a file and are read from there in blocks: a corpus may be larger than memory.

    Args:
        plan: What is trained on and what chooses.
        embedder: Any `Embedder`.
        folder: Takes ``queries.npy`` and ``chunks.npy``.
        progress: Whether bars are shown.

    Raises:
        EmbeddingError: If the embedder fails, or its queries and chunks have no common dimension.
    """
    datasets = [dataset for fold in plan.folds for dataset in fold] + [plan.trainset]
    columns: dict[str, int] = {}
    for dataset in datasets:
        for text in dataset.corpus.values():
            columns.setdefault(text, len(columns))
    rows = _Rows(columns)
    places = [rows.of(dataset) for dataset in datasets]
    asked = list(dict.fromkeys([PROBE, *rows.known]))
    queries = _embedded(asked, embedder.embed_queries, folder / "queries.npy", "queries", progress)
    chunks = _embedded(list(columns), embedder.embed_documents, folder / "chunks.npy", "chunks", progress)
    if queries.shape[1] != chunks.shape[1]:
        raise EmbeddingError(
            f"The embedder gives queries {queries.shape[1]} dimensions and chunks {chunks.shape[1]}: two models are "
            "mixed up."
        )
    order = {text: place for place, text in enumerate(asked)}
    vectors = unit_rows(np.asarray(queries[[order[text] for text in rows.known]]))
    answers = [np.array(sorted(found), dtype=np.intp) for found in rows.answers]
    problem = Problem(vectors, ChunkVectors(chunks, embedder.similarity), answers, rows.clusters)
    folds = []
    for number, (train, _) in enumerate(plan.folds):
        seen = np.array(sorted({columns[text] for text in train.corpus.values()}), dtype=np.intp)
        hidden = np.setdiff1d(np.arange(len(columns)), seen)
        folds.append(Fold(places[2 * number], places[2 * number + 1], hidden))
    return Embedded(problem, folds, np.array(queries[0]))


class _Rows:
    """Queries by text, numbered as they come; what answers a text under one id answers it under all."""

    def __init__(self, columns: Mapping[str, int]) -> None:
        self._columns = columns
        self.known: dict[str, int] = {}
        self.answers: list[set[int]] = []
        self.clusters: list[int] = []

    def of(self, dataset: QADataset) -> npt.NDArray[np.intp]:
        """The rows of a data set's queries; new ones get clusters of their own."""
        first, found = max(self.clusters, default=-1) + 1, set()
        for cluster, (query, text) in zip(clusters_of(dataset), dataset.queries.items(), strict=True):
            row = self.known.setdefault(text, len(self.known))
            if row == len(self.clusters):
                self.clusters.append(first + cluster)
                self.answers.append(set())
            self.answers[row] |= {self._columns[dataset.corpus[chunk]] for chunk in dataset.relevant_docs[query]}
            found.add(row)
        return np.array(sorted(found), dtype=np.intp)


def _embedded(
    texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors], file: Path, what: str, progress: bool
) -> Vectors:
    """Vectors in a file of numpy's, shape (n, d), as a memory map."""
    array: Vectors | None = None
    starts = range(0, len(texts), _BLOCK)
    for start in tqdm(starts, desc=f"vectors of {what}", unit="block", leave=False, disable=not progress):
        some = texts[start : start + _BLOCK]
        vectors = checked_vectors(embed(some), len(some), "embedder")
        if array is None:
            shape = (len(texts), vectors.shape[1])
            array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=shape)
        array[start : start + len(some)] = vectors
    assert array is not None
    return array
