"""One training run: the sentence-transformers trainer with our collator and loss, validated along the way."""

import json
import logging
import shutil
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import torch
from datasets import Dataset
from safetensors.torch import load_file, save_file
from sentence_transformers import (
    CrossEncoder,
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from torch import nn
from transformers import PrinterCallback, ProgressCallback

from embedtune.folders import read_state, replace_file
from embedtune.plugins import PluginManager
from embedtune.reranking import ScoreOnce
from embedtune.search import EmbedOnce
from embedtune_sentence_transformers.collating import RowCollator
from embedtune_sentence_transformers.failures import telling_of_memory
from embedtune_sentence_transformers.loss import chosen_loss
from embedtune_sentence_transformers.negatives import NegativeMiner
from embedtune_sentence_transformers.options import MOST_VALIDATIONS, STEPS_PER_VALIDATION, Options, Settled
from embedtune_sentence_transformers.pairs import TrainingPairs
from embedtune_sentence_transformers.precision import chosen_precision, fast_attention
from embedtune_sentence_transformers.preparing import plain_state
from embedtune_sentence_transformers.progress import Progress
from embedtune_sentence_transformers.schedule import Schedule
from embedtune_sentence_transformers.scoring import Candidates, Scorer

__all__ = [
    "PlainCheckpoints",
    "Run",
    "Trained",
    "quieten",
    "rows_of",
    "schedule_of",
    "shared_arguments",
    "trained_once",
]

_FINAL = "final.safetensors"
_LOSSES = "losses.json"
"""Of the whole run; its presence says that the run is done."""
_CHECKPOINT_WEIGHTS = "weights.safetensors"


@dataclass(frozen=True)
class Trained:
    """What a run ends with."""

    state: dict[str, torch.Tensor]
    """The weights, under the base model's names."""
    losses: tuple[float, ...]
    """After each step."""


class PlainCheckpoints:
    """For a trainer of the library's: no model card, which describes datasets that we do not have, and safetensors."""

    args: Any
    model: Any

    def add_model_card_callback(self, default_args_dict: dict[str, Any]) -> None:
        """None: `embedtune_sentence_transformers.card` writes the card."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The weights as they stand in training, in safetensors."""
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in self.model.state_dict().items()}
        save_file(state, folder / _CHECKPOINT_WEIGHTS)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: object = None) -> None:
        self.model.load_state_dict(load_file(Path(resume_from_checkpoint) / _CHECKPOINT_WEIGHTS))


class _Trainer(PlainCheckpoints, SentenceTransformerTrainer):
    """The library's, with our checkpoints."""


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
        seed: Seeds order, draws and dropout.
        stop_at: The validation point to end at; the last if None.
        title: For the progress bar.
        plugins: Who hears of training events.
        teacher: Whose scores are followed.
    """

    model: SentenceTransformer
    pairs: TrainingPairs
    scorer: Scorer | None
    folder: Path
    options: Settled
    epochs: int
    seed: int
    plugins: PluginManager
    stop_at: int | None = None
    title: str = "tuning"
    teacher: ScoreOnce | EmbedOnce | None = None
    _miner: NegativeMiner | None = field(default=None, init=False)

    @cached_property
    def rows(self) -> dict[str, list[object]]:
        """What steps are drawn from; single pairs for a loss of the library's."""
        return rows_of(self.pairs, self.options)

    @property
    def schedule(self) -> Schedule:
        """Batches and validation points."""
        return schedule_of(len(self.rows["chunk"]), self.epochs, self.options)

    @property
    def precision(self) -> str:
        """``"fp32"`` or ``"bf16"``."""
        return chosen_precision(self.options.precision, self.model.device.type)

    def train(self, candidates: Candidates) -> Trained:
        """Train to the end, from the last checkpoint if there is one; fills ``candidates``.

        Raises:
            TuningError: If the loss is not a number, or memory runs out.
        """
        with telling_of_memory(self.options, self.model.max_seq_length):
            return trained_once(self.folder, self.model, self.precision, lambda: self.trainer(candidates))

    def validate(self) -> Mapping[str, tuple[float, ...]] | None:
        """The model as it is now on the validation queries; None where only the last step counts."""
        return self.scorer.score(self.scorer.embedder(self.model)) if self.scorer is not None else None

    def trainer(self, candidates: Candidates) -> SentenceTransformerTrainer:
        """The library's trainer, with all that is ours in its seams."""
        last = self.stop_at or self.schedule.n_validations
        self._collator = RowCollator(self.model, self.pairs, seed=self.seed, row_by_row=self.options.loss is not None)
        trainer = _Trainer(
            model=self.model,
            args=self._arguments(),
            train_dataset=Dataset.from_dict(self.rows),
            loss=self._loss(),
            data_collator=cast(Any, self._collator),
            callbacks=[Progress(self, candidates, self.schedule.step_of(last))],
        )
        quieten(trainer)
        return trainer

    def _loss(self) -> nn.Module:
        options = self.options
        settings = options.loss_settings() | {"precision": self.precision}
        return chosen_loss(self.model, options.loss, options.temperature, **settings)

    def renew_negatives(self, epoch: int) -> None:
        """Hard negatives for an epoch: the base's, or where asked for those of the model as it is."""
        if self.options.hard_negatives == 0:
            return
        self._miner = self._miner or NegativeMiner(self.pairs, self.options, self.folder, self.precision, self.teacher)
        self._collator.negatives = self._miner.negatives(self.model, epoch)

    def _arguments(self) -> SentenceTransformerTrainingArguments:
        schedule, device = self.schedule, self.model.device.type
        return SentenceTransformerTrainingArguments(
            **shared_arguments(self.folder, device, self.precision, self.seed),
            num_train_epochs=self.epochs,
            per_device_train_batch_size=schedule.even_batch_size,
            learning_rate=self.options.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=round(self.options.warmup_ratio * schedule.total_steps),
            weight_decay=self.options.weight_decay,
        )


