"""Texts as tokens: each text tokenised once, and batches of them padded in groups of like length."""

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import torch
from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers.loading import DOCUMENT_PROMPTS, QUERY_PROMPTS, positions_of, prompt_for

__all__ = ["TokenisedTexts"]

_BY_TOKEN = frozenset({"input_ids", "attention_mask", "token_type_ids"})
"""Features with a number for each token, which the tokenizer knows how to pad."""
_AT_ONCE = 256
_TOKENS_AT_ONCE = {"cpu": 1024}
"""Tokens that go through the model together. A CPU's matrix products are at full speed with so many, and more only
wait for memory; a GPU takes the whole batch."""
_STEP = 8
"""Lengths of groups, and their rows where they are many, are rounded to a multiple: a processor's matrix library
compiles a kernel for each shape that it meets, which takes a tenth of the time where hardly one comes twice."""


class TokenisedTexts:
    """Texts of one side, by index.

    Args:
        model: Tokenises, with its prompts.
        task: ``"query"`` or ``"document"``.
        texts: In the order of their indices; each is tokenised when it is first asked for, and never again.
    """

    def __init__(self, model: SentenceTransformer, task: str, texts: Sequence[str]) -> None:
        self._model = model
        self._task = task
        self._texts = texts
        self._prompt = prompt_for(model, QUERY_PROMPTS if task == "query" else DOCUMENT_PROMPTS)
        self._tokens: dict[int, dict[str, list[int]]] = {}
        self._constant: dict[str, Any] = {}
        self._is_plain = True

    def features(self, indices: Sequence[int]) -> dict[str, Any]:
        """The model's input for some of the texts, padded to the longest of them."""
        self._tokenise([index for index in indices if index not in self._tokens])
        if not self._is_plain:
            return self._features([self._texts[index] for index in indices])
        rows = [self._tokens[index] for index in indices]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        padded = self._model.tokenizer.pad(columns, padding=True, pad_to_multiple_of=self._step, return_tensors="pt")
        return {**padded, **self._constant}

    def by_length(self, indices: Collection[int]) -> list[int]:
        """The indices, shortest text first; what is not tokenised yet is tokenised together."""
        self._tokenise([index for index in sorted(indices) if index not in self._tokens])
        return sorted(indices, key=lambda index: (self.length(index), index))

    def groups(self, by_length: Sequence[int]) -> list[list[int]]:
        """Texts in groups of like length, each of which is padded to its own longest.

        A batch is drawn at random, so its lengths differ; padding all to the longest would be most of the work.

        Args:
            by_length: As `by_length` gives them.
        """
        limit = _TOKENS_AT_ONCE.get(self._model.device.type)
        groups: list[list[int]] = []
        for index in by_length:
            if not groups:
                groups.append([])
            elif limit is not None and (len(groups[-1]) + 1) * self._padded_length(index) > limit:
                n_rows = len(groups[-1]) // _STEP * _STEP or len(groups[-1])
                groups[-1], rest = groups[-1][:n_rows], groups[-1][n_rows:]
                groups.append(rest)
            groups[-1].append(index)
        return groups

    def _padded_length(self, index: int) -> int:
        step = self._step or 1
        return -(-self.length(index) // step) * step

    @cached_property
    def _step(self) -> int | None:
        """None where padding could go beyond the model's positions."""
        return _STEP if (positions_of(self._model) or 0) % _STEP == 0 else None

    def length(self, index: int) -> int:
        """Tokens of a text; its characters where the model's input is of another kind."""
        self._tokenise([] if index in self._tokens else [index])
        return len(self._tokens[index]["input_ids"]) if self._is_plain else len(self._texts[index])

    def _tokenise(self, indices: Sequence[int]) -> None:
        for start in range(0, len(indices) if self._is_plain else 0, _AT_ONCE):
            some = indices[start : start + _AT_ONCE]
            features = self._features([self._texts[index] for index in some])
            tensors = {name: value for name, value in features.items() if isinstance(value, torch.Tensor)}
            self._is_plain = set(tensors) <= _BY_TOKEN and {"input_ids", "attention_mask"} <= set(tensors)
            if not self._is_plain:
                return
            self._constant = {name: value for name, value in features.items() if name not in tensors}
            kept = tensors["attention_mask"].bool()
            for row, index in enumerate(some):
                self._tokens[index] = {name: value[row][kept[row]].tolist() for name, value in tensors.items()}

    def _features(self, texts: list[str]) -> dict[str, Any]:
        # A router that is not the first module is told nothing by it, and would send queries the way of documents.
        task = {"task": self._task} if any(type(module).__name__ == "Router" for module in self._model) else {}
        return {**self._tokenised(texts), **task}

    def _tokenised(self, texts: list[str]) -> dict[str, Any]:
        if hasattr(self._model, "preprocess"):
            return dict(self._model.preprocess(texts, prompt=self._prompt, task=self._task))
        # sentence-transformers 5
        is_router = type(self._model[0]).__name__ == "Router"
        prompted = [f"{self._prompt or ''}{text}" for text in texts]
        features: dict[str, Any] = dict(self._model.tokenize(prompted, **({"task": self._task} if is_router else {})))
        if self._prompt and not all(getattr(module, "include_prompt", True) for module in self._model):
            # Tokens of the prompt less its closing special token, as encode() counts them.
            features["prompt_length"] = self._model.tokenize([self._prompt])["input_ids"].shape[-1] - 1
        return features
