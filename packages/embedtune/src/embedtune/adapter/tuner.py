"""`AdapterTuner`: ``tune(..., tuner="adapter")``, for any embedder, in seconds."""

import logging
import platform
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import numpy as np

from embedtune.adapter.choosing import AdapterFit, fit_adapter
from embedtune.adapter.estimating import estimated
from embedtune.adapter.fitting import EPOCHS
from embedtune.adapter.loading import REFERENCE, folders_under, reference_of
from embedtune.adapter.problems import embedded_problem
from embedtune.adapter.query_adapter import AdaptedEmbedder, QueryAdapter
from embedtune.caches import cached
from embedtune.errors import TuningError
from embedtune.folders import swap_in
from embedtune.metrics import parse_metric
from embedtune.protocols import Embedder
from embedtune.records import ModelRecord, SeenTexts, read_record
from embedtune.resolve import as_embedder
from embedtune.tuner import BaseEmbeddingTuner, TuneResult, ValidationPoint, dataset_digest
from embedtune.tuning_estimate import TuningEstimate
from embedtune.validation import MOST_FOLDS, ValidationPlan, plan_validation

__all__ = ["AdapterTuner"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class AdapterOptions:
    """Options of ``embedtune.tune(..., tuner="adapter")``.

    Raises:
        TuningError: If one is out of range.
    """

    metric: str = "ndcg@10"
    """The retrieval metric that chooses rank and strength."""
    folds: int = 3
    """Folds of the cross-validation that chooses where no valset is given; 0 or 1 holds back a tenth instead."""
    cache: str | Path | None = None
    """A folder that keeps the vectors for the next time; what a run has embedded it keeps beside its target anyway
    until it is done, so that a crash pays for nothing twice."""
    progress: bool = True
    """Whether bars are shown."""

    def __post_init__(self) -> None:
        if not 0 <= self.folds <= MOST_FOLDS:
            raise TuningError(f"folds must lie in [0, {MOST_FOLDS}]; got {self.folds!r}.")
        try:
            parse_metric(self.metric)
        except ValueError as error:
            raise TuningError(f"metric: {error}") from error


class AdapterTuner(BaseEmbeddingTuner):
    """A linear map of the query vectors; the embedder and the chunks' vectors stay as they are.

    Args, beyond those of `BaseEmbeddingTuner`: the fields of `AdapterOptions`; ``model`` is anything that
    `embedtune.evaluate` takes as a model. ``epochs`` are 16 if None; fewer passes are tried as well.
    """

    name = "adapter"
    Options: ClassVar[type] = AdapterOptions
    options: AdapterOptions

    def finetune(self) -> None:
        """Embed, train, choose, write the folder, and set ``self.result``.

        Raises:
            TuningError: If the data leave nothing to validate on.
            EmbeddingError: If the embedder fails.
        """
        started = time.monotonic()
        plan = self.plan(self.options.folds)
        embedder = as_embedder(self.model, self.plugins)
        if self.path.resolve() in folders_under(self.model) | folders_under(embedder):
            raise TuningError(
                f"{str(self.path)!r} holds the embedder that the adapter would be trained on, and would be replaced. "
                "Give another path."
            )
        with self.writing(self._job(embedder)) as partial:
            found = embedded_problem(plan, self._keeping(embedder, partial), partial, progress=self.options.progress)
            logger.info("%d queries and %d chunks are embedded", len(found.problem.queries), len(found.problem.chunks))
            fit = fit_adapter(
                found.problem,
                found.folds,
                metric=self.options.metric,
                epochs=self._epochs,
                seed=self.seed,
                progress=self.options.progress,
            )
            adapter = QueryAdapter(fit.factors, embedder.fingerprint, found.probe)
            (partial / "new").mkdir(exist_ok=True)
            adapter.save(partial / "new")
            record = self._record(embedder, adapter, fit, plan)
            record.write(partial / "new")
            swap_in(self.path)
        self.result = TuneResult(
            path=self.path,
            record=record,
            history=_history(fit, self.options.metric),
            n_pairs=sum(map(len, plan.trainset.relevant_docs.values())),
            truncated_share=0.0,
            seconds=time.monotonic() - started,
        )

    def estimate(self) -> TuningEstimate:
        """What `finetune` would embed and take; a sample of the texts is embedded for it.

        Raises:
            TuningError: If the data leave nothing to validate on.
            EmbeddingError: If the embedder fails.
        """
        embedder = as_embedder(self.model, self.plugins)
        if self.options.cache is not None:
            embedder = cached(embedder, self.options.cache)
        return estimated(self.plan(self.options.folds), embedder, self._epochs)

    def plan(self, folds: int = 3) -> ValidationPlan:
        """Cross-validation, however many queries there are: a training takes seconds."""
        return plan_validation(self.trainset, self.valset, seed=self.seed, folds=folds, carve=False)

    @property
    def _epochs(self) -> int:
        return EPOCHS if self.epochs is None else self.epochs

    def _keeping(self, embedder: Embedder, partial: Path) -> Embedder:
        """Keeps vectors beside the target until the run is done, or where the user said: they may have cost money."""
        if embedder.fingerprint is None and self.options.cache is None:
            return embedder
        return cached(embedder, self.options.cache or partial / "vectors", progress=self.options.progress)

    def _job(self, embedder: Embedder) -> dict[str, object]:
        return {
            "tuner": self.name,
            "base": embedder.fingerprint or type(embedder).__qualname__,
            "trainset": dataset_digest(self.trainset),
            "valset": dataset_digest(self.valset),
            "epochs": self._epochs,
            "seed": self.seed,
            "metric": self.options.metric,
            "folds": self.options.folds,
        }

    def _record(self, embedder: Embedder, adapter: QueryAdapter, fit: AdapterFit, plan: ValidationPlan) -> ModelRecord:
        given = [self.trainset] if self.valset is None else [self.trainset, self.valset]
        metric, reference = self.options.metric, reference_of(self.model)
        return ModelRecord(
            base_model=reference or getattr(embedder, "name", None) or f"a {type(self.model).__name__}",
            base_fingerprint=embedder.fingerprint,
            fingerprint=AdaptedEmbedder(embedder, adapter).fingerprint or adapter.fingerprint,
            tuner=self.name,
            configuration={
                REFERENCE: reference,
                "metric": metric,
                "seed": self.seed,
                "dim": adapter.dim,
                "rank": adapter.factors.rank,
                "strength": 0.0 if fit.kept_base_reason else fit.best.strength,
                "epochs": 0 if fit.kept_base_reason else fit.best.n_passes,
                "validation_queries": len(fit.base),
                "cross_validation_folds": len(plan.folds) if plan.is_cross_validation else 0,
            },
            versions={"python": platform.python_version(), "embedtune": version("embedtune"), "numpy": np.__version__},
            metrics_before={metric: float(fit.base.mean())},
            metrics_after={metric: float((fit.base if fit.kept_base_reason else fit.values).mean())},
            chosen_step=0 if fit.kept_base_reason else fit.steps,
            chosen_share=1.0 if fit.kept_base_reason else fit.best.strength,
            kept_base=fit.kept_base_reason is not None,
            kept_base_reason=fit.kept_base_reason,
            seen=SeenTexts.of(given) | _seen_by(embedder),
        )


def _seen_by(embedder: Embedder) -> SeenTexts:
    """What the embedder itself was tuned on, where it is one of ours."""
    folder = getattr(embedder, "record_folder", None)
    record = read_record(folder) if folder is not None else None
    return record.seen if record is not None else SeenTexts()


def _history(fit: AdapterFit, metric: str) -> tuple[ValidationPoint, ...]:
    best = {metric: float(fit.values.mean())}
    return (
        ValidationPoint(0, 0.0, {metric: float(fit.base.mean())}),
        ValidationPoint(fit.steps, float(fit.best.n_passes), best, fit.best.strength),
    )
