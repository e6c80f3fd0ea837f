"""The collator that makes a batch of rows: distinct queries and chunks, who answers whom, and hard negatives."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers.loss import MASKED, NEGATIVE, OWN
from embedtune_sentence_transformers.negatives import HardNegatives
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.tokens import TokenisedTexts

__all__ = ["RowCollator"]


@dataclass
class RowCollator:
    """Tokenises a batch: each distinct query and each distinct chunk once, and the matrix of labels.

    Implements what the sentence-transformers trainer asks of a collator.
    """

    model: SentenceTransformer
    """Tokenises, with its prompts."""
    pairs: TrainingPairs
    """What the indices in the batch refer to."""
    negatives: HardNegatives | None = None
    """Chunks that are set against a query besides those of the batch."""
    seed: int = 0
    """Draws the hard negatives."""
    row_by_row: bool = False
    """Whether each query stands beside its chunk, in one group of each, as the library's losses want it."""
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])
    """Read by the trainer."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """The features of groups of queries, then of chunks, and ``label``: see `loss.MaskedInBatchLoss`."""
        if self.row_by_row:
            queries, chunks = [row["queries"][0] for row in rows], [row["chunk"] for row in rows]
            sides = {**self._group("query", 0, queries), **self._group("document", 0, chunks)}
            return {**sides, "label": torch.ones(len(rows))}
        queries = self._queries.by_length({q for row in rows for q in row["queries"]})
        drawn = self._drawn(rows, queries)
        chunks = self._chunks.by_length({row["chunk"] for row in rows} | drawn)
        label = self._labels(rows, queries, chunks)
        batch: dict[str, Any] = {"label": label}
        for task, indices in (("query", queries), ("document", chunks)):
            for number, group in enumerate(self._texts(task).groups(indices)):
                batch |= self._group(task, number, group)
        if self.negatives is not None and self.negatives.teacher is not None:
            batch["label"] = torch.stack([label.float(), self.negatives.teacher.matrix(queries, chunks)])
        return batch

    @cached_property
    def _queries(self) -> TokenisedTexts:
        return TokenisedTexts(self.model, "query", self.pairs.queries)

    @cached_property
    def _chunks(self) -> TokenisedTexts:
        return TokenisedTexts(self.model, "document", self.pairs.chunks)

    def _drawn(self, rows: Sequence[Mapping[str, Any]], queries: Sequence[int]) -> set[int]:
        """The same for the same batch, so that a resumed run draws what an uninterrupted one does."""
        if self.negatives is None:
            return set()
        rng = random.Random(f"{self.seed} {[row['chunk'] for row in rows]}")
        return {chunk for query in queries for chunk in self.negatives.draw(query, rng)}

    def _labels(self, rows: Sequence[Mapping[str, Any]], queries: Sequence[int], chunks: Sequence[int]) -> torch.Tensor:
        """Shape (n_queries, n_chunks), int8."""
        row_of = {query: i for i, query in enumerate(queries)}
        column_of = {chunk: j for j, chunk in enumerate(chunks)}
        label = torch.full((len(queries), len(chunks)), NEGATIVE, dtype=torch.int8)
        for query in queries:
            for chunk in self.pairs.answers[query]:
                if chunk in column_of:
                    label[row_of[query], column_of[chunk]] = MASKED
        for row in rows:
            for query in row["queries"]:
                label[row_of[query], column_of[row["chunk"]]] = OWN
        return label

    def _group(self, task: str, number: int, indices: Sequence[int]) -> dict[str, Any]:
        return {f"{task}{number}_{name}": value for name, value in self._texts(task).features(indices).items()}

    def _texts(self, task: str) -> TokenisedTexts:
        return self._queries if task == "query" else self._chunks
