"""The runs of one tuning: one for each fold, and a last one on everything after a cross-validation."""

import copy
import logging
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune.comparison.pairing import clusters_of
from embedtune.plugins import PluginManager
from embedtune.reranking import ScoreOnce
from embedtune.search import EmbedOnce
from embedtune.validation import ValidationPlan
from embedtune_sentence_transformers.choosing import Choice, choose
from embedtune_sentence_transformers.options import Settled
from embedtune_sentence_transformers.pairs import pairs_of
from embedtune_sentence_transformers.precision import chosen_precision
from embedtune_sentence_transformers.preparing import (
    add_lora,
    freeze_layers,
    freeze_word_embeddings,
    interpolated,
    plain_state,
    set_dropout,
)
from embedtune_sentence_transformers.reading import Reading
from embedtune_sentence_transformers.scoring import Candidate, Candidates, Scorer
from embedtune_sentence_transformers.teaching import find_teacher
from embedtune_sentence_transformers.training import Run, Trained

__all__ = ["Session"]

logger = logging.getLogger(__name__)


@dataclass
class Session:
    """Trains and validates as the plan says, each run in its own folder, from which it can be resumed."""

    base: SentenceTransformer
    """The base model, reading what it came with; never trained itself."""
    plan: ValidationPlan
    """What is trained on, and what chooses."""
    folder: Path
    """For the runs' checkpoints and candidates."""
    options: Settled
    """The tuner's."""
    reading: Reading
    """How much the tuned model reads."""
    epochs: int
    """Passes over the pairs."""
    seed: int
    """Of every run."""
    plugins: PluginManager
    """Who hears of training events."""
    losses: tuple[float, ...] = field(default=(), init=False)
    """Of the run that is kept."""
    _base_vectors: EmbedOnce | None = field(default=None, init=False)

    def choice(self) -> Choice:
        """Train and score what is not yet, and choose.

        Raises:
            TuningError: If training breaks down, or the teacher is neither a reranker nor an embedder.
        """
        _ = self._teacher  # before any costly work: it may not be there
        runs = [self._fold(number, *fold) for number, fold in enumerate(self.plan.folds)]
        clusters: list[int] = []
        for _, valset in self.plan.folds:
            first = max(clusters, default=-1) + 1
            clusters += [first + cluster for cluster in clusters_of(valset)]
        return choose(runs, clusters, self.options.metric)

    def model(self, choice: Choice) -> SentenceTransformer:
        """The base with the chosen weights; after a cross-validation, those of a run on everything."""
        if choice.kept_base_reason is not None:
            logger.warning("the base model's weights are kept: %s", choice.kept_base_reason)
            return copy.deepcopy(self.base)
        model = self._fresh()
        if self.plan.is_cross_validation:
            is_mean = choice.point.share < 1
            run = self.run(self.plan.trainset, "run-all", "tuning on all", None, None if is_mean else choice.stop_at)
            state = self._trained(run).state
        elif choice.point.share < 1:
            state = load_file(self.folder / "run-0" / "final.safetensors")
        else:
            state = load_file(self.folder / "run-0" / "best.safetensors")
        model.load_state_dict(interpolated(self._base_state, state, choice.point.share))
        return model

    def _fold(self, number: int, trainset: QADataset, valset: QADataset) -> Candidates:
        title = f"fold {number + 1}/{len(self.plan.folds)}" if self.plan.is_cross_validation else "tuning"
        candidates = self._open(f"run-{number}")
        precision = chosen_precision(self.options.precision, self.base.device.type)
        scorer = Scorer(valset, self.options.metric, precision, self.options.progress)
        # What one fold has embedded with the base model is kept for the next.
        self._base_vectors = self._base_vectors or EmbedOnce(scorer.embedder(self.base))
        scorer = scorer.narrowed(self._base_vectors, candidates.folder)
        if 0 not in candidates:
            logger.info("scoring the base model on %d validation queries", len(valset))
            candidates.add(Candidate(0, 0, 0.0, scorer.score(self._base_vectors)), None)
        run = self.run(trainset, candidates.folder.name, title, scorer)
        self._interpolate(run, self._trained(run, candidates), candidates)
        return candidates

    def _interpolate(self, run: Run, trained: Trained, candidates: Candidates) -> None:
        """Score weights between the base's and the last step's."""
        assert run.scorer is not None
        last = run.schedule.n_validations
        model = self._fresh()
        for index, share in enumerate(self.options.interpolations, start=last + 1):
            if index not in candidates:
                model.load_state_dict(interpolated(self._base_state, trained.state, share))
                values = run.scorer.score(run.scorer.embedder(model))
                candidates.add(Candidate(index, run.schedule.total_steps, self.epochs, values, share), None)

    def _trained(self, run: Run, candidates: Candidates | None = None) -> Trained:
        trained = run.train(candidates if candidates is not None else self._open(run.folder.name))
        self.losses = trained.losses
        return trained

    @cached_property
    def _base_state(self) -> dict[str, torch.Tensor]:
        return plain_state(self.base)

    def _open(self, name: str) -> Candidates:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return Candidates.load(folder, self.options.metric)

    def _fresh(self) -> SentenceTransformer:
        """A copy of the base that reads what the tuned model reads."""
        model = copy.deepcopy(self.base)
        if self.reading.chosen is not None:
            model.max_seq_length = self.reading.chosen
        return model

    def run(self, trainset: QADataset, name: str, title: str, scorer: Scorer | None, stop_at: int | None = None) -> Run:
        """A run on a fresh copy of the base, prepared as the options say; nothing is trained yet.

        Args:
            trainset: What it is trained on.
            name: Of its folder.
            title: For the progress bar.
            scorer: Validates, or None where only the last step counts.
            stop_at: The validation point to end at; the last if None.
        """
        model = self._fresh()
        if self.options.dropout is not None:
            set_dropout(model, self.options.dropout)
        if self.options.freeze_embeddings:
            freeze_word_embeddings(model)
        freeze_layers(model, self.options.freeze_layers)
        if self.options.lora_rank is not None:
            add_lora(model, self.options.lora_rank, self.seed)
        return Run(
            model=model,
            pairs=pairs_of(trainset, self.options.all_answers),
            scorer=scorer,
            folder=self.folder / name,
            options=self.options,
            epochs=self.epochs,
            seed=self.seed,
            plugins=self.plugins,
            stop_at=stop_at,
            title=title,
            teacher=self._teacher,
        )

    @cached_property
    def _teacher(self) -> ScoreOnce | EmbedOnce | None:
        """One for all runs, so that what one fold has asked is kept for the next."""
        given = self.options.teacher
        return find_teacher(given, self.plugins, self.folder / "teacher") if given is not None else None
