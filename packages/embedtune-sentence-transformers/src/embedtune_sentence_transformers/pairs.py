"""Training pairs, and the collator that makes a batch of them: distinct chunks, and who answers whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune_sentence_transformers.loading import DOCUMENT_PROMPTS, QUERY_PROMPTS, prompt_for
from embedtune_sentence_transformers.loss import MASKED, NEGATIVE, OWN

__all__ = ["PairCollator", "TrainingPairs", "pairs_of"]


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs of query text and chunk text, both by index; equal texts have one index."""

    queries: tuple[str, ...]
    """Distinct query texts."""
    chunks: tuple[str, ...]
    """Distinct texts of relevant chunks."""
    pairs: tuple[tuple[int, int], ...]
    """Distinct pairs: a query and a chunk that answers it."""
    answers: Mapping[int, frozenset[int]]
    """All chunks that answer a query."""

    def __len__(self) -> int:
        return len(self.pairs)


def pairs_of(dataset: QADataset, all_answers: bool = True) -> TrainingPairs:
    """The pairs of a data set, in its order: all, or each query's first; the answers are all in either case."""
    queries: dict[str, int] = {}
    chunks: dict[str, int] = {}
    answers: dict[int, set[int]] = {}
    first: dict[int, int] = {}
    for query, relevant in dataset.relevant_docs.items():
        index = queries.setdefault(dataset.queries[query], len(queries))
        for chunk in relevant:
            answers.setdefault(index, set()).add(chunks.setdefault(dataset.corpus[chunk], len(chunks)))
            first.setdefault(index, chunks[dataset.corpus[chunk]])
    pairs = tuple((query, chunk) for query, found in answers.items() for chunk in sorted(found))
    pairs = pairs if all_answers else tuple(first.items())
    return TrainingPairs(tuple(queries), tuple(chunks), pairs, {q: frozenset(found) for q, found in answers.items()})


@dataclass
class PairCollator:
    """Tokenises a batch: all its queries, each distinct chunk once, and the matrix of labels.

    A batch is drawn at random, so its lengths differ; padding all to the longest would be most of the work. Texts
    are sorted by length and encoded in groups, which changes no figure. Implements what the sentence-transformers
    trainer asks of a collator.
    """

    model: SentenceTransformer
    """Tokenises, with its prompts."""
    pairs: TrainingPairs
    """What the indices in the batch refer to."""
    group_size: int = 16
    """Texts that are padded alike and go through the model together."""
    row_by_row: bool = False
    """Whether each query stands beside its chunk, in one group of each, as the library's losses want it."""
    valid_label_columns: list[str] = field(default_factory=lambda: ["label"])
    """Read by the trainer."""

    def __call__(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        """The features of groups of queries, then of chunks, and ``label`` of shape (n_queries, n_chunks), int8."""
        if self.row_by_row:
            return self._beside_each_other(rows)
        rows = sorted(rows, key=lambda row: len(self.pairs.queries[row["query"]]))
        chunks = sorted({row["chunk"] for row in rows}, key=lambda chunk: (len(self.pairs.chunks[chunk]), chunk))
        column = {chunk: j for j, chunk in enumerate(chunks)}
        label = torch.full((len(rows), len(chunks)), NEGATIVE, dtype=torch.int8)
        for i, row in enumerate(rows):
            for chunk in self.pairs.answers[row["query"]]:
                if chunk in column:
                    label[i, column[chunk]] = MASKED
            label[i, column[row["chunk"]]] = OWN
        queries = [self.pairs.queries[row["query"]] for row in rows]
        texts = [self.pairs.chunks[chunk] for chunk in chunks]
        return {**self._sides(queries, texts, self.group_size), "label": label}

    def _beside_each_other(self, rows: Sequence[Mapping[str, int]]) -> dict[str, Any]:
        queries = [self.pairs.queries[row["query"]] for row in rows]
        texts = [self.pairs.chunks[row["chunk"]] for row in rows]
        return {**self._sides(queries, texts, len(rows)), "label": torch.ones(len(rows))}

    def _sides(self, queries: list[str], texts: list[str], group_size: int) -> dict[str, Any]:
        return {
            **self._features("query", queries, prompt_for(self.model, QUERY_PROMPTS), group_size),
            **self._features("document", texts, prompt_for(self.model, DOCUMENT_PROMPTS), group_size),
        }

    def _features(self, task: str, texts: list[str], prompt: str | None, group_size: int) -> dict[str, Any]:
        """Features of texts, in groups that are padded to their own longest."""
        batch: dict[str, Any] = {}
        for number, start in enumerate(range(0, len(texts), group_size)):
            group = texts[start : start + group_size]
            if hasattr(self.model, "preprocess"):
                features = self.model.preprocess(group, prompt=prompt, task=task)
            else:  # sentence-transformers 5
                features = self._tokenised(group, prompt, task)
            batch.update({f"{task}{number}_{key}": value for key, value in features.items()})
        return batch

    def _tokenised(self, texts: list[str], prompt: str | None, task: str) -> dict[str, Any]:
        is_router = type(self.model[0]).__name__ == "Router"
        prompted = [f"{prompt or ''}{text}" for text in texts]
        features: dict[str, Any] = self.model.tokenize(prompted, **({"task": task} if is_router else {}))
        if prompt and not all(getattr(module, "include_prompt", True) for module in self.model):
            # Tokens of the prompt less its closing special token, as encode() counts them.
            features["prompt_length"] = self.model.tokenize([prompt])["input_ids"].shape[-1] - 1
        return dict(features)