def trained_once(
    folder: Path, model: SentenceTransformer | CrossEncoder, precision: str, trainer_of: Callable[[], Any]
) -> Trained:
    """Train to the end, from the last checkpoint if there is one, or give what an earlier run ended with.

    Args:
        folder: The run's.
        model: Is trained in place.
        precision: ``"fp32"`` or ``"bf16"``.
        trainer_of: Makes the trainer.
    """
    if not (folder / _LOSSES).exists():
        trainer = trainer_of()
        with warnings.catch_warnings(), fast_attention(model, precision):
            # Ours is no DataLoader of tensors to pin; on a CPU the trainer warns of it at each start.
            warnings.filterwarnings("ignore", message=".*pin_memory.*")
            trainer.train(resume_from_checkpoint=_last_checkpoint(folder))
        with replace_file(folder / _FINAL) as partial:
            save_file(plain_state(model), partial)
        losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
        with replace_file(folder / _LOSSES) as partial:
            partial.write_text(json.dumps(losses), encoding="utf-8")
    return Trained(load_file(folder / _FINAL), tuple(read_state(folder / _LOSSES)))


def shared_arguments(folder: Path, device: str, precision: str, seed: int) -> dict[str, Any]:
    """Arguments of the library's trainers that are the same in every run of ours."""
    return {
        "output_dir": str(folder),
        "optim": "adamw_torch_fused" if device in ("cpu", "cuda") else "adamw_torch",
        "bf16": precision == "bf16",
        "use_cpu": device == "cpu",
        "seed": seed,
        "data_seed": seed,
        "save_strategy": "no",
        "save_total_limit": 1,
        "logging_steps": 1,
        "logging_nan_inf_filter": False,
        "disable_tqdm": True,
        "report_to": "none",
        "dataloader_pin_memory": device == "cuda",
        "remove_unused_columns": False,
    }


def quieten(trainer: Any) -> None:
    """Take away what the library shows and warns of by itself: our bar stands there."""
    for callback in (ProgressCallback, PrinterCallback):
        trainer.remove_callback(callback)
    # At each clean-up of checkpoints the library warns that it goes by their numbers, which is what we want.
    logging.getLogger("transformers.trainer_utils").addFilter(_without_mtime)


def rows_of(pairs: TrainingPairs, options: Options) -> dict[str, list[object]]:
    """What the steps of a run on these pairs are drawn from."""
    return pairs.rows(1) if options.loss is not None else pairs.rows()


def schedule_of(n_rows: int, epochs: int, options: Settled) -> Schedule:
    """The schedule of a run on so many rows."""
    schedule = Schedule(n_rows, epochs, options.batch_size, epochs * (options.validations_per_epoch or 1))
    if options.validations_per_epoch is not None:
        return schedule
    return replace(schedule, n_validations=min(max(1, schedule.total_steps // STEPS_PER_VALIDATION), MOST_VALIDATIONS))


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
