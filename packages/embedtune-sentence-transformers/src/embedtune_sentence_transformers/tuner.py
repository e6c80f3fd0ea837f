"""`SentenceTransformersTuner`: from pairs to a model folder."""

import copy
import logging
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embedtune import BaseEmbeddingTuner, TuneResult, TuningError
from embedtune.folders import swap_in
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.records import ModelRecord, SeenTexts
from embedtune.search import EmbedOnce
from embedtune.tuner import ValidationPoint, dataset_digest
from embedtune.validation import ValidationPlan
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

from embedtune_sentence_transformers import options as _options
from embedtune_sentence_transformers.card import write_card
from embedtune_sentence_transformers.loading import load_model, local_folder, model_fingerprint
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from embedtune_sentence_transformers.scoring import Candidate, Candidates, Scorer
from embedtune_sentence_transformers.training import Run, set_dropout

__all__ = ["SentenceTransformersTuner"]

logger = logging.getLogger(__name__)


class SentenceTransformersTuner(BaseEmbeddingTuner):
    """Contrastive tuning of all weights on the sentence-transformers trainer.

    The base is loaded afresh, so a model that is in use elsewhere in the process stays as it is. Queries and chunks
    get the model's own prompts, in training as later in use. Weights are float32. The checkpoint with the best
    retrieval metric on the validation queries is kept; step 0, the base model, is among the candidates.

    Args, beyond those of `BaseEmbeddingTuner`: the fields of `Options`; ``model`` may also be a loaded
    ``SentenceTransformer``.
    """

    name = "sentence-transformers"
    Options = _options.Options
    options: _options.Options

    def finetune(self) -> None:
        """Train, choose, write the folder, and set ``self.result``.

        Raises:
            TuningError: If the data leave nothing to validate on, or training breaks down.
        """
        started = time.monotonic()
        plan = self.plan(self.options.folds)
        base = self._load_base()
        fingerprint = model_fingerprint(base, self._base_folder(), **self._settings())
        precision = _options.chosen_precision(self.options.precision, base.device.type)
        with self.writing(self._job(fingerprint, precision)) as partial:
            runs = [self._fold_run(base, fold, i, plan, partial, precision) for i, fold in enumerate(plan.folds)]
            history, chosen = _pooled(runs, self.options.metric)
            model = self._chosen_model(base, plan, runs, chosen, partial, precision)
            model.save(str(partial / "new"), create_model_card=False, safe_serialization=True)
            record = self._record(partial / "new", fingerprint, plan, history, chosen, precision)
            pairs = pairs_of(plan.trainset)
            result = TuneResult(
                path=self.path,
                record=record,
                history=history,
                n_pairs=len(pairs),
                truncated_share=_truncated_share(base, pairs),
                seconds=time.monotonic() - started,
            )
            write_card(partial / "new", model, result)
            record.write(partial / "new")
            swap_in(self.path)
        self.result = result

    def _load_base(self) -> SentenceTransformer:
        if isinstance(self.model, SentenceTransformer):
            model = copy.deepcopy(self.model).float()
            if self.options.max_seq_length is not None:
                model.max_seq_length = self.options.max_seq_length
            return model
        return load_model(
            self._base_ref(),
            device=self.options.device,
            trust_remote_code=self.options.trust_remote_code,
            max_seq_length=self.options.max_seq_length,
        )

    def _base_ref(self) -> str:
        if not isinstance(self.model, str | Path):
            raise TuningError(
                f"The tuner {self.name!r} trains a sentence-transformers model: give its folder, its hub name, or the "
                f"loaded SentenceTransformer; got a {type(self.model).__name__}."
            )
        return parse_reference(str(self.model), [self.name]).ref

    def _base_folder(self) -> Path | None:
        return None if isinstance(self.model, SentenceTransformer) else local_folder(self._base_ref())

    def _base_name(self) -> str:
        if isinstance(self.model, SentenceTransformer):
            return str(self.model.model_card_data.base_model or "a SentenceTransformer in memory")
        return self._base_ref()

    def _settings(self) -> dict[str, object]:
        return {"max_seq_length": self.options.max_seq_length}

    def _job(self, fingerprint: str, precision: str) -> dict[str, object]:
        quiet = {"progress", "checkpoint_minutes", "device"}
        return {
            "tuner": self.name,
            "base": fingerprint,
            "trainset": dataset_digest(self.trainset),
            "valset": dataset_digest(self.valset),
            "epochs": self.epochs,
            "seed": self.seed,
            **{name: value for name, value in asdict(self.options).items() if name not in quiet},
            "precision": precision,
        }

    def _fold_run(
        self, base: SentenceTransformer, fold: Sequence[Any], number: int, plan: ValidationPlan, partial: Path, precision: str
    ) -> Candidates:
        """Train and validate on one fold; its candidates, the base model first."""
        trainset, valset = fold
        scorer = Scorer(valset, self.options.metric, precision, self.options.progress)
        folder = partial / f"run-{number}"
        folder.mkdir(exist_ok=True)
        candidates = Candidates.load(folder, self.options.metric)
        if not candidates.points:
            logger.info("scoring the base model on %d validation queries", len(valset))
            candidates.add(Candidate(0, 0, 0.0, scorer.score(self._base_embedder(base, scorer))), None)
        title = f"fold {number + 1}/{len(plan.folds)}" if plan.is_cross_validation else "tuning"
        self._run(base, pairs_of(trainset), scorer, folder, precision, title).train(candidates)
        return candidates

    def _base_embedder(self, base: SentenceTransformer, scorer: Scorer) -> EmbedOnce:
        """The base model for scoring; what one fold has embedded is kept for the next."""
        if getattr(self, "_base_vectors", None) is None:
            self._base_vectors = EmbedOnce(scorer.embedder(base))
        return self._base_vectors

    def _run(
        self,
        base: SentenceTransformer,
        pairs: TrainingPairs,
        scorer: Scorer | None,
        folder: Path,
        precision: str,
        title: str,
        stop_at: int | None = None,
    ) -> Run:
        model = copy.deepcopy(base)
        if self.options.dropout is not None:
            set_dropout(model, self.options.dropout)
        return Run(
            model,
            pairs,
            scorer,
            folder,
            self.options,
            precision,
            self.epochs,
            self.seed,
            self.plugins or plugin_manager(),
            stop_at,
            title,
        )

    def _chosen_model(
        self,
        base: SentenceTransformer,
        plan: ValidationPlan,
        runs: list[Candidates],
        chosen: ValidationPoint,
        partial: Path,
        precision: str,
    ) -> SentenceTransformer:
        """The base with the chosen weights; after a cross-validation, of a run on everything."""
        if chosen.step == 0:
            logger.warning("no step of training was better than the base model: its weights are kept")
            return base
        if not plan.is_cross_validation:
            base.load_state_dict(load_file(runs[0].weights, device=str(base.device)))
            return base
        folder = partial / "run-all"
        folder.mkdir(exist_ok=True)
        index = next(point.index for point in runs[0].points if point.step == chosen.step)
        run = self._run(base, pairs_of(plan.trainset), None, folder, precision, "tuning on all", index)
        run.train(Candidates.load(folder, self.options.metric))
        base.load_state_dict(run.model.state_dict())
        return base

    def _record(
        self,
        folder: Path,
        base_fingerprint: str,
        plan: ValidationPlan,
        history: tuple[ValidationPoint, ...],
        chosen: ValidationPoint,
        precision: str,
    ) -> ModelRecord:
        given = [self.trainset] if self.valset is None else [self.trainset, self.valset]
        configuration = asdict(self.options) | {
            "epochs": self.epochs,
            "seed": self.seed,
            "precision": precision,
            "validation_queries": sum(len(valset) for _, valset in plan.folds),
            "cross_validation_folds": len(plan.folds) if plan.is_cross_validation else 0,
        }
        libraries = ("embedtune", "sentence-transformers", "transformers", "torch")
        return ModelRecord(
            base_model=self._base_name(),
            base_fingerprint=base_fingerprint,
            fingerprint=model_fingerprint(SentenceTransformer(str(folder), device="cpu"), folder),
            tuner=self.name,
            configuration=configuration,
            versions={"python": platform.python_version(), **{name: version(name) for name in libraries}},
            metrics_before=history[0].metrics,
            metrics_after=chosen.metrics,
            chosen_step=chosen.step,
            kept_base=chosen.step == 0,
            seen=SeenTexts.of(given),
        )


