"""`tune` and the base class of all tuners."""

import dataclasses
import hashlib
import json
import logging
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from embedtune.dataset import QADataset
from embedtune.errors import ModelFolderError, TuningError
from embedtune.folders import check_target, claim_target, heal, partial_of, read_state, replace_file
from embedtune.records import ModelRecord, is_model_folder
from embedtune.tuning_estimate import TuningEstimate
from embedtune.types_of_options import is_of, told
from embedtune.validation import ValidationPlan, check_independent, plan_validation

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["BaseEmbeddingTuner", "TuneResult", "ValidationPoint", "tune"]

logger = logging.getLogger(__name__)

_JOB_FILE = "job.json"

_SEEDS = 2**32
"""Seeds that numpy, torch and the trainers all take."""


@dataclass(frozen=True)
class ValidationPoint:
    """The validation metrics at one point of training."""

    step: int
    """Optimiser steps done; 0 is the base model's weights."""
    epoch: float
    """Passes over the pairs done."""
    metrics: Mapping[str, float]
    """Such as ``{"ndcg@10": 0.51}``."""
    share: float = 1.0
    """Of the way from the base model's weights to those of this step; under 1 it is a mean of the two."""


@dataclass(frozen=True, kw_only=True)
class TuneResult:
    """What a tuning run gave."""

    path: Path
    """The model folder, absolute."""
    record: ModelRecord
    """What its ``embedtune.json`` says."""
    history: tuple[ValidationPoint, ...]
    """Validation along the way, step 0 first; of a cross-validation the mean over all queries."""
    n_pairs: int
    """Pairs of query and chunk in one epoch."""
    truncated_share: float
    """Share of the training chunks that are longer than the model reads, in [0, 1]."""
    seconds: float
    """Wall time of the run."""
    losses: tuple[float, ...] = ()
    """Training loss after each optimiser step of the run that was kept, in nats."""

    @property
    def kept_base(self) -> bool:
        """Whether no step was better than the base model, so that the folder holds its weights."""
        return self.record.kept_base


@dataclass(frozen=True, kw_only=True)
class NoOptions:
    """The options of a tuner that has none."""


