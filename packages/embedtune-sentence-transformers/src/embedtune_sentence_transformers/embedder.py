"""A sentence-transformers model as an embedtune `Embedder`."""

import logging
import re
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from tqdm.auto import tqdm

from embedtune import EmbeddingError
from embedtune.folders import heal
from embedtune.protocols import Similarity, Vectors
from embedtune_sentence_transformers.loading import load_model, loaded_from, local_folder, model_fingerprint

__all__ = ["SentenceTransformerEmbedder", "embedding_dimension"]

logger = logging.getLogger(__name__)

_TEXTS_WORTH_A_BAR = 256
_SURROGATE = re.compile("[\ud800-\udfff]")


def embedding_dimension(model: SentenceTransformer) -> int:
    """Numbers in a vector."""
    name = "get_embedding_dimension"  # sentence-transformers 5 has it under the longer name
    method = getattr(model, name, None) or model.get_sentence_embedding_dimension
    return int(method() or 0)


class SentenceTransformerEmbedder:
    """Embeds with the model's own prompts, each side with its own.

    Args:
        model: A loaded model.
        folder: Where its files are, if it was loaded from them unchanged.
        batch_size: Texts at once.
        progress: Whether a bar is shown; for 256 texts and more if None.
        precision: ``"fp32"``, or ``"bf16"`` for autocast.
    """

    _at_once = 256
    """Texts between two looks of the bar."""

    def __init__(
        self,
        model: SentenceTransformer,
        folder: Path | None = None,
        *,
        batch_size: int = 32,
        progress: bool | None = None,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.folder = folder
        self._batch_size = batch_size
        self._progress = progress
        self._precision = precision
        self._settings: dict[str, object] = {}
        self.record_folder = folder
        """Where ``embedtune.json`` may say what the model has seen."""

    @classmethod
    def load(
        cls,
        ref: str,
        *,
        device: str | None = None,
        trust_remote_code: bool = False,
        max_seq_length: int | None = None,
        truncate_dim: int | None = None,
        batch_size: int = 32,
        progress: bool | None = None,
    ) -> "SentenceTransformerEmbedder":
        """Load by folder or hub name.

        Args:
            ref: Folder or hub name.
            device: Such as ``"cpu"``; the fastest there is if None.
            trust_remote_code: Whether code from the model's own folder may run.
            max_seq_length: Tokens read of a text; the model's own setting if None.
            truncate_dim: Dimensions kept; all if None.
            batch_size: Texts at once.
            progress: As for the class.

        Raises:
            ModelNotFoundError: If it is nowhere.
        """
        heal(Path(ref))
        model = load_model(
            ref,
            device=device,
            trust_remote_code=trust_remote_code,
            max_seq_length=max_seq_length,
            truncate_dim=truncate_dim,
        )
        embedder = cls(model, local_folder(ref), batch_size=batch_size, progress=progress)
        embedder._settings = {"max_seq_length": max_seq_length, "truncate_dim": truncate_dim}
        return embedder

    @classmethod
    def claim(cls, model: SentenceTransformer) -> "SentenceTransformerEmbedder":
        """Of a model that the user loaded: its weights may have changed since, but what it has seen it has seen."""
        embedder = cls(model)
        embedder.record_folder = loaded_from(model)
        return embedder

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, modules, tokenizer, prompts and settings."""
        return model_fingerprint(self.model, self.folder, **self._settings)

    @property
    def similarity(self) -> Similarity:
        """The model's own; cosine where it names none.

        Raises:
            EmbeddingError: If the model compares by a distance, which no search here can.
        """
        name = str(self.model.similarity_fn_name or "cosine")
        if name not in ("cosine", "dot"):
            raise EmbeddingError(
                f"The model compares vectors by {name!r}; embedtune knows 'cosine' and 'dot'. Set "
                "model.similarity_fn_name to the one it was trained with."
            )
        return "dot" if name == "dot" else "cosine"

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """``encode_query``: float32 (n, d)."""
        return self._encode(texts, "query")

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """``encode_document``: float32 (n, d)."""
        return self._encode(texts, "document")

    def _encode(self, texts: Sequence[str], side: str) -> Vectors:
        _check_texts(texts)
        if not texts:
            return np.zeros((0, embedding_dimension(self.model)), dtype=np.float32)
        shown = len(texts) >= _TEXTS_WORTH_A_BAR if self._progress is None else self._progress
        # Longest first, as the library sorts within a call: the bar then errs to the safe side.
        order = sorted(range(len(texts)), key=lambda i: -len(texts[i]))
        vectors = np.empty((len(texts), embedding_dimension(self.model)), dtype=np.float32)
        with tqdm(total=len(texts), desc=f"embedding, {side}", unit="text", disable=not shown, leave=False) as bar:
            for start in range(0, len(texts), self._at_once):
                places = order[start : start + self._at_once]
                vectors[places] = self._encode_some([texts[i] for i in places], side)
                bar.update(len(places))
        return vectors

    def _encode_some(self, texts: list[str], side: str) -> Vectors:
        """By the library's own encoding, whatever the model makes of it."""
        method = self.model.encode_query if side == "query" else self.model.encode_document
        with torch.autocast(self.model.device.type, torch.bfloat16, enabled=self._precision == "bf16"):
            encoded = method(texts, batch_size=self._batch_size, convert_to_numpy=True, show_progress_bar=False)
        return np.asarray(encoded, dtype=np.float32)


def _check_texts(texts: Sequence[str]) -> None:
    """Tokenizers refuse such texts without a word of which one it is."""
    for place, text in enumerate(texts):
        if not isinstance(text, str):
            raise EmbeddingError(f"Text {place} of {len(texts)} is a {type(text).__name__}, {text!r:.60}; give a str.")
        if not text.isascii() and _SURROGATE.search(text):
            raise EmbeddingError(
                f"Text {place} of {len(texts)} holds half of a surrogate pair, which no tokenizer takes: {text!r:.60}. "
                "It was decoded wrongly, or cut in the middle of a sign: text.encode('utf-8', 'replace').decode() "
                "puts a question mark there."
            )