def _pooled(runs: list[Candidates], metric: str) -> tuple[tuple[ValidationPoint, ...], ValidationPoint]:
    """The validation points over the queries of all folds, and the best; of equal ones the earlier."""
    history = []
    for points in zip(*(run.points for run in runs), strict=True):
        values = {name: [v for point in points for v in point.values[name]] for name in points[0].values}
        means = {name: sum(found) / len(found) for name, found in values.items()}
        history.append(ValidationPoint(points[0].step, points[0].epoch, means))
    return tuple(history), max(history, key=lambda point: (point.metrics[metric], -point.step))


def _truncated_share(model: SentenceTransformer, pairs: TrainingPairs) -> float:
    """Share of the training chunks with more tokens than the model reads."""
    limit, tokenizer = model.max_seq_length, getattr(model, "tokenizer", None)
    if limit is None or not callable(tokenizer):
        return 0.0
    # A token is at least one character, and a chunk of 20 characters a token is cut for sure.
    texts = [chunk[: 20 * limit] for chunk in pairs.chunks]
    lengths = [len(ids) for ids in tokenizer(texts, truncation=False, verbose=False)["input_ids"]]
    share = sum(length > limit for length in lengths) / len(lengths)
    if share > 0:
        logger.warning("%.0f%% of the training chunks are longer than the %d tokens that the model reads", 100 * share, limit)
    return share
