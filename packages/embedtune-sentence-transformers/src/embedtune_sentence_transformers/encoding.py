"""Embedding with a model in training, the way that training encodes."""

from functools import cached_property

import numpy as np
import torch

from embedtune.protocols import Vectors
from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder
from embedtune_sentence_transformers.parallel import SideBySide
from embedtune_sentence_transformers.tokens import TokenisedTexts

__all__ = ["CandidateEmbedder"]


class CandidateEmbedder(SentenceTransformerEmbedder):
    """Embeds in groups of like length, several of them side by side, where the model is on a CPU."""

    _at_once = 1024

    def _encode_some(self, texts: list[str], side: str) -> Vectors:
        if self.model.device.type != "cpu":
            return super()._encode_some(texts, side)
        self.model.eval()
        tokenised = TokenisedTexts(self.model, side, texts)
        groups = tokenised.groups(tokenised.by_length(range(len(texts))))
        with torch.no_grad():
            found = self._side_by_side([tokenised.features(group) for group in groups])
        vectors = np.empty(found.shape, dtype=np.float32)
        vectors[[index for group in groups for index in group]] = found.numpy()
        return vectors[:, : self.model.truncate_dim]

    @cached_property
    def _side_by_side(self) -> SideBySide:
        return SideBySide(self.model, self._precision)
