"""`diagnose`: what may explain a tuned model that is worse, or no better; each finding is a measurement.

What cannot be measured, since the model's ``embedtune.json`` does not tell it or there is no model, is left out.
"""

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from embedtune.adapter.query_adapter import without_adapter
from embedtune.comparison.probes import movement, prompts_of, reads_sides_alike, sameness, truncated
from embedtune.comparison.rows import Finding
from embedtune.dataset import QADataset
from embedtune.evaluation import Evaluation
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.protocols import Embedder
from embedtune.records import ModelRecord
from embedtune.texts import fold, text_hash

__all__ = ["diagnose"]

logger = logging.getLogger(__name__)

_WORTH_TELLING = 0.05
"""A smaller share explains little."""
_UNMOVED = 0.999
"""Mean cosine of tuned and base vectors; at a usual learning rate it is far below."""
_COLLAPSED = 0.99
"""Mean cosine between vectors of different texts; of the narrowest models in use it is about 0.9."""
_PROBED = 64
"""Texts that are embedded to measure something."""


@dataclass(frozen=True, kw_only=True)
class _Case:
    dataset: QADataset
    base: Embedder | None
    tuned: Embedder | None
    base_record: ModelRecord | None
    tuned_record: ModelRecord | None
    missed: tuple[Mapping[str, Any], ...]
    """The tuned model's rows of questions that it did not answer."""

    def probed(self) -> list[str]:
        """The first texts of relevant chunks, each once."""
        relevant = (chunk for chunks in self.dataset.relevant_docs.values() for chunk in chunks)
        return list(dict.fromkeys(self.dataset.corpus[chunk] for chunk in relevant))[:_PROBED]

    @cached_property
    def sameness(self) -> float | None:
        """As `sameness` of the tuned model, on endings that any model reads whole; None without two, or a model."""
        endings = list(dict.fromkeys(" ".join(text.split()[-2:]) for text in self.probed()))
        return sameness(self.tuned, endings) if self.tuned is not None and len(endings) > 1 else None


def diagnose(
    dataset: QADataset,
    base_embedder: Embedder | None,
    tuned_embedder: Embedder | None,
    base_record: ModelRecord | None,
    tuned_record: ModelRecord | None,
    evaluations: tuple[Evaluation, Evaluation],
) -> tuple[Finding, ...]:
    """Look for a leak, equal vectors, a missing prompt, cut texts, false negatives, learning rate, near duplicates.

    A measurement that fails is left out, with a warning in the log: the comparison stands without it.

    Args:
        dataset: The questions that were asked.
        base_embedder: The model before, or None if a search was compared.
        tuned_embedder: The model after, likewise.
        base_record: What the base model's folder says.
        tuned_record: What the tuned model's folder says.
        evaluations: Base's and tuned's, of one query type.
    """
    case = _Case(
        dataset=dataset,
        base=base_embedder,
        tuned=tuned_embedder,
        base_record=base_record,
        tuned_record=tuned_record,
        missed=tuple(row for row in evaluations[1] if not row["is_hit"]),
    )
    findings = []
    for name, measure in _MEASURES.items():
        try:
            findings += [Finding(name=name, told=told) for told in measure(case)]
        except Exception as error:  # any embedder may fail in any way, and hours of searching are done
            logger.warning("nothing can be said of %s: %s: %s", name, type(error).__name__, error)
    return tuple(findings)


def _leak(case: _Case) -> Iterator[str]:
    for name, record in (("base", case.base_record), ("tuned", case.tuned_record)):
        n_seen = len(record.seen.queries_in(case.dataset)) if record is not None else 0
        if n_seen:
            yield (
                f"{n_seen} of {len(case.dataset)} questions, or chunks that answer them, have trained or chosen the "
                f"{name} model, which flatters it. Compare on the test part of one split()."
            )


def _collapse(case: _Case) -> Iterator[str]:
    if case.sameness is not None and case.sameness > _COLLAPSED:
        yield (
            "The tuned model's vectors of the last words of chunks are nearly one vector, with a mean cosine of "
            f"{case.sameness:.4f}: it does not tell texts apart. Look for a learning rate that is too high, "
            "or a damaged model."
        )


def _prompt(case: _Case) -> Iterator[str]:
    if case.base is None or case.tuned is None:
        return
    # An adapter moves questions alone: that the two sides then differ is what it is for.
    sides = {"base": without_adapter(case.base), "tuned": without_adapter(case.tuned)}
    prompts = {name: prompts_of(side) for name, side in sides.items()}
    if prompts["base"] is not None and prompts["tuned"] is not None:
        before, after = prompts["base"], prompts["tuned"]
        for name in sorted(before | after):
            if before.get(name) != after.get(name):
                yield (
                    f"The prompt {name!r} is {before.get(name)!r} in the base model and {after.get(name)!r} in the "
                    "tuned one. Load the tuned model with the prompts that it was trained with."
                )
        return
    questions = list(case.dataset.queries.values())[:3]
    alike = {name: reads_sides_alike(side, questions) for name, side in sides.items()}
    if alike["base"] != alike["tuned"]:
        with_prompts, without = ("tuned", "base") if alike["base"] else ("base", "tuned")
        yield (
            f"The {with_prompts} model embeds a text differently as question and as chunk, the {without} model does "
            "not: a prompt is missing on one side. Give both models the prompts that they were trained with."
        )


