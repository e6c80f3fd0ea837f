"""One training run: the sentence-transformers trainer with our collator and loss, validated along the way."""

import json
import logging
import math
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments
from tqdm.auto import tqdm
from transformers import (
    PrinterCallback,
    ProgressCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
)

from embedtune import TrainingEvent, TuningError
from embedtune.folders import replace_file
from embedtune.plugins import PluginManager
from embedtune_sentence_transformers.loss import chosen_loss
from embedtune_sentence_transformers.options import Options, chosen_precision
from embedtune_sentence_transformers.pairs import PairCollator, TrainingPairs
from embedtune_sentence_transformers.scoring import Candidate, Candidates, Scorer

__all__ = ["Run", "Schedule"]

logger = logging.getLogger(__name__)

_FINAL = "final.safetensors"
"""Weights at the end of a run; its presence says that the run is done."""


@dataclass(frozen=True)
class Schedule:
    """Batches and validation points of a run."""

    n_pairs: int
    epochs: int
    batch_size: int
    validations_per_epoch: int

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a pass over the pairs; never 0."""
        return math.ceil(self.n_pairs / self.batch_size)

    @property
    def even_batch_size(self) -> int:
        """The batch size that fills all steps alike: a last batch of one pair would have no negatives."""
        return math.ceil(self.n_pairs / self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs."""
        return self.epochs * math.ceil(self.n_pairs / self.even_batch_size)

    def step_of(self, index: int) -> int:
        """The step of a validation point; point 0 is step 0."""
        return round(index * self.total_steps / (self.epochs * self.validations_per_epoch))

    @property
    def points(self) -> dict[int, int]:
        """Validation point by step, without step 0."""
        return {self.step_of(i): i for i in range(1, self.epochs * self.validations_per_epoch + 1)}


class _Trainer(SentenceTransformerTrainer):
    """The library's trainer without its model card, which describes datasets that we do not have."""

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: `embedtune_sentence_transformers.card` writes the card."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Weights and configuration alone, in safetensors."""
        self.model.save(str(output_dir or self.args.output_dir), create_model_card=False, safe_serialization=True)


@dataclass
class Run:
    """A training run in a folder of its own, which it can be resumed from.

    Args:
        model: A fresh copy of the base; it is trained in place.
        pairs: What it is trained on.
        scorer: Validates, or None where only the last step counts.
        folder: For checkpoints and candidates.
        options: The tuner's.
        epochs: Passes over the pairs that the learning rate is planned for.
        seed: Seeds order and dropout.
        stop_at: The validation point to end at; the last if None.
        title: For the progress bar.
        plugins: Who hears of training events.
    """

    model: SentenceTransformer
    pairs: TrainingPairs
    scorer: Scorer | None
    folder: Path
    options: Options
    epochs: int
    seed: int
    plugins: PluginManager
    stop_at: int | None = None
    title: str = "tuning"

    @property
    def schedule(self) -> Schedule:
        """Batches and validation points."""
        return Schedule(len(self.pairs), self.epochs, self.options.batch_size, self.options.validations_per_epoch)

    def train(self, candidates: Candidates) -> dict[str, torch.Tensor]:
        """Train to the end, from the last checkpoint if there is one; fills ``candidates``.

        Returns:
            The weights at the end.

        Raises:
            TuningError: If the loss is not a number.
        """
        last = self.stop_at or self.epochs * self.options.validations_per_epoch
        if (self.folder / _FINAL).exists():
            return load_file(self.folder / _FINAL)
        rows = {"query": [query for query, _ in self.pairs.pairs], "chunk": [chunk for _, chunk in self.pairs.pairs]}
        trainer = _Trainer(
            model=self.model,
            args=self._arguments(),
            train_dataset=Dataset.from_dict(rows),
            loss=chosen_loss(self.model, self.options.loss, self.options.temperature),
            data_collator=cast(Any, self._collator()),
            callbacks=[_Progress(self, candidates, self.schedule.step_of(last))],
        )
        for callback in (ProgressCallback, PrinterCallback):
            trainer.remove_callback(callback)
        # At each clean-up of checkpoints the library warns that it goes by their numbers, which is what we want.
        logging.getLogger("transformers.trainer_utils").addFilter(_without_mtime)
        with warnings.catch_warnings():
            # Ours is no DataLoader of tensors to pin; on a CPU the trainer warns of it at each start.
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            trainer.train(resume_from_checkpoint=_last_checkpoint(self.folder))
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.model.state_dict().items()}
        with replace_file(self.folder / _FINAL) as partial:
            save_file(state, partial)
        return state

    def _collator(self) -> PairCollator:
        own = self.options.loss is None
        return PairCollator(self.model, self.pairs, group_size=self._group_size(), row_by_row=not own)

    def _group_size(self) -> int:
        # A CPU gains nothing from wide batches; a GPU is idle without them.
        return 16 if self.model.device.type == "cpu" else self.schedule.even_batch_size

    def _arguments(self) -> SentenceTransformerTrainingArguments:
        schedule, device = self.schedule, self.model.device.type
        return SentenceTransformerTrainingArguments(
            output_dir=str(self.folder),
            num_train_epochs=self.epochs,
            per_device_train_batch_size=schedule.even_batch_size,
            learning_rate=self.options.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=round(self.options.warmup_ratio * schedule.total_steps),
            weight_decay=self.options.weight_decay,
            optim="adamw_torch_fused" if device in ("cpu", "cuda") else "adamw_torch",
            bf16=chosen_precision(self.options.precision, device) == "bf16",
            use_cpu=device == "cpu",
            seed=self.seed,
            data_seed=self.seed,
            save_strategy="no",
            save_total_limit=1,
            logging_steps=1,
            logging_nan_inf_filter=False,
            disable_tqdm=True,
            report_to="none",
            dataloader_pin_memory=device == "cuda",
            remove_unused_columns=False,
        )


def _without_mtime(record: logging.LogRecord) -> bool:
    return "mtime may not be reliable" not in record.getMessage()


def _last_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that is whole: the trainer writes ``trainer_state.json`` last."""
    by_step = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for checkpoint in by_step:
        try:
            json.loads((checkpoint / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(checkpoint)  # cut off by a kill
        else:
            return str(checkpoint)
    return None


class _Progress(TrainerCallback):
    """Shows a bar, tells the plugins, validates at its points, saves checkpoints, stops on NaN."""

    def __init__(self, run: Run, candidates: Candidates, last_step: int) -> None:
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
        if run.scorer is None:
            return
        run.model.eval()
        values = run.scorer.score(run.scorer.embedder(run.model))
        run.model.train()
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