class BaseEmbeddingTuner(ABC):
    """A way to tune a model; a plugin subclasses it and implements `finetune`.

    Checks everything that can be checked before costly work: data, target folder, options, leaks.

    Args:
        model: The base model: a reference, or what the tuner knows.
        trainset: Pairs to train on.
        valset: Chooses the checkpoint, and must share nothing with ``trainset``; if None, a part of ``trainset`` is
            held back (of 1,500 queries and more), or it is chosen by cross-validation.
        path: The model folder to write: new, empty, or one of ours, which is replaced in one rename.
        epochs: Passes over the pairs, at least 1; chosen by the tuner if None.
        seed: Seeds everything; same seed, same machine, same weights.
        resume: Go on from where an interrupted run of the same job into the same path stopped.
        options: The fields of the class attribute ``Options``; an unknown one is an error.

    Raises:
        TuningError: If an option is unknown or out of range, fewer than 2 pairs are given, or ``valset`` leaks.
        ModelFolderError: If ``path`` holds something that is not ours.
    """

    name: ClassVar[str] = "custom"
    """The tuner's name, for ``embedtune.json``."""

    Options: ClassVar[type] = NoOptions
    """A dataclass of the tuner's options with their defaults."""

    result: TuneResult | None = None
    """Set by `finetune`."""

    def __init__(
        self,
        model: object,
        trainset: QADataset,
        valset: QADataset | None = None,
        path: str | Path | None = None,
        *,
        epochs: int | None = None,
        seed: int = 0,
        resume: bool = False,
        plugins: "PluginManager | None" = None,
        **options: object,
    ) -> None:
        if path is None:
            raise TuningError("Give path=...: the folder that the tuned model is written to.")
        if epochs is not None and not _is_count(epochs):
            raise TuningError(f"epochs must be a whole number of at least 1; got {epochs!r}.")
        if not isinstance(seed, int) or not 0 <= seed < _SEEDS:
            raise TuningError(f"seed must be a whole number in [0, 2**32); got {seed!r}.")
        for name, dataset in (("trainset", trainset), ("valset", valset)):
            if not isinstance(dataset, QADataset) and (dataset is not None or name == "trainset"):
                raise TuningError(f"{name} must be a QADataset, as QADataset.load() gives it; got {dataset!r:.80}.")
        n_pairs = sum(map(len, trainset.relevant_docs.values()))
        if n_pairs < 2:
            raise TuningError(f"Training needs at least 2 pairs of query and chunk to tell apart; got {n_pairs}.")
        self.model = model
        self.trainset = trainset
        self.valset = valset
        self.path = Path(path).expanduser().absolute()
        self.epochs = None if epochs is None else int(epochs)
        self.seed = seed
        self.resume = resume
        self.plugins = plugins
        self.options = self._checked_options(options)
        if valset is not None:
            check_independent(trainset, valset)
        heal(self.path)
        check_target(self.path, is_model_folder)
        if outer := next(filter(is_model_folder, self.path.parents), None):
            raise ModelFolderError(
                f"{str(self.path)!r} lies within the model folder {str(outer)!r}, which goes as a whole when a model "
                "is written there again. Give a path beside it."
            )

    @abstractmethod
    def finetune(self) -> None:
        """Train, write the model folder, and set ``self.result``."""

    def estimate(self) -> TuningEstimate:
        """What `finetune` would do and cost, in steps, minutes and MiB; writes nothing that stays.

        Raises:
            TuningError: If this tuner gives no estimate.
        """
        raise TuningError(
            f"The tuner {self.name!r} gives no estimate: {type(self).__name__} has no estimate() of its own. Leave "
            "--dry-run out, and try it on a part of the data."
        )

    def helper(self) -> None:  # noqa: B027 - a hook that may stay empty
        """A hook for subclasses, called by nobody in core."""

    def plan(self, folds: int = 3) -> ValidationPlan:
        """What chooses the checkpoint; see `embedtune.validation.plan_validation`."""
        return plan_validation(self.trainset, self.valset, seed=self.seed, folds=folds)

    @contextmanager
    def writing(self, job: Mapping[str, object]) -> Iterator[Path]:
        """Hold the target; yields the partial folder, whose ``new`` becomes the model by `folders.swap_in`.

        Args:
            job: All that decides the result. A run that was interrupted is gone on with only if its job is equal.

        Raises:
            TuningError: If ``resume`` is set and the interrupted run was another job.
        """
        was_interrupted = not self.resume and (partial_of(self.path) / _JOB_FILE).is_file()
        with claim_target(self.path, keep=self.resume) as partial:
            if was_interrupted:
                logger.warning("begun anew at %s: what an interrupted run left there is dropped", self.path)
            described = json.loads(json.dumps(dict(job), sort_keys=True, default=str))
            file = partial / _JOB_FILE
            if file.is_file():
                before = read_state(file)
                if differing := sorted(key for key in described | before if described.get(key) != before.get(key)):
                    raise TuningError(
                        f"Cannot resume at {str(self.path)!r}: the interrupted run differs in {', '.join(differing)}. "
                        "Give the same arguments, or resume=False to begin anew."
                    )
            else:
                with replace_file(file) as note:  # half a note could never be resumed from
                    note.write_text(json.dumps(described), encoding="utf-8")
            yield partial

    def _checked_options(self, options: Mapping[str, object]) -> Any:
        known = [field.name for field in dataclasses.fields(self.Options)]
        if unknown := [name for name in options if name not in known]:
            raise TuningError(
                f"{type(self).__name__} has no option {', '.join(map(repr, unknown))}. "
                f"Options: {', '.join(known) or 'none'}."
            )
        for field in dataclasses.fields(self.Options):
            if field.name in options and not is_of(options[field.name], field.type):
                raise TuningError(f"{field.name} must be {told(field.type)}; got {options[field.name]!r:.80}.")
        return self.Options(**options)


def _is_count(epochs: object) -> bool:
    return isinstance(epochs, int | float) and 1 <= epochs < math.inf and int(epochs) == epochs


def dataset_digest(dataset: QADataset | None) -> str | None:
    """Hash of all that a data set holds, order included, for the description of a job."""
    if dataset is None:
        return None
    content = json.dumps([dataset.queries, dataset.corpus, dataset.relevant_docs, dataset.documents])
    return hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def tune(
    model: object,
    trainset: QADataset,
    valset: QADataset | None = None,
    path: str | Path | None = None,
    *,
    tuner: str = "sentence-transformers",
    epochs: int | None = None,
    seed: int = 0,
    resume: bool = False,
    plugins: "PluginManager | None" = None,
    **options: object,
) -> TuneResult:
    """Tune an embedding model on pairs of query and chunk.

    Args:
        model: The base model: hub name, folder, or what the tuner knows.
        trainset: Pairs to train on.
        valset: Chooses the checkpoint; carved from ``trainset``, or replaced by cross-validation, if None.
        path: The folder that the model is written to.
        tuner: Which way of tuning; ``embedtune plugins`` lists them.
        epochs: Passes over the pairs; chosen by the tuner if None.
        seed: Same seed, same machine, same weights.
        resume: Go on from where an interrupted run stopped.
        plugins: Where the tuner is looked up.
        options: Of the tuner, such as ``batch_size`` and ``learning_rate``; an unknown one is an error.

    Raises:
        BackendNotFoundError: If the tuner is not installed; the message says how to install it.
        TuningError: As `BaseEmbeddingTuner`.
    """
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    tuner_class = (plugins or plugin_manager()).tuner(tuner).load()
    run = tuner_class(
        model, trainset, valset, path, epochs=epochs, seed=seed, resume=resume, plugins=plugins, **options
    )
    run.finetune()
    if run.result is None:
        raise TuningError(f"The tuner {tuner!r} ended without a result: its finetune() must set self.result.")
    return run.result