def _truncation(case: _Case) -> Iterator[str]:
    chunks = dict.fromkeys(chunk for row in case.missed for chunk in row["expected"])
    texts = [case.dataset.corpus[chunk] for chunk in list(chunks)[:_PROBED]]
    # To a model that gives one vector for all texts, nothing that is added changes anything.
    if case.tuned is None or not texts or (case.sameness or 0) > _COLLAPSED:
        return
    n_cut = int(truncated(case.tuned, texts).sum())
    if n_cut >= _WORTH_TELLING * len(texts):
        of_base = (
            "" if case.base is None else f", and {int(truncated(case.base, texts).sum())} than the base model does"
        )
        yield (
            f"Of {len(texts)} chunks that answer questions which the tuned model missed, {n_cut} are longer than it "
            f"reads{of_base}: text added at their end changes nothing. Cut chunks shorter, or let the model read more."
        )


def _false_negatives(case: _Case) -> Iterator[str]:
    record = case.tuned_record
    batch_size = record.configuration.get("batch_size") if record is not None else None
    if record is None or not isinstance(batch_size, int) or batch_size < 2:
        return
    trained = {}
    for text in case.dataset.corpus.values():
        if (hashed := text_hash(fold(text))) in record.seen.chunks:
            trained[hashed] = text  # equal texts once: they are no negatives of each other
    n_seen = len(record.seen.chunks)
    groups = near_duplicate_groups(trained)
    meeting = sum(len(group) * _chance_to_meet(len(group) - 1, n_seen - 1, batch_size - 1) for group in groups)
    share = meeting / max(len(trained), 1)
    if share >= _WORTH_TELLING:
        yield (
            f"Of the {len(trained)} chunks here that trained or chose the tuned model, {sum(map(len, groups))} have a "
            f"near duplicate among them: in a batch of {batch_size}, {share:.0%} of the questions are trained away "
            "from a text nearly equal to their answer. Remove near duplicates before training, or name all of them "
            "as answers."
        )


def _chance_to_meet(n_twins: int, n_others: int, n_drawn: int) -> float:
    """The chance that of ``n_others`` chunks, ``n_drawn`` of which are drawn, one of the twins is drawn."""
    drawn = min(n_drawn, n_others)
    return 1 - math.comb(n_others - n_twins, drawn) / math.comb(n_others, drawn)


def _learning_rate(case: _Case) -> Iterator[str]:
    record = case.tuned_record
    rate = record.configuration.get("learning_rate") if record is not None else None
    if record is None or rate is None:
        return
    if record.chosen_step == 0:
        yield (
            f"No step of training was better than the base model on the questions that choose, at a learning rate of "
            f"{rate:g}: the base model's weights were kept. Try a lower rate, or more and better pairs."
        )
    elif case.base is not None and case.tuned is not None and case.base.fingerprint == record.base_fingerprint:
        cosine = movement(case.base, case.tuned, case.probed())
        if cosine is not None and cosine > _UNMOVED:
            yield (
                f"The tuned model's vectors of {len(case.probed())} chunks are nearly the base model's, with a mean "
                f"cosine of {cosine:.5f}: {record.chosen_step} steps at a learning rate of {rate:g} hardly moved it. "
                "Try a higher rate, or more steps."
            )


def _near_duplicates(case: _Case) -> Iterator[str]:
    corpus = case.dataset.corpus
    looked_at = dict.fromkeys(chunk for row in case.missed for chunk in (*row["expected"], *row["retrieved"]))
    groups = near_duplicate_groups({chunk: corpus[chunk] for chunk in looked_at if chunk in corpus})
    group_of = {chunk: number for number, group in enumerate(groups) for chunk in group}
    n_found = 0
    for row in case.missed:
        answers = {group_of[chunk] for chunk in row["expected"] if chunk in group_of}
        n_found += any(group_of.get(chunk) in answers for chunk in row["retrieved"])
    if n_found and n_found >= _WORTH_TELLING * len(case.missed):
        yield (
            f"For {n_found} of {len(case.missed)} questions that the tuned model missed, it found a near duplicate of "
            "the answer, which counts as wrong. Remove near duplicates from the corpus, or name all of them as answers."
        )


_MEASURES: Mapping[str, Callable[[_Case], Iterator[str]]] = {
    "leak": _leak,
    "collapse": _collapse,
    "prompt": _prompt,
    "truncation": _truncation,
    "false negatives": _false_negatives,
    "learning rate": _learning_rate,
    "near duplicates": _near_duplicates,
}
