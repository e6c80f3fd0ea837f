"""What happens between the steps of a run: a bar, validation, checkpoints, fresh negatives."""

import logging
import math
import time
from collections.abc import Mapping
from typing import Any, Protocol

from tqdm.auto import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState

from embedtune import TrainingEvent, TuningError
from embedtune.plugins import PluginManager
from embedtune_sentence_transformers.schedule import Schedule
from embedtune_sentence_transformers.scoring import Candidate, Candidates

__all__ = ["Progress"]

logger = logging.getLogger(__name__)


class _Shown(Protocol):
    """The options that say what is shown and saved on the way."""

    @property
    def progress(self) -> bool: ...
    @property
    def checkpoint_minutes(self) -> float: ...
    @property
    def checkpoint_steps(self) -> int | None: ...


class _Run(Protocol):
    """A run as far as it is looked at here."""

    @property
    def model(self) -> Any: ...
    @property
    def options(self) -> _Shown: ...
    @property
    def plugins(self) -> PluginManager: ...
    @property
    def schedule(self) -> Schedule: ...
    @property
    def title(self) -> str: ...
    def renew_negatives(self, epoch: int) -> None: ...
    def validate(self) -> Mapping[str, tuple[float, ...]] | None: ...


class Progress(TrainerCallback):
    """Shows a bar, tells the plugins, validates at its points, saves checkpoints, stops on NaN."""

    def __init__(self, run: _Run, candidates: Candidates, last_step: int) -> None:
        self._run = run
        self._candidates = candidates
        self._last_step = last_step
        self._points = run.schedule.points
        self._bar: tqdm[Any] | None = None
        self._loss: float | None = None
        self._saved_at = time.monotonic()

    def on_train_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Open the bar where the run stands."""
        self._bar = tqdm(
            total=self._last_step,
            initial=state.global_step,
            desc=self._run.title,
            unit="step",
            disable=not self._run.options.progress,
        )
        self._tell("start", state)

    def on_epoch_begin(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Mine hard negatives where they are due."""
        self._run.renew_negatives(int(state.epoch or 0))

    def on_log(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Take the loss; a loss that is not a number never heals."""
        logs = kwargs.get("logs") or {}
        if "loss" not in logs:
            return
        self._loss = float(logs["loss"])
        if not math.isfinite(self._loss):
            raise TuningError(
                f"The loss is {self._loss} at step {state.global_step}: the weights are lost. The target folder is as "
                f"it was. Lower learning_rate (now {args.learning_rate:g}), or give precision='fp32'."
            )
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{self._loss:.3f}", refresh=False)

    def on_step_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> TrainerControl:
        """Validate and save where it is due."""
        if self._bar is not None:
            self._bar.update(1)
        self._tell("step", state)
        point = self._points.get(state.global_step)
        if point is not None:
            self._validate(point, state)
        options, step = self._run.options, state.global_step
        is_due = options.checkpoint_steps is not None and step % options.checkpoint_steps == 0
        if point is not None or is_due or time.monotonic() - self._saved_at > 60 * options.checkpoint_minutes:
            control.should_save = state.global_step < self._last_step
            self._saved_at = time.monotonic()
        if state.global_step >= self._last_step:
            control.should_training_stop = True
        return control

    def on_train_end(self, args: Any, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Close the bar."""
        if self._bar is not None:
            self._bar.close()
        self._tell("end", state)

    def _validate(self, point: int, state: TrainerState) -> None:
        run = self._run
        run.model.eval()
        values = run.validate()
        run.model.train()
        if values is None:
            return
        candidate = Candidate(point, state.global_step, float(state.epoch or 0), values)
        self._candidates.add(candidate, run.model)
        logger.info("step %d: %s", state.global_step, candidate.metrics)
        self._tell("validation", state, candidate.metrics)

    def _tell(self, kind: str, state: TrainerState, metrics: dict[str, float] | None = None) -> None:
        event = TrainingEvent(
            kind=kind,
            step=state.global_step,
            total_steps=self._last_step,
            epoch=float(state.epoch or 0),
            loss=self._loss,
            metrics=metrics or {},
        )
        self._run.plugins.training_event(event)
