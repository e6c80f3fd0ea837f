"""LanceDB's embedding functions as embedtune `Embedder`s: in batches, and never a None as a vector."""

import logging
import os
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from lancedb.embeddings import EmbeddingFunction, TextEmbeddingFunction
from tqdm.auto import tqdm

from embedtune import EmbeddingError, EmbedtuneError, EvaluationError
from embedtune.fingerprints import fingerprint_of_settings, folder_fingerprint
from embedtune.protocols import Similarity, Vectors
from embedtune.search import checked_vectors

__all__ = ["FunctionEmbedder", "alias_of", "as_text_embedder", "reason_for_none", "with_retries"]

logger = logging.getLogger(__name__)

IMAGE_ALIASES = frozenset({"colpali", "imagebind", "open-clip", "siglip"})
"""Functions of LanceDB whose source column holds images."""

HOSTED_ALIASES = frozenset({"bedrock-text", "cohere", "gemini-text", "jina", "ollama", "openai", "voyageai", "watsonx"})
"""Functions of LanceDB that ask a server, which owns the weights."""

TEXTS_AT_ONCE = 128
"""Texts in one call: LanceDB's OpenAI function sends all it gets in one request, and loses all if one is refused."""

_TRIES = 4
_BATCHES_WORTH_A_BAR = 4
_HEALING_STATUS = frozenset({408, 409, 425, 429})
_ENDPOINTS = ("base_url", "host", "url", "region")
_SETTINGS = ("query_input_type", "source_input_type", "query_task_type", "source_task_type")


def alias_of(function: EmbeddingFunction) -> str:
    """The name under which LanceDB knows the function's class."""
    return str(getattr(function, "__embedding_function_registry_alias__", None) or type(function).__name__)


def as_text_embedder(function: EmbeddingFunction) -> "FunctionEmbedder":
    """The function as an `Embedder`.

    Raises:
        EvaluationError: If its source column holds images.
    """
    if alias_of(function) in IMAGE_ALIASES:
        raise EvaluationError(
            f"The embedding function {alias_of(function)!r} embeds images; embedtune evaluates and tunes text."
        )
    return FunctionEmbedder(function)


class FunctionEmbedder:
    """Embeds through the function's own ``compute_query_embeddings`` and ``compute_source_embeddings``.

    Vectors are what a table with this function holds; their dimension is read from them, never asked of
    ``ndims()``, which knows a provider's best known models only.

    Args:
        function: A text function of LanceDB.
        batch_size: Texts in one call.
    """

    def __init__(self, function: EmbeddingFunction, batch_size: int = TEXTS_AT_ONCE) -> None:
        self._function = function
        self._batch_size = batch_size

    @property
    def name(self) -> str:
        """For people to read, such as ``openai:text-embedding-3-small in LanceDB``."""
        model = getattr(self._function, "name", None)
        return f"{alias_of(self._function)}{f':{model}' if model else ''} in LanceDB"

    @property
    def texts_at_once(self) -> int | None:
        """Texts in one request, after which a cache is to be written; None where there are no requests."""
        return None if getattr(self._function, "batches_by_itself", False) else self._batch_size

    @cached_property
    def fingerprint(self) -> str | None:
        """Of a hosted model: provider, address, name, dimensions; of a folder: its content; None otherwise."""
        settings = self._settings
        if alias_of(self._function) in HOSTED_ALIASES:
            return fingerprint_of_settings(provider=alias_of(self._function), **settings)
        if own := getattr(self._function, "content_fingerprint", None):
            return fingerprint_of_settings(model=own(), normalize=settings.get("normalize"))
        if self.folder is None:
            return None
        return folder_fingerprint(self.folder, provider=alias_of(self._function), normalize=settings.get("normalize"))

    @property
    def _settings(self) -> dict[str, object]:
        function = self._function
        fields = type(function).model_fields
        endpoint = next((getattr(function, name) for name in _ENDPOINTS if name in fields), None)
        if endpoint is None and alias_of(function) == "openai":
            endpoint = os.environ.get("OPENAI_BASE_URL")  # as its client does
        return {
            "base_url": _without_user(endpoint),
            "model": getattr(function, "name", None),
            "dimensions": getattr(function, "dim", None) or getattr(function, "output_dimension", None),
            "normalize": getattr(function, "normalize", None),
            **{name: getattr(function, name) for name in _SETTINGS if name in fields},
        }

    @property
    def folder(self) -> Path | None:
        """The model's folder, if its name is one."""
        name = str(getattr(self._function, "name", ""))
        if not name or alias_of(self._function) in HOSTED_ALIASES:
            return None
        folder = Path(name).expanduser().absolute()
        return folder if folder.is_dir() else None

    @property
    def similarity(self) -> Similarity:
        """Cosine, unless the function says otherwise."""
        own: Callable[[], Similarity] | None = getattr(self._function, "similarity", None)
        return own() if own is not None else "cosine"

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """``compute_source_embeddings`` in batches; float32 (n, d)."""
        return self._embed(self._function.compute_source_embeddings, texts, self._batch_size)

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """``compute_query_embeddings``: in batches where that is safe, else one text a call; float32 (n, d)."""
        query_side = type(self._function).compute_query_embeddings
        if query_side is TextEmbeddingFunction.compute_query_embeddings:
            return self.embed_documents(texts)  # which is all that the inherited method does
        if getattr(self._function, "batches_by_itself", False):
            return self._embed(self._function.compute_query_embeddings, texts, self._batch_size)
        # The interface promises one query a call, and some functions (jina, voyageai) hold it to that.
        return self._embed(lambda some: self._function.compute_query_embeddings(some[0]), texts, batch_size=1)

    def _embed(self, compute: Callable[..., Any], texts: Sequence[str], batch_size: int) -> Vectors:
        if getattr(self._function, "batches_by_itself", False):
            batch_size = max(len(texts), 1)
        rows: list[Any] = []
        starts = range(0, len(texts), batch_size)
        hidden = len(starts) < _BATCHES_WORTH_A_BAR
        for start in tqdm(starts, desc=f"embedding ({alias_of(self._function)})", unit="batch", disable=hidden):
            rows += self._batch(compute, list(texts[start : start + batch_size]), start, len(texts))
        return checked_vectors(rows, len(texts), alias_of(self._function))

    def _batch(self, compute: Callable[..., Any], texts: list[str], start: int, n_texts: int) -> list[Any]:
        name = alias_of(self._function)
        try:
            vectors = list(with_retries(compute, self._function)(texts))
        except (EmbedtuneError, ImportError):
            raise
        except Exception as error:
            message = f"{type(error).__name__}: {error}"
            raise EmbeddingError(
                f"The embedding function {name!r} failed on texts {start} to {start + len(texts) - 1} of {n_texts}: "
                f"{without_secrets(message, self._function)}"
            ) from error
        if len(vectors) != len(texts):
            raise EmbeddingError(
                f"The embedding function {name!r} returned {len(vectors)} vectors for {len(texts)} texts."
            )
        if any(vector is None for vector in vectors):
            place, reason = self._first_refused(compute, texts, vectors)
            raise EmbeddingError(
                f"The embedding function {name!r} gave no vector for text {start + place} of {n_texts} "
                f"({texts[place][:60]!r}, {len(texts[place])} characters): {reason}"
            )
        return [np.asarray(vector, dtype=np.float32) for vector in vectors]

    def _first_refused(self, compute: Callable[..., Any], texts: list[str], vectors: list[Any]) -> tuple[int, str]:
        """Which text it was: one bad text costs its whole batch the vectors, so each is asked for alone."""
        missing = [place for place, vector in enumerate(vectors) if vector is None]
        for place in missing:
            if len(texts) == 1 or any(vector is None for vector in compute([texts[place]])):
                return place, reason_for_none(self._function, texts[place])
        together = sum(map(len, texts))
        return missing[0], f"alone each text of its batch has one, {together} characters together have not."


