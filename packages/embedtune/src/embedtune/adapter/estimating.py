"""What an adapter's tuning would embed and take, by a sample that is embedded and steps on random vectors."""

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from embedtune.adapter.candidates import RANKS, STRENGTHS, candidate_values
from embedtune.adapter.fitting import BATCH, Factors, fitted, looks_of, n_batches
from embedtune.adapter.objective import Pool
from embedtune.adapter.pooling import SAMPLED, WHOLE, ChunkVectors
from embedtune.adapter.query_adapter import PROBE
from embedtune.protocols import Embedder, Vectors
from embedtune.tuning_estimate import TuningEstimate
from embedtune.validation import ValidationPlan

__all__ = ["estimated"]

_SAMPLE = 32
"""Texts of each side that are embedded."""
_POOL = WHOLE + SAMPLED
"""Chunks at most that a timed step tells queries from."""
_TIMED_STEPS = 4


def estimated(plan: ValidationPlan, embedder: Embedder, epochs: int) -> TuningEstimate:
    """Counts from the plan, times from a sample of the texts and a few steps.

    Args:
        plan: What is trained on and what chooses.
        embedder: Embeds up to 32 queries and 32 chunks.
        epochs: Passes over the queries.
    """
    datasets = [dataset for fold in plan.folds for dataset in fold] + [plan.trainset]
    queries = list(dict.fromkeys([PROBE, *(text for part in datasets for text in part.queries.values())]))
    chunks = list(dict.fromkeys(text for part in datasets for text in part.corpus.values()))
    embedding = _seconds_to_embed(queries, embedder.embed_queries) + _seconds_to_embed(chunks, embedder.embed_documents)
    dim = int(embedder.embed_queries(queries[:1]).shape[1])
    trained = [len(train) for train, _ in plan.folds] + [len(plan.trainset)] * plan.is_cross_validation
    n_held_back = sum(len(held) for _, held in plan.folds)
    n_steps = sum(epochs * n_batches(count) for count in trained)
    per_step = _seconds_per_step(min(len(chunks), _POOL), dim)
    scoring = _seconds_to_score(min(len(chunks), _POOL), dim, epochs) * n_held_back
    total = embedding + n_steps * per_step + scoring
    n_characters = sum(map(len, queries)) + sum(map(len, chunks))
    return TuningEstimate(
        n_steps=n_steps,
        batch_size=min(BATCH, len(chunks)),
        n_pairs=sum(map(len, plan.trainset.relevant_docs.values())),
        n_chunks=len({plan.trainset.corpus[chunk] for ids in plan.trainset.relevant_docs.values() for chunk in ids}),
        n_validation_queries=n_held_back,
        n_folds=len(plan.folds) if plan.is_cross_validation else 0,
        max_seq_length=None,
        truncated_share=0.0,
        precision="fp32",
        device="cpu",
        seconds_per_step=per_step,
        validation_minutes=scoring / 60,
        minutes=total / 60,
        peak_memory_mib=None,
        disk_mib=8 * dim * (len(queries) + len(chunks)) / 2**20,  # in the cache and as an array
        notes=(
            f"embeds {len(queries):,} queries and {len(chunks):,} chunks, {n_characters:,} characters, but for what a "
            f"cache holds: {embedding / 60:.1f} of the minutes, by a sample of {_SAMPLE} of each",
        ),
    )


def _seconds_to_embed(texts: Sequence[str], embed: Callable[[Sequence[str]], Vectors]) -> float:
    """Of all texts, by a sample that is spread over them."""
    some = [texts[i] for i in np.unique(np.linspace(0, len(texts) - 1, _SAMPLE).astype(np.intp))]
    embed(some[:1])  # a model's first call loads and warms up
    started = time.monotonic()
    embed(some)
    characters = max(sum(map(len, some)), 1)
    return (time.monotonic() - started) * sum(map(len, texts)) / characters


def _drawn(n: int, dim: int, seed: int) -> Vectors:
    return np.random.default_rng(seed).standard_normal((n, dim), dtype=np.float32)


def _seconds_per_step(n_chunks: int, dim: int) -> float:
    pool = Pool(_drawn(n_chunks, dim, 0), np.zeros(n_chunks, dtype=np.float32))
    answers = [np.array([i % n_chunks]) for i in range(BATCH)]
    steps = fitted(_drawn(BATCH, dim, 1), pool, answers, 1.0, seed=0, progress=False, title="", epochs=_TIMED_STEPS)
    started = time.monotonic()
    deque(steps, maxlen=0)
    return (time.monotonic() - started) / _TIMED_STEPS


def _seconds_to_score(n_chunks: int, dim: int, epochs: int) -> float:
    """All candidates, of one query."""
    n_changes = len(looks_of(epochs)) * (len(RANKS) + 1)
    answers = [np.array([i % n_chunks]) for i in range(_SAMPLE)]
    change, chunks = Factors(_drawn(dim, 1, 2), _drawn(1, dim, 3)), ChunkVectors(_drawn(n_chunks, dim, 0), "dot")
    started = time.monotonic()
    candidate_values(_drawn(_SAMPLE, dim, 1), [change], STRENGTHS, chunks, answers, "ndcg@10")
    return (time.monotonic() - started) * n_changes / _SAMPLE
