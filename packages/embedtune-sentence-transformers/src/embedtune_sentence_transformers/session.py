"""The runs of one tuning: one for each fold, and a last one on everything after a cross-validation."""

import copy
import logging
from dataclasses import dataclass, field
from pathlib import Path

from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from embedtune import QADataset
from embedtune.plugins import PluginManager
from embedtune.search import EmbedOnce
from embedtune.tuner import ValidationPoint
from embedtune.validation import ValidationPlan
from embedtune_sentence_transformers.options import Options, chosen_precision
from embedtune_sentence_transformers.pairs import pairs_of
from embedtune_sentence_transformers.preparing import freeze_word_embeddings, set_dropout
from embedtune_sentence_transformers.scoring import Candidate, Candidates, Scorer
from embedtune_sentence_transformers.training import Run

__all__ = ["Session", "pooled"]

logger = logging.getLogger(__name__)


@dataclass
class Session:
    """Trains and validates as the plan says, each run in its own folder, from which it can be resumed."""

    base: SentenceTransformer
    """The base model; never trained itself."""
    plan: ValidationPlan
    """What is trained on, and what chooses."""
    folder: Path
    """For the runs' checkpoints and candidates."""
    options: Options
    """The tuner's."""
    epochs: int
    """Passes over the pairs."""
    seed: int
    """Of every run."""
    plugins: PluginManager
    """Who hears of training events."""
    _base_vectors: EmbedOnce | None = field(default=None, init=False)

    def candidates(self) -> list[Candidates]:
        """The candidates of each fold, the base model first; trains what is not trained yet."""
        return [self._fold(number, *fold) for number, fold in enumerate(self.plan.folds)]

    def _fold(self, number: int, trainset: QADataset, valset: QADataset) -> Candidates:
        scorer = self._scorer(valset)
        candidates = self._open(f"run-{number}")
        if not candidates.points:
            logger.info("scoring the base model on %d validation queries", len(valset))
            # What one fold has embedded with the base model is kept for the next.
            self._base_vectors = self._base_vectors or EmbedOnce(scorer.embedder(self.base))
            candidates.add(Candidate(0, 0, 0.0, scorer.score(self._base_vectors)), None)
        title = f"fold {number + 1}/{len(self.plan.folds)}" if self.plan.is_cross_validation else "tuning"
        self._run(trainset, candidates.folder, title, scorer).train(candidates)
        return candidates

    def chosen_model(self, runs: list[Candidates], chosen: ValidationPoint) -> SentenceTransformer:
        """The base with the chosen weights; after a cross-validation, those of a run on everything."""
        model = copy.deepcopy(self.base)
        if chosen.step == 0:
            logger.warning("no step of training was better than the base model: its weights are kept")
        elif not self.plan.is_cross_validation:
            model.load_state_dict(load_file(runs[0].weights, device=str(model.device)))
        else:
            index = next(point.index for point in runs[0].points if point.step == chosen.step)
            candidates = self._open("run-all")
            run = self._run(self.plan.trainset, candidates.folder, "tuning on all", None, stop_at=index)
            model.load_state_dict(run.train(candidates))
        return model

    def _open(self, name: str) -> Candidates:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        return Candidates.load(folder, self.options.metric)

    def _scorer(self, valset: QADataset) -> Scorer:
        precision = chosen_precision(self.options.precision, self.base.device.type)
        return Scorer(valset, self.options.metric, precision, self.options.progress)

    def _run(
        self, trainset: QADataset, folder: Path, title: str, scorer: Scorer | None, stop_at: int | None = None
    ) -> Run:
        model = copy.deepcopy(self.base)
        if self.options.dropout is not None:
            set_dropout(model, self.options.dropout)
        if self.options.freeze_embeddings:
            freeze_word_embeddings(model)
        return Run(
            model=model,
            pairs=pairs_of(trainset, self.options.all_answers),
            scorer=scorer,
            folder=folder,
            options=self.options,
            epochs=self.epochs,
            seed=self.seed,
            plugins=self.plugins,
            stop_at=stop_at,
            title=title,
        )


def pooled(runs: list[Candidates], metric: str) -> tuple[tuple[ValidationPoint, ...], ValidationPoint]:
    """The validation points over the queries of all folds, and the best; of equal ones the earlier."""
    history = []
    for points in zip(*(run.points for run in runs), strict=True):
        values = {name: [v for point in points for v in point.values[name]] for name in points[0].values}
        means = {name: sum(found) / len(found) for name, found in values.items()}
        history.append(ValidationPoint(points[0].step, points[0].epoch, means))
    return tuple(history), max(history, key=lambda point: (point.metrics[metric], -point.step))
