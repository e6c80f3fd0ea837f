"""A few real steps of a run, the longest batch first, timed on a copy of the model that is thrown away."""

import random
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState

from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.failures import telling_of_memory
from embedtune_sentence_transformers.memory import MemoryMeter
from embedtune_sentence_transformers.negatives import HardNegatives
from embedtune_sentence_transformers.options import DEPTH
from embedtune_sentence_transformers.precision import fast_attention
from embedtune_sentence_transformers.progress import Progress
from embedtune_sentence_transformers.scoring import Candidates
from embedtune_sentence_transformers.teaching import Teacher
from embedtune_sentence_transformers.training import Run

__all__ = ["Trial", "seconds_per_text", "try_steps"]

_TIMED_STEPS = 3
_ENOUGH_SECONDS = 20.0
"""Of training. A large model on a slow processor is timed on fewer steps, one at least."""
_DRAWN_STEPS = 20
"""Batches that are drawn, not trained, to see how many tokens they have."""
_TIMED_TEXTS = 256
_ENOUGH_EMBEDDING = 5.0
"""Seconds."""
_BYTES_PER_TOKEN = 6
"""A text of so many bytes for each token that is read fills all of them."""


@dataclass(frozen=True)
class Trial:
    """What the timed steps took, reckoned by tokens for batches as they are drawn."""

    seconds_per_row: float
    """Of `TrainingPairs.rows`."""
    seconds_per_step: float
    """Of as many rows as the run's steps have."""


@dataclass
class _LongestFirst(RowCollator):
    """Gives the longest batch that the data can give, then those that are drawn."""

    longest: Sequence[Mapping[str, Any]] = ()
    longest_negatives: HardNegatives | None = None
    tokens: list[int] = field(default_factory=list)
    """Of each batch so far, padding too; its rows where the model takes no tokens."""

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        usual = self.negatives
        if not self.tokens:
            rows, self.negatives = self.longest, self.longest_negatives
        batch = super().__call__(rows)
        self.negatives = usual
        n_tokens = sum(value.numel() for name, value in batch.items() if name.endswith("_input_ids"))
        self.tokens.append(n_tokens or len(rows))
        return batch


class _Clock(TrainerCallback):
    """Notes time and memory after each step."""

    def __init__(self, run: Run, memory: MemoryMeter) -> None:
        self._device = run.model.device
        self._memory = memory
        self.ends: list[float] = []
        """When each step ended."""

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Note the step; stop where enough time has gone."""
        if self._device.type == "cuda":  # a step is only queued when the trainer goes on
            torch.cuda.synchronize(self._device)
        self.ends.append(time.monotonic())
        self._memory.note()
        if len(self.ends) > 1 and self.ends[-1] - self.ends[0] > _ENOUGH_SECONDS:
            control.should_training_stop = True
        return control

    def seconds_per_token(self, tokens: Sequence[int]) -> float:
        """Of all steps but the first, which was the warm-up."""
        return (self.ends[-1] - self.ends[0]) / sum(tokens[1 : len(self.ends)])


def try_steps(run: Run, n_rows: int, memory: MemoryMeter) -> Trial:
    """Train a few steps with the real trainer: one on the longest batch as warm-up, then up to three that are timed.

    Hard negatives are drawn at random instead of mined, so many as in the run; a teacher is not asked.

    Args:
        run: Its model is trained and of no use afterwards; no plugin hears of it.
        n_rows: Rows of the longest batch.
        memory: Notes the peak.

    Raises:
        TuningError: If memory runs out, which it would in the run.
    """
    collator = _collator(run, n_rows)
    clock = _Clock(run, memory)
    trainer = run.trainer(Candidates(run.folder, run.options.metric))
    trainer.remove_callback(Progress)
    trainer.add_callback(clock)
    trainer.data_collator = cast(Any, collator)
    trainer.args.max_steps = 1 + _TIMED_STEPS
    with warnings.catch_warnings(), fast_attention(run.model, run.precision):
        warnings.filterwarnings("ignore", message=".*pin_memory.*")
        with telling_of_memory(run.options, run.model.max_seq_length):
            trainer.train()
    per_token = clock.seconds_per_token(collator.tokens)
    rows, size, rng = _rows(run), run.schedule.even_batch_size, random.Random(run.seed)
    for _ in range(_DRAWN_STEPS):
        collator(rng.sample(rows, size))
    per_step = per_token * sum(collator.tokens[-_DRAWN_STEPS:]) / _DRAWN_STEPS
    return Trial(per_step / size, per_step)


def seconds_per_text(embed: Callable[[Sequence[str]], object], texts: Sequence[str], seed: int) -> float:
    """How long embedding a text takes, timed on a sample after a warm-up; 0 without texts.

    Args:
        embed: Embeds texts.
        texts: What is drawn from.
        seed: Draws.
    """
    drawn = random.Random(seed).sample(texts, min(len(texts), _TIMED_TEXTS))
    if not drawn:
        return 0.0
    few = drawn[:8]
    embed(few)
    enough = max(len(few), int(_ENOUGH_EMBEDDING / max(_seconds(embed, few) / len(few), 1e-6)))
    return _seconds(embed, drawn[:enough]) / len(drawn[:enough])


def _seconds(embed: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    started = time.monotonic()
    embed(texts)
    return time.monotonic() - started


def _collator(run: Run, n_rows: int) -> _LongestFirst:
    longest, row_by_row = _longest_rows(run, n_rows), run.options.loss is not None
    collator = _LongestFirst(run.model, run.pairs, seed=run.seed, row_by_row=row_by_row, longest=longest)
    if (per_query := run.options.hard_negatives) > 0:
        teacher = Teacher({}) if run.options.teacher is not None else None
        n_chunks = len(run.pairs.chunks)
        drawn = np.random.default_rng(run.seed).integers(n_chunks, size=(len(run.pairs.queries), DEPTH))
        collator.negatives = HardNegatives(drawn.astype(np.int32), per_query, teacher)
        worst = np.full(drawn.shape, -1, dtype=np.int32)
        by_length = sorted(range(n_chunks), key=lambda chunk: -len(run.pairs.chunks[chunk]))
        queries = sorted({query for row in longest for query in row["queries"]})
        for place, query in enumerate(queries):
            worst[query, :per_query] = [by_length[(place * per_query + i) % n_chunks] for i in range(per_query)]
        collator.longest_negatives = HardNegatives(worst, per_query, teacher)
    return collator


def _longest_rows(run: Run, n_rows: int) -> list[dict[str, Any]]:
    """The rows with the most bytes of text, as far as it is read."""
    limit = _BYTES_PER_TOKEN * (run.model.max_seq_length or 1 << 20)

    def n_bytes(row: Mapping[str, Any]) -> int:
        texts = [run.pairs.chunks[row["chunk"]], *(run.pairs.queries[query] for query in row["queries"])]
        return sum(min(len(text.encode("utf-8", "surrogatepass")), limit) for text in texts)

    return sorted(_rows(run), key=n_bytes, reverse=True)[:n_rows]


def _rows(run: Run) -> list[dict[str, Any]]:
    columns = cast(dict[str, list[Any]], run.rows)
    pairs = zip(columns["chunk"], columns["queries"], strict=True)
    return [{"chunk": chunk, "queries": queries} for chunk, queries in pairs]
