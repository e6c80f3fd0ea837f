"""A sentence-transformers CrossEncoder as an embedtune `Reranker`."""

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from embedtune import EvaluationError
from embedtune.fingerprints import folder_fingerprint
from embedtune.folders import heal
from embedtune.protocols import Vectors
from embedtune_sentence_transformers.loading import (
    SAFETENSORS_ALONE,
    local_folder,
    telling_what_is_wrong,
    weights_fingerprint,
)

__all__ = ["CrossEncoderReranker", "cross_encoder_folder", "kind_without_score", "load_cross_encoder"]

_HUB_OWNER = "cross-encoder"
_WITHOUT_A_SCORE = ("Model", "ForMaskedLM", "ForPreTraining")
"""Ends of the names of architectures that have no layer for a score: one would be made of random numbers."""


class CrossEncoderReranker:
    """Scores pairs with a cross-encoder that has one output.

    Scores are logits where the model's own activation is the sigmoid: the order is the same, and sure pairs do not all
    become 1.

    Args:
        model: A loaded model.
        folder: Where its files are, if it was loaded from them unchanged.
        batch_size: Pairs at once.

    Raises:
        EvaluationError: If the model gives several numbers for a pair.
    """

    def __init__(self, model: CrossEncoder, folder: Path | None = None, *, batch_size: int = 32) -> None:
        labels = int(model.num_labels)
        if labels != 1:
            raise EvaluationError(
                f"The cross-encoder gives {labels} numbers for a pair; a reranker gives one. Give a model that was "
                "trained to rank, such as 'cross-encoder/ms-marco-MiniLM-L6-v2'."
            )
        self.model = model
        self.folder = folder
        self._batch_size = batch_size
        self._settings: dict[str, object] = {}

    @classmethod
    def load(
        cls,
        ref: str,
        *,
        device: str | None = None,
        trust_remote_code: bool = False,
        max_length: int | None = None,
        batch_size: int = 32,
    ) -> "CrossEncoderReranker":
        """Load by folder or hub name, in float32 whatever the files hold.

        Args:
            ref: Folder or hub name.
            device: Such as ``"cpu"``; the fastest there is if None.
            trust_remote_code: Whether code from the model's own folder may run.
            max_length: Tokens read of a pair; the model's own setting if None.
            batch_size: Pairs at once.

        Raises:
            ModelNotFoundError: If it is nowhere.
            ModelFolderError: If a file of it is broken, or it wants code of its own to run and ``trust_remote_code``
                is False.
            EvaluationError: If it is an embedding model, or gives several numbers for a pair.
        """
        heal(Path(ref))
        if Path(ref).is_dir():
            _refuse_embedding_model(ref)
        model = load_cross_encoder(ref, device=device, trust_remote_code=trust_remote_code, max_length=max_length)
        _refuse_embedding_model(ref)
        reranker = cls(model, cross_encoder_folder(ref), batch_size=batch_size)
        reranker._settings = {"max_length": max_length}
        return reranker

    @cached_property
    def fingerprint(self) -> str:
        """Hash of weights, tokenizer, prompts and settings."""
        if self.folder is not None:
            return folder_fingerprint(self.folder, **self._settings)
        described = {
            "modules": repr(self.model),
            "activation": repr(self.model.activation_fn),
            "prompts": getattr(self.model, "prompts", None),
            "default_prompt": getattr(self.model, "default_prompt_name", None),
            "max_length": self.model.tokenizer.model_max_length,
            "vocabulary": sorted(getattr(self.model.tokenizer, "get_vocab", dict)().items()),
        }
        return weights_fingerprint(self.model, described)

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        """``predict``: float32 (n,)."""
        if not pairs:
            return np.zeros(0, dtype=np.float32)
        activation = self.model.activation_fn
        scores = self.model.predict(
            list(pairs),
            batch_size=self._batch_size,
            show_progress_bar=False,
            activation_fn=torch.nn.Identity() if isinstance(activation, torch.nn.Sigmoid) else activation,
            convert_to_numpy=True,
        )
        return np.asarray(scores, dtype=np.float32)


def load_cross_encoder(
    ref: str,
    *,
    device: str | None = None,
    trust_remote_code: bool = False,
    max_length: int | None = None,
    num_labels: int | None = None,
) -> CrossEncoder:
    """Load a fresh copy, in float32 whatever the files hold; errors as for `CrossEncoderReranker.load`.

    Args:
        ref: Folder or hub name.
        device: Such as ``"cpu"``; the fastest there is if None.
        trust_remote_code: Whether code from the model's own folder may run.
        max_length: Tokens read of a pair; the model's own setting if None.
        num_labels: Scores of a pair; the model's own if None. A layer that the files do not have is drawn by torch.
    """
    with telling_what_is_wrong(ref, "load it yourself with trust_remote_code=True and give the loaded model"):
        model: CrossEncoder = CrossEncoder(
            ref,
            model_kwargs=dict(SAFETENSORS_ALONE),
            device=device,
            trust_remote_code=trust_remote_code,
            max_length=max_length,
            num_labels=num_labels,
        )
        model.float()  # in place
    return model


def cross_encoder_folder(ref: str) -> Path | None:
    """The folder of a cross-encoder: itself, or the hub's snapshot in the local cache; None if it is not there."""
    return local_folder(ref, owner=_HUB_OWNER)


def kind_without_score(ref: str) -> str | None:
    """What a model is that has no layer for a score, as far as its folder says; None of a cross-encoder."""
    folder = cross_encoder_folder(ref)
    if folder is None:
        return None
    kind = _content(folder / "config_sentence_transformers.json").get("model_type")
    architectures = _content(folder / "config.json").get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    without = bool(names) and all(name.endswith(_WITHOUT_A_SCORE) for name in names)
    if kind in ("SentenceTransformer", "SparseEncoder") or (kind is None and without):
        return str(kind or ", ".join(names))
    return None


def _refuse_embedding_model(ref: str) -> None:
    if kind := kind_without_score(ref):
        raise EvaluationError(
            f"The model {ref!r} is no cross-encoder but a {kind}: its scores would be random. Give one that was "
            "trained to rank, such as 'cross-encoder/ms-marco-MiniLM-L6-v2', or train a score for it with "
            "embedtune.tune(..., tuner='reranker')."
        )


def _content(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError):  # missing or broken: loading the model tells
        return {}
    return content if isinstance(content, dict) else {}
