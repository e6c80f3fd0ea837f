"""What the parts of embedtune say to each other: four small interfaces.

Any object with these methods takes part, whatever it inherits from; `embedtune.testing` ships the
contract tests that prove it.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

__all__ = ["BaseLLM", "Embedder", "LLMAnswer", "LLMRequest", "Reranker", "Search", "Similarity", "Vectors"]

Vectors = npt.NDArray[np.float32]
"""Embeddings: one row per text, float32, shape (n, d)."""

Similarity = Literal["cosine", "dot"]
"""How two vectors are compared."""


@runtime_checkable
class Embedder(Protocol):
    """Texts in, vectors out; queries and documents may be embedded differently."""

    @property
    def fingerprint(self) -> str | None:
        """Hash of all that changes a vector; None if it cannot be known, then nothing is cached."""

    @property
    def similarity(self) -> Similarity:
        """How the vectors are compared."""

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """Embed queries, with the model's query prompt if it has one; float32 (n, d), (0, d) for none."""

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed chunks, with the model's document prompt if it has one; float32 (n, d), (0, d) for none."""


@runtime_checkable
class Search(Protocol):
    """Queries in, ranked chunk ids out."""

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """One list per query, at most ``k`` chunk ids each, best first; an empty list if nothing matches."""


@runtime_checkable
class Reranker(Protocol):
    """Scores (query, text) pairs; higher is better."""

    @property
    def fingerprint(self) -> str | None:
        """Hash of all that changes a score; None if it cannot be known, then nothing is cached."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """Scores, float32 of shape (n,), in the order of the pairs."""


@dataclass(frozen=True, kw_only=True)
class LLMRequest:
    """One prompt with all that changes its answer."""

    prompt: str
    """The whole user message."""
    schema: dict[str, Any] | None = None
    """JSON schema that the answer should follow, if the server can be told."""
    max_tokens: int | None = None
    """Upper bound on answer tokens; None leaves it to the server."""
    temperature: float | None = None
    """Sampling temperature; None leaves it to the server."""
    seed: int | None = None
    """Sampling seed, where the server has one."""


@dataclass(frozen=True, kw_only=True)
class LLMAnswer:
    """One answer with what it cost."""

    text: str
    """The message, as it came."""
    prompt_tokens: int | None = None
    """Tokens read, as the server counted them."""
    completion_tokens: int | None = None
    """Tokens written, as the server counted them."""
    finish: str | None = None
    """Why it ended: ``stop``, ``length`` (cut), ``content_filter`` (refused)."""


class BaseLLM(ABC):
    """An LLM that writes questions. One method is enough; the others make it faster or cheaper.

    An implementation may also have ``async acomplete(request: LLMRequest) -> LLMAnswer``.
    """

    @abstractmethod
    def chat_completion(self, prompt: str) -> str:
        """Answer one user message.

        Raises:
            GenerationError: If no answer can be had; the message names the server's reason, never a key.
        """
