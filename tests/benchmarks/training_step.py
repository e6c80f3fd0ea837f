"""CPU seconds of one training step, from a plain sentence-transformers step to ours, and where the rest goes.

python tests/benchmarks/training_step.py [--chunks 32] [--tokens 256] [--repeats 5]

The same batch of as many queries (16 tokens) and chunks in each variant; variants take turns, medians are told.
"""

import argparse
import contextlib
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from sentence_transformers import SentenceTransformer
from torch.profiler import ProfilerActivity, profile

from embedtune.demo import packaged_minilm
from embedtune_sentence_transformers.loss import OWN, MaskedInBatchLoss
from embedtune_sentence_transformers.memory import kept_memory
from embedtune_sentence_transformers.precision import chosen_precision, fast_attention
from embedtune_sentence_transformers.preparing import freeze_layers, freeze_word_embeddings, set_dropout

QUERY_TOKENS = 16


@dataclass(frozen=True, kw_only=True)
class Variant:
    """What a step is made of; the default is what a plain script does."""

    name: str
    precision: str = "fp32"
    dropout: float | None = None
    fused: bool = False
    is_memory_kept: bool = False
    freeze_embeddings: bool = False
    layers: int = 0
    plain_attention: bool = False
    tokens_at_once: int | None = None
    """Chunks go through the model in groups of so many, on the cores side by side."""


def variants(precision: str) -> list[Variant]:
    """Each adds one thing to the one before."""
    rows = [Variant(name="plain")]
    for name, change in (
        ("no dropout", {"dropout": 0.0}),
        ("fused AdamW", {"fused": True}),
        ("memory kept", {"is_memory_kept": True}),
        ("word embeddings frozen", {"freeze_embeddings": True}),
        (precision, {"precision": precision}),
        ("attention by plain products", {"plain_attention": True}),
        ("groups side by side (ours)", {"tokens_at_once": 1024}),
        ("lower half frozen too", {"layers": 3}),
    ):
        rows.append(replace(rows[-1], name=name, **change))
    return rows


class OneAfterAnother(MaskedInBatchLoss):
    """All cores on each group."""

    def _encoded(self, groups: list[dict[str, torch.Tensor]]) -> torch.Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=self.precision == "bf16"):
            return torch.cat([self.model(group)["sentence_embedding"].float() for group in groups])


def step_of(variant: Variant, n_chunks: int, n_tokens: int) -> tuple[SentenceTransformer, Callable[[], None]]:
    """A model, and a function that does one optimiser step of it."""
    model = SentenceTransformer(str(packaged_minilm()), device="cpu")
    if variant.dropout is not None:
        set_dropout(model, variant.dropout)
    if variant.freeze_embeddings:
        freeze_word_embeddings(model)
    freeze_layers(model, variant.layers)
    model.train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=1e-6, fused=variant.fused, foreach=not variant.fused)
    loss = (OneAfterAnother if variant.tokens_at_once is None else MaskedInBatchLoss)(
        model, precision=variant.precision
    )
    torch.manual_seed(0)
    queries, chunks = (torch.randint(1000, 20000, (n_chunks, length)) for length in (QUERY_TOKENS, n_tokens))
    per_group = n_chunks if variant.tokens_at_once is None else max(1, variant.tokens_at_once // n_tokens)
    features = [
        {"input_ids": ids, "attention_mask": torch.ones_like(ids)} for ids in (queries, *chunks.split(per_group))
    ]
    label = torch.eye(n_chunks, dtype=torch.int8) * OWN

    def step() -> None:
        loss([dict(group) for group in features], label).backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        optimiser.zero_grad()

    return model, step


@contextlib.contextmanager
def conditions(variant: Variant, model: SentenceTransformer) -> Iterator[None]:
    """Memory and attention of a variant."""
    with contextlib.ExitStack() as stack:
        if variant.is_memory_kept:
            stack.enter_context(kept_memory())
        if variant.plain_attention:
            stack.enter_context(fast_attention(model, variant.precision))
        yield


def main() -> None:
    """Time all variants in turns, then profile ours."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    given = parser.parse_args()
    precision = chosen_precision("auto", "cpu")
    rows = variants(precision)
    steps = [step_of(variant, given.chunks, given.tokens) for variant in rows]
    cpu: list[list[float]] = [[] for _ in rows]
    wall: list[list[float]] = [[] for _ in rows]
    for _ in range(given.repeats):
        for number, (variant, (model, step)) in enumerate(zip(rows, steps, strict=True)):
            with conditions(variant, model):
                step()  # the first within kept memory takes it from the system
                started, used = time.monotonic(), time.process_time()
                step()
                cpu[number].append(time.process_time() - used)
                wall[number].append(time.monotonic() - started)
    for variant, seconds, passed in zip(rows, cpu, wall, strict=True):
        told = f"{statistics.median(seconds):6.2f} s CPU  {statistics.median(passed):6.2f} s wall"
        sys.stdout.write(f"{variant.name:<36}{told}\n")
    ours, (model, step) = rows[-2], steps[-2]
    torch.set_num_threads(1)  # the profiler does not look into other threads
    with conditions(ours, model), profile(activities=[ProfilerActivity.CPU]) as profiled:
        step()
    told = profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=12, max_name_column_width=48)
    sys.stdout.write(f"\n{ours.name}, on one thread:\n{told}\n")


if __name__ == "__main__":
    main()