def reason_for_none(function: EmbeddingFunction, text: str) -> str:
    """Why a function returned None; LanceDB's OpenAI function logs the reason and drops it."""
    if not text.strip():
        return "it is blank, and providers refuse blank texts."
    client = getattr(function, "_openai_client", None)
    if client is None:
        return "the function gave no reason; see the log."
    dim = getattr(function, "dim", None)
    try:
        client.embeddings.create(
            input=[text], model=getattr(function, "name", ""), **({"dimensions": dim} if dim else {})
        )
    except Exception as error:
        return without_secrets(f"{type(error).__name__}: {error}", function)
    return "the server refused it once, and not when it was asked again."


def with_retries(compute: Callable[..., Any], function: EmbeddingFunction) -> Callable[..., Any]:
    """The call, tried again after 1, 2 and 4 seconds where the failure can heal.

    LanceDB tries everything eight times over several minutes, a wrong model name and a missing folder too.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        tries = max(min(function.max_retries + 1, _TRIES), 1)
        for attempt in range(tries):
            try:
                return compute(*args, **kwargs)
            except Exception as error:
                if attempt + 1 == tries or not _can_heal(error):
                    raise
                logger.warning("%s; trying again in %d s", without_secrets(str(error), function), 2**attempt)
                time.sleep(2**attempt)
        raise AssertionError("unreachable")

    return call


def _can_heal(error: Exception) -> bool:
    status = getattr(error, "status_code", None)
    if getattr(error, "code", None) == "insufficient_quota":
        return False
    if isinstance(status, int):
        return status in _HEALING_STATUS or status >= 500
    names = type(error).__name__
    return isinstance(error, ConnectionError | TimeoutError) or "Connection" in names or "Timeout" in names


def without_secrets(message: str, function: EmbeddingFunction) -> str:
    """The message with the function's keys blotted out."""
    secrets = [str(getattr(function, key, "") or "") for key in function.sensitive_keys()]
    secrets += [value for name, value in os.environ.items() if name.endswith("_API_KEY")]
    for secret in filter(lambda secret: len(secret) >= 6, secrets):
        message = message.replace(secret, "***")
    return message


def _without_user(endpoint: object) -> str | None:
    if endpoint is None:
        return None
    scheme, slashes, rest = str(endpoint).rpartition("://")
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}".rstrip("/")
