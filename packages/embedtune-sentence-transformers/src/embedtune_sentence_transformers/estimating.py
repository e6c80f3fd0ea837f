"""What a session would do and cost: counted from its plan, and timed on a few real steps."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from sentence_transformers import SentenceTransformer

from embedtune import QADataset, TuningEstimate
from embedtune_sentence_transformers.memory import MIB, MemoryMeter, kept_memory
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from embedtune_sentence_transformers.schedule import Schedule
from embedtune_sentence_transformers.scoring import NEAREST, SEARCHED_WHOLE, Scorer
from embedtune_sentence_transformers.session import Session
from embedtune_sentence_transformers.training import Run, rows_of, schedule_of
from embedtune_sentence_transformers.trial import seconds_per_text, try_steps

__all__ = ["Estimator"]


@dataclass(frozen=True)
class _PlannedRun:
    """A run that a session would make."""

    pairs: TrainingPairs
    schedule: Schedule
    valset: QADataset | None
    """What it would be validated on."""


@dataclass
class Estimator:
    """Counts and times a session, which is not run.

    Args:
        session: Its folder is a temporary one.
        memory: Looks at the steps that are tried.
        started: ``time.monotonic()`` before the base was loaded.
    """

    session: Session
    memory: MemoryMeter
    started: float

    def estimate(self) -> TuningEstimate:
        """Train a few steps, embed a few texts, and reckon."""
        session, plan = self.session, self.session.plan
        trial_run = session.run(plan.trainset, "trial", "trial", None)
        ready_seconds = time.monotonic() - self.started
        batch_size = max(run.schedule.even_batch_size for run in self.runs)
        if trial_run.model.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(trial_run.model.device)
        with kept_memory():
            trial = try_steps(trial_run, batch_size, self.memory)
            validation, mining = self._embedding_seconds(trial_run)
            self.memory.note()
        training = [run.schedule.n_rows * session.epochs * trial.seconds_per_row for run in self.runs]
        seconds = ready_seconds + sum(training) + validation + mining
        pairs, reading = trial_run.pairs, session.reading
        return TuningEstimate(
            n_steps=sum(run.schedule.total_steps for run in self.runs),
            batch_size=batch_size,
            n_pairs=len(pairs),
            n_chunks=pairs.n_answer_chunks,
            n_validation_queries=sum(len(valset) for _, valset in plan.folds),
            n_folds=len(plan.folds) if plan.is_cross_validation else 0,
            max_seq_length=reading.chosen,
            truncated_share=reading.cut,
            precision=trial_run.precision,
            device=trial_run.model.device.type,
            seconds_per_step=trial.seconds_per_step,
            validation_minutes=validation / 60,
            minutes=seconds / 60,
            peak_memory_mib=self._peak_memory_mib(trial_run.model.device),
            disk_mib=self._disk_bytes(trial_run.model, training) / MIB,
            notes=tuple(self._notes()),
        )

    @cached_property
    def runs(self) -> list[_PlannedRun]:
        """One for each fold, and one on everything after a cross-validation."""
        plan = self.session.plan
        parts: list[tuple[QADataset, QADataset | None]] = list(plan.folds)
        if plan.is_cross_validation:
            parts.append((plan.trainset, None))
        return [self._planned(*part) for part in parts]

    def _planned(self, trainset: QADataset, valset: QADataset | None) -> _PlannedRun:
        options = self.session.options
        pairs = pairs_of(trainset, options.all_answers)
        schedule = schedule_of(len(rows_of(pairs, options)["chunk"]), self.session.epochs, options)
        return _PlannedRun(pairs, schedule, valset)

    def _embedding_seconds(self, trial_run: Run) -> tuple[float, float]:
        """Seconds of all validations, and of mining hard negatives."""
        session, options = self.session, self.session.options
        valsets = [valset for _, valset in session.plan.folds]
        embedder = Scorer(valsets[0], options.metric, trial_run.precision, progress=False).embedder(trial_run.model)
        trial_run.model.eval()
        queries = sorted({text for valset in valsets for text in valset.queries.values()})
        chunks = sorted({text for valset in valsets for text in valset.corpus.values()})
        per_query = seconds_per_text(embedder.embed_queries, queries, session.seed)
        per_chunk = seconds_per_text(embedder.embed_documents, chunks, session.seed)
        n_candidates = trial_run.schedule.n_validations + len(options.interpolations)
        validation = len(queries) * per_query + len(chunks) * per_chunk  # by the base, once for all folds
        for valset in valsets:
            validation += n_candidates * (len(valset) * per_query + _n_searched(valset) * per_chunk)
        n_minings = math.ceil(session.epochs / (options.refresh_negatives or session.epochs))
        sides = sum(len(run.pairs.queries) * per_query + len(run.pairs.chunks) * per_chunk for run in self.runs)
        return validation, n_minings * sides if options.hard_negatives else 0.0

    def _peak_memory_mib(self, device: torch.device) -> float | None:
        """What was measured, and on a CPU the copies that a session holds besides: base, tuned and between."""
        measured = self.memory.peak_mib(device)
        copies = 3 * _n_bytes(self.session.base.state_dict().values()) / MIB if device.type == "cpu" else 0.0
        return None if measured is None else measured + copies

    def _disk_bytes(self, trained: SentenceTransformer, run_seconds: list[float]) -> float:
        """The folders of all runs stay until the model is written."""
        weights = _n_bytes(self.session.base.state_dict().values())
        # AdamW keeps two figures for each weight that is trained.
        checkpoint = _n_bytes(trained.state_dict().values()) + 2 * _n_bytes(
            parameter for parameter in trained.parameters() if parameter.requires_grad
        )
        total, replaced = 0, 0
        for run, seconds in zip(self.runs, run_seconds, strict=True):
            total += weights if run.valset is None else 2 * weights
            if self._leaves_checkpoints(run.schedule, seconds):
                total += checkpoint
                replaced = checkpoint  # the one before goes when the next is there
        return total + max(replaced, weights + self._tokenizer_bytes())

    def _leaves_checkpoints(self, schedule: Schedule, seconds: float) -> bool:
        options, last = self.session.options, schedule.total_steps
        is_due = options.checkpoint_steps is not None and options.checkpoint_steps < last
        return is_due or min(schedule.points) < last or seconds > 60 * options.checkpoint_minutes

    def _tokenizer_bytes(self) -> int:
        folder: Path = self.session.folder / "tokenizer"
        save = getattr(self.session.base.tokenizer, "save_pretrained", None)
        if callable(save):
            save(str(folder))
        return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())

    def _notes(self) -> list[str]:
        session, notes = self.session, []
        if session.plan.is_cross_validation:
            notes.append(
                "the last run, on everything, ends sooner where an earlier step is chosen, and is left out where the "
                "base model is kept"
            )
        if any(_n_searched(valset) < len(valset.corpus) for _, valset in session.plan.folds):
            notes.append("candidates search a part of the validation chunks, counted here at its largest")
        if session.options.teacher is not None:
            notes.append("the teacher's own time and memory are not counted")
        return notes


def _n_searched(valset: QADataset) -> int:
    """Chunks that each candidate embeds, at most; see `Scorer.narrowed`."""
    if len(valset.corpus) <= SEARCHED_WHOLE:
        return len(valset.corpus)
    n_answers = len({chunk for answers in valset.relevant_docs.values() for chunk in answers})
    return min(len(valset.corpus), n_answers + NEAREST * len(valset))


def _n_bytes(tensors: Iterable[torch.Tensor]) -> int:
    """As they are saved: each tensor whole."""
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
