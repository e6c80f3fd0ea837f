"""What a model goes through before it is trained: its dropout set, its word embeddings held fast."""

import torch
from transformers import PreTrainedModel

__all__ = ["freeze_word_embeddings", "set_dropout"]


def set_dropout(model: torch.nn.Module, probability: float) -> None:
    """Set all dropout layers; the configuration that is saved keeps its value."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability


def freeze_word_embeddings(model: torch.nn.Module) -> None:
    """Take the word embeddings out of training, unless nothing else could be trained."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel):
            words = set(map(id, module.get_input_embeddings().parameters()))
            if any(id(parameter) not in words for parameter in model.parameters()):
                module.get_input_embeddings().requires_grad_(False)
            return
