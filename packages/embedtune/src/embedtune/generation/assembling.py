"""From questions by chunk to a data set: equal questions become one with several answers."""

import statistics
from collections import Counter
from typing import NamedTuple

from embedtune.dataset import QADataset
from embedtune.generation.filters import equal_questions
from embedtune.generation.harvest import Harvest, Kept
from embedtune.generation.report import GenerationReport
from embedtune.generation.spend import Budget
from embedtune.generation.task import Task, name_of
from embedtune.overlap import lexical_overlap
from embedtune.texts import text_hash

__all__ = ["assemble"]


class _Question(NamedTuple):
    text: str
    style: str
    chunks: list[str]


def assemble(task: Task, harvest: Harvest, budget: Budget, stopped: str | None, seconds: float) -> QADataset | None:
    """The data set with its report, in the order of the chunks, whatever the order of the answers; None if empty."""
    questions = _questions(task, harvest)
    dropped = Counter(harvest.dropped)
    merged = _merge(questions, task.quality.near_duplicates)
    if task.quality.max_chunks is not None:
        general = [key for key, question in questions.items() if _n_texts(task, question) > task.quality.max_chunks]
        dropped["asked of too many chunks"] += len(general)
        for key in general:
            del questions[key]
    if not questions:
        return None
    report = GenerationReport(
        llm=name_of(task.llm),
        seed=task.delivery.seed,
        chunks=len(task.corpus),
        asked=task.n_questions * len(task.ids_by_text),
        written=len(questions),
        merged=merged,
        dropped={reason: count for reason, count in sorted(dropped.items()) if count},
        styles=Counter(question.style for question in questions.values()),
        overlap=_overlap(task, questions),
        failures=_failures(task, harvest, questions),
        stages=budget.stages,
        cost=budget.cost,
        seconds=seconds,
        stopped=stopped,
    )
    return QADataset(
        {key: question.text for key, question in questions.items()},
        dict(task.corpus),
        {key: question.chunks for key, question in questions.items()},
        task.metadata,
        {key: question.style for key, question in questions.items()},
        report=report,
    )


def _questions(task: Task, harvest: Harvest) -> dict[str, _Question]:
    found: dict[str, _Question] = {}
    for ids in task.ids_by_text.values():
        for text, style in harvest.styled(ids[0], task.styles(ids[0]), task.delivery.seed):
            found[text_hash(f"{ids[0]}\0{text}")] = _Question(text, style, list(ids))
    return found


def _merge(questions: dict[str, _Question], threshold: float | None) -> int:
    """Give a question that was asked of several chunks all of them; how many others it takes up."""
    n_merged = 0
    for first, *others in equal_questions({key: question.text for key, question in questions.items()}, threshold):
        for other in others:
            questions[first].chunks.extend(questions.pop(other).chunks)
            n_merged += 1
    return n_merged


def _n_texts(task: Task, question: _Question) -> int:
    return len({task.corpus[chunk] for chunk in question.chunks})


def _overlap(task: Task, questions: dict[str, _Question]) -> float:
    return statistics.median(
        lexical_overlap(question.text, task.corpus[question.chunks[0]]) for question in questions.values()
    )


def _failures(task: Task, harvest: Harvest, questions: dict[str, _Question]) -> dict[str, str]:
    answering = {chunk for question in questions.values() for chunk in question.chunks}
    failures: dict[str, str] = {}
    for first, *twins in task.ids_by_text.values():
        kept = harvest.by_chunk.get(first, Kept())
        reason = "all its questions were asked of too many chunks" if kept else kept.reason
        failures |= {chunk: reason for chunk in (first, *twins) if chunk not in answering}
    return failures
