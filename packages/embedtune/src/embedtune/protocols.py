"""What the parts of embedtune say to each other: small interfaces.

Any object with these methods takes part, whatever it inherits from; `embedtune.testing` ships the
contract tests that prove it.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from embedtune.errors import LLMRequestError

__all__ = [
    "AsyncLLM",
    "BaseLLM",
    "BatchLLM",
    "BatchState",
    "Embedder",
    "LLMAnswer",
    "LLMRequest",
    "Reranker",
    "Retrieved",
    "Retriever",
    "Search",
    "Similarity",
    "Vectors",
]

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


@dataclass(frozen=True)
class Retrieved:
    """One chunk that a framework's retriever found."""

    id: str
    """As the framework has it; it may be another at the next parse."""
    text: str
    """The bare text."""
    embedded: str | None = None
    """What the framework's index embeds, where it is known and may differ: text with metadata in front, say."""


@runtime_checkable
class Retriever(Protocol):
    """A framework's way of searching one query at a time; `embedtune.retrievers` makes a `Search` of it."""

    embedded_hint: str
    """What a user can do where the embedded texts are not those of the data set, in the framework's words."""

    def retrieve(self, query: str, k: int) -> list[Retrieved]:
        """What is found, best first, ``k`` if the framework can be told; it is called from several threads."""


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
    """JSON schema that the answer should follow, where the server can be told."""
    json_object: bool = False
    """Without a schema: whether the answer should be some JSON object, where the server can be told."""
    max_tokens: int | None = None
    """Upper bound on answer tokens, reasoning included; None leaves it to the LLM."""
    temperature: float | None = None
    """Sampling temperature; None leaves it to the LLM."""
    seed: int | None = None
    """Sampling seed, where the server has one."""


@dataclass(frozen=True, kw_only=True)
class LLMAnswer:
    """One answer with what it cost."""

    text: str
    """The message, as it came; empty where the model refused or was cut before it said anything."""
    prompt_tokens: int | None = None
    """Tokens read, as the server counted them."""
    completion_tokens: int | None = None
    """Tokens written, reasoning included, as the server counted them."""
    finish: str | None = None
    """Why it ended: ``stop``, ``length`` (cut at the limit), ``content_filter`` (refused)."""
    pause_seconds: float | None = None
    """How long the server wants no further request, by its rate headers."""


class BaseLLM(ABC):
    """An LLM that writes questions. One method is enough; `AsyncLLM` and `BatchLLM` make it faster or cheaper."""

    max_tokens: int | None = None
    """The LLM's own upper bound on answer tokens, where it has one; a cost limit reckons with it."""

    takes_max_tokens: bool = False
    """Whether the bound of an `LLMRequest` reaches the model; if not, a cost limit may be passed by long answers."""

    @property
    def fingerprint(self) -> str:
        """What tells its answers from another LLM's: a journal does not give the answers of one for the other.

        The class by default. Name the model, the server and all settings that change an answer; never a key.
        """
        return f"{type(self).__module__}.{type(self).__qualname__}"

    @abstractmethod
    def chat_completion(self, prompt: str) -> str:
        """Answer one user message.

        Raises:
            LLMRequestError: If no answer can be had; its attributes tell whether that can heal. The message names
                the server's reason, never a key.
        """


@runtime_checkable
class AsyncLLM(Protocol):
    """What a `BaseLLM` has besides, if it can wait for many answers at once and tell what they cost."""

    async def acomplete(self, request: LLMRequest) -> LLMAnswer:
        """Answer one request, without retrying: the engine does that, and counts.

        Raises:
            LLMRequestError: If no answer can be had; its attributes tell whether that can heal.
        """

    async def aclose(self) -> None:
        """Close what was opened in the running event loop; it is called once at the end of a run."""


@dataclass(frozen=True, kw_only=True)
class BatchState:
    """How far a submitted batch is."""

    status: str
    """The server's word: ``in_progress``, ``completed``, ``expired``, ..."""
    is_over: bool
    """Whether nothing more will come: what is done can be fetched, the rest never comes."""
    n_requests: int = 0
    """Requests in it; 0 while the server has not counted them."""
    n_answered: int = 0
    """Requests answered so far."""
    n_failed: int = 0
    """Requests that failed so far."""
    reason: str | None = None
    """Why the whole batch failed, if it did."""


@runtime_checkable
class BatchLLM(Protocol):
    """What a `BaseLLM` has besides, if its server takes many requests at once and answers them later, for less."""

    def submit_batch(self, requests: Sequence[tuple[str, LLMRequest]], tag: str) -> tuple[str, int]:
        """Submit as many requests from the front as one batch holds.

        Args:
            requests: Pairs of a key, 64 characters at most, and a request.
            tag: Goes with the batch, so that `find_batch` finds it after a crash.

        Returns:
            The batch's id, and how many of the requests are in it, at least 1.

        Raises:
            LLMRequestError: If the server refuses, or the first request alone is too large.
        """

    def find_batch(self, tag: str) -> str | None:
        """The id of the batch that was submitted with the tag, None if there is none."""

    def poll_batch(self, batch: str) -> BatchState:
        """How far a batch is."""

    def fetch_batch(self, batch: str) -> "Iterator[tuple[str, LLMAnswer | LLMRequestError]]":
        """What there is of a batch that is over, in any order: each key with its answer or its error."""
