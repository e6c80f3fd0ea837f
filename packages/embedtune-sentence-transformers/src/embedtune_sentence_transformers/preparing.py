"""What a model goes through before it is trained, and how its weights are read back."""

from collections.abc import Mapping
from typing import Any

import torch
from sentence_transformers import SentenceTransformer
from transformers import PreTrainedModel

from embedtune import TuningError

__all__ = ["add_lora", "freeze_layers", "freeze_word_embeddings", "interpolated", "plain_state", "set_dropout"]


def set_dropout(model: torch.nn.Module, probability: float) -> None:
    """Set all dropout layers; the configuration that is saved keeps its value."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = probability


def freeze_word_embeddings(model: torch.nn.Module) -> None:
    """Take the word embeddings out of training, unless nothing else could be trained."""
    transformer = _transformer(model)
    if transformer is None:
        return
    words = set(map(id, transformer.get_input_embeddings().parameters()))
    if any(id(parameter) not in words for parameter in model.parameters()):
        transformer.get_input_embeddings().requires_grad_(False)


def freeze_layers(model: torch.nn.Module, n_layers: int) -> None:
    """Take the embeddings and the lowest layers out of training.

    Raises:
        TuningError: If the model has not more layers than that.
    """
    if n_layers == 0:
        return
    blocks = _blocks(model)
    if n_layers >= len(blocks):
        raise TuningError(
            f"freeze_layers={n_layers} leaves nothing to train: the model has {len(blocks)} layers. Give a number "
            "below that."
        )
    transformer = _transformer(model)
    assert transformer is not None
    embeddings = getattr(transformer, "embeddings", transformer.get_input_embeddings())
    for module in (embeddings, *blocks[:n_layers]):
        module.requires_grad_(False)


def _transformer(model: torch.nn.Module) -> PreTrainedModel | None:
    return next((module for module in model.modules() if isinstance(module, PreTrainedModel)), None)


def _blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The transformer's layers, lowest first."""
    transformer = _transformer(model)
    n_blocks = getattr(getattr(transformer, "config", None), "num_hidden_layers", None)
    for module in transformer.modules() if transformer is not None else ():
        if isinstance(module, torch.nn.ModuleList) and len(module) == n_blocks:
            return list(module)
    return []


def add_lora(model: SentenceTransformer, rank: int, seed: int = 0) -> None:
    """Train low-rank additions to the linear layers instead of the weights (Hu et al. 2021).

    A layer that is frozen already gets none.

    Args:
        model: Gets them in place.
        rank: Of the additions.
        seed: Draws what they begin with.

    Raises:
        TuningError: If peft is not installed, or the model is no transformer.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise TuningError('lora_rank needs peft: pip install "embedtune-sentence-transformers[lora]".') from error
    transformer = _transformer(model)
    if transformer is None:
        raise TuningError("lora_rank needs a transformer: this model has none. Leave lora_rank out.")
    frozen = [
        name
        for name, module in transformer.named_modules()
        if isinstance(weight := getattr(module, "weight", None), torch.nn.Parameter) and not weight.requires_grad
    ]
    config = LoraConfig(
        r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules="all-linear", exclude_modules=frozen or None
    )
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        inject_adapter_in_model(config, transformer)


def plain_state(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights under the base model's names, LoRA's additions added; detached copies on the CPU."""
    state: dict[str, torch.Tensor] = {}
    layers = {name: module for name, module in model.named_modules() if hasattr(module, "get_delta_weight")}
    for name, tensor in model.state_dict().items():
        if ".lora_" not in name:
            state[name.replace(".base_layer.", ".")] = tensor.detach().cpu().contiguous().clone()
    for name, module in layers.items():
        delta: Any = module.get_delta_weight("default")
        state[f"{name}.weight"] += delta.detach().cpu()
    return state


def interpolated(
    base: Mapping[str, torch.Tensor], tuned: Mapping[str, torch.Tensor], share: float
) -> dict[str, torch.Tensor]:
    """Weights a share of the way from base to tuned (Wortsman et al. 2022, "Robust fine-tuning")."""
    return {
        name: torch.lerp(start.cpu(), tuned[name].cpu(), share) if start.is_floating_point() else start
        for name, start in base.items()
    }
