"""What the processor computes fast: half precision where it has it, and the attention that suits."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from sentence_transformers import CrossEncoder, SentenceTransformer
from transformers import PreTrainedModel

from embedtune import TuningError

__all__ = ["PRECISIONS", "chosen_precision", "fast_attention"]

PRECISIONS = ("auto", "fp32", "bf16")


def chosen_precision(precision: str, device: str) -> str:
    """``"fp32"`` or ``"bf16"`` for a device.

    bf16 on a CPU without AMX or AVX512-BF16 is emulated, up to a hundred times slower; so it is detected, never
    assumed.

    Args:
        precision: As in `Options`.
        device: torch's device type, such as ``"cpu"``.

    Raises:
        TuningError: If bf16 is demanded and the device cannot do it.
    """
    if device == "cuda":
        capable = torch.cuda.is_bf16_supported()
    elif device == "cpu":
        capable = _cpu_has("_is_amx_tile_supported") or _cpu_has("_is_avx512_bf16_supported")
    else:
        capable = False
    if precision == "bf16" and not capable:
        raise TuningError(
            f"precision='bf16' needs a GPU with bf16, or a processor with AMX or AVX512-BF16; this {device!r} has "
            "none. Give precision='fp32', or leave it 'auto'."
        )
    return "bf16" if capable and precision != "fp32" else "fp32"


def _cpu_has(probe: str) -> bool:
    # torch has no public probe for these yet; a torch without them counts as a processor without.
    function = getattr(torch.cpu, probe, None)
    return bool(function is not None and function())


@contextmanager
def fast_attention(model: SentenceTransformer | CrossEncoder, precision: str) -> Iterator[None]:
    """Within it, attention is computed by plain matrix products where they are faster than the fused kernel.

    That is training in bf16 on a CPU: the backward of torch 2.13's fused kernel takes half of a step there, and the
    plain products run on the processor's own bf16 units.
    """
    changed = []
    if (precision, model.device.type) == ("bf16", "cpu"):
        parts = [part for part in model.modules() if isinstance(part, PreTrainedModel)]
        changed = [part for part in parts if getattr(part.config, "_attn_implementation", None) == "sdpa"]
    for part in changed:
        part.set_attn_implementation("eager")
    try:
        yield
    finally:
        for part in changed:
            part.set_attn_implementation("sdpa")
