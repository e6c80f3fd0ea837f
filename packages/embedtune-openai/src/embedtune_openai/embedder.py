"""`OpenAIEmbedder`: embeddings of OpenAI, or of any server that speaks its API."""

import base64
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from embedtune.errors import EmbeddingError
from embedtune.fingerprints import fingerprint_of_settings
from embedtune.protocols import Similarity, Vectors
from embedtune.search import checked_vectors
from embedtune_openai.connection import connect

if TYPE_CHECKING:
    from openai.types import CreateEmbeddingResponse

__all__ = ["OpenAIEmbedder"]

MAX_BATCH_TEXTS = 2048
"""OpenAI's limit on the texts of one request."""

MAX_BATCH_CHARACTERS = 250_000
"""OpenAI takes 300,000 tokens in one request; in scripts with a token per character this stays below."""


class OpenAIEmbedder:
    """An embedding model behind OpenAI's API, as an `embedtune.Embedder`.

    Queries and chunks are embedded alike: the API has no notion of either.

    Args:
        model: Name of the model, as the server knows it.
        base_url: Address of another server; ``OPENAI_BASE_URL``, or OpenAI's own, if None.
        api_key: ``OPENAI_API_KEY`` if None; never shown, never pickled.
        dimensions: Shorter vectors, where the model has them; None leaves it to the server.
        batch_size: Texts in one request, 1 to 2048.
        timeout: Seconds to wait for the server to go on, above 0.
        max_retries: Repeats of a request that failed in a way that may heal, at least 0.

    Raises:
        EmbeddingError: If there is no key for OpenAI, or a setting cannot be meant.
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        dimensions: int | None = None,
        batch_size: int = 128,
        *,
        timeout: float = 60.0,
        max_retries: int = 2,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise EmbeddingError(f"model must be a model's name; got {model!r}.")
        if not 1 <= batch_size <= MAX_BATCH_TEXTS:
            raise EmbeddingError(f"batch_size must lie in [1, {MAX_BATCH_TEXTS}]; got {batch_size!r}.")
        if dimensions is not None and dimensions < 1:
            raise EmbeddingError(f"dimensions must be at least 1; got {dimensions!r}.")
        self.model = model
        self.dimensions = dimensions
        self.batch_size = batch_size
        self._connection = connect(base_url, api_key, timeout, max_retries, EmbeddingError)

    def __repr__(self) -> str:
        return f"OpenAIEmbedder(model={self.model!r}, base_url={self._connection.place!r})"

    @property
    def fingerprint(self) -> str:
        """Hash of provider, address, model and dimensions: all that is known of a hosted model."""
        return fingerprint_of_settings(
            provider="openai", base_url=self._connection.place, model=self.model, dimensions=self.dimensions
        )

    @property
    def texts_at_once(self) -> int:
        """Texts of one request: a cache keeps what was answered before it asks for more."""
        return self.batch_size

    @property
    def similarity(self) -> Similarity:
        """Cosine."""
        return "cosine"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """As `embed_documents`."""
        return self.embed_documents(texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """Embed texts in batches; float32 (n, d), in the order given.

        Raises:
            EmbeddingError: If a text is blank (before any request), the server refuses or cannot be reached,
                or its answer does not hold one vector per text.
        """
        for index, text in enumerate(texts):
            if not text.strip():
                raise EmbeddingError(
                    f"Text {index} of {len(texts)} is blank; OpenAI's API refuses blank texts. Leave it out."
                )
        if not texts:
            return np.zeros((0, self.dimensions or 0), dtype=np.float32)
        found = [self._embed(batch) for batch in self._batches(texts)]
        if len(widths := sorted({vectors.shape[1] for vectors in found})) > 1:
            raise EmbeddingError(
                f"The embedder {self.model!r} at {self._connection.place} answered with vectors of {widths} "
                "dimensions: the model behind that name changed. Embed all texts anew with one model."
            )
        return np.concatenate(found)

    def _batches(self, texts: Sequence[str]) -> Iterator[list[str]]:
        batch: list[str] = []
        characters = 0
        for text in texts:
            if batch and (len(batch) == self.batch_size or characters + len(text) > MAX_BATCH_CHARACTERS):
                yield batch
                batch, characters = [], 0
            batch.append(text)
            characters += len(text)
        yield batch

    def _embed(self, batch: list[str]) -> Vectors:
        from openai import OpenAIError

        options: dict[str, Any] = {} if self.dimensions is None else {"dimensions": self.dimensions}
        try:
            answer = self._connection.client.embeddings.create(
                model=self.model, input=batch, encoding_format="base64", **options
            )
            return checked_vectors(self._rows(answer, len(batch)), len(batch), self.model)
        except EmbeddingError:
            raise
        except (OpenAIError, ValueError) as error:  # a ValueError: an answer that is no JSON, or of another shape
            reason = self._connection.reason(error)
        # Raised out here, so that the client's error is not chained to it: that holds the request with the key.
        raise EmbeddingError(f"The embedder {self.model!r} at {self._connection.place} did not answer: {reason}")

    def _rows(self, answer: "CreateEmbeddingResponse", n_texts: int) -> list[Any]:
        """The vectors in the order of the texts: by ``index``, since servers that work in parallel may mix them."""
        found = getattr(answer, "data", None) or []
        by_index = {row.index: row.embedding for row in found}
        if len(found) != n_texts or set(by_index) != set(range(n_texts)):
            raise EmbeddingError(
                f"The server at {self._connection.place} answered {n_texts} texts with {len(found)} vectors, "
                f"indices {sorted(by_index)[:5]}; expected one each. Its answer starts "
                f"{self._connection.shown(str(answer))[:80]!r}."
            )
        return [_decoded(by_index[index]) for index in range(n_texts)]


def _decoded(embedding: object) -> object:
    # Asked for base64, a third of the bytes; servers that do not know it answer with lists of numbers.
    return np.frombuffer(base64.b64decode(embedding), dtype="<f4") if isinstance(embedding, str) else embedding
