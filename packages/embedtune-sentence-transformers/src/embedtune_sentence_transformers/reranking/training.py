"""One training run of a cross-encoder on the library's trainer, validated along the way."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder
from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from torch import nn

from embedtune.plugins import PluginManager
from embedtune_sentence_transformers.failures import telling_of_memory
from embedtune_sentence_transformers.loss import given_loss
from embedtune_sentence_transformers.precision import chosen_precision
from embedtune_sentence_transformers.progress import Progress
from embedtune_sentence_transformers.reranking.options import SettledReranker
from embedtune_sentence_transformers.reranking.pairs import LabelledPairs
from embedtune_sentence_transformers.reranking.scoring import RerankScorer
from embedtune_sentence_transformers.schedule import Schedule
from embedtune_sentence_transformers.scoring import Candidates
from embedtune_sentence_transformers.training import (
    PlainCheckpoints,
    Trained,
    quieten,
    shared_arguments,
    trained_once,
)

__all__ = ["RerankerRun"]


class _Trainer(PlainCheckpoints, CrossEncoderTrainer):
    """The library's, with our checkpoints."""


@dataclass
class RerankerRun:
    """A training run in a folder of its own, which it can be resumed from.

    Args:
        model: A fresh copy of the base; it is trained in place.
        pairs: What it is trained on.
        scorer: Validates, or None where only the last step counts.
        folder: For checkpoints and candidates.
        options: The tuner's.
        epochs: Passes over the pairs that the learning rate is planned for.
        seed: Seeds order and dropout.
        plugins: Who hears of training events.
        stop_at: The validation point to end at; the last if None.
        title: For the progress bar.
    """

    model: CrossEncoder
    pairs: LabelledPairs
    scorer: RerankScorer | None
    folder: Path
    options: SettledReranker
    epochs: int
    seed: int
    plugins: PluginManager
    stop_at: int | None = None
    title: str = "tuning"

    @property
    def schedule(self) -> Schedule:
        """Batches and validation points."""
        n_validations = self.epochs * self.options.validations_per_epoch
        one = Schedule(len(self.pairs), self.epochs, self.options.batch_size, n_validations)
        return Schedule(one.n_rows, one.epochs, one.batch_size, min(n_validations, one.total_steps))

    @cached_property
    def precision(self) -> str:
        """``"fp32"`` or ``"bf16"``."""
        return chosen_precision(self.options.precision, self.model.device.type)

    def train(self, candidates: Candidates) -> Trained:
        """Train to the end, from the last checkpoint if there is one; fills ``candidates``.

        Raises:
            TuningError: If the loss is not a number, or memory runs out.
        """
        length = self.model.tokenizer.model_max_length
        with telling_of_memory(self.options, length, of="pairs", smaller="or a smaller max_length"):
            return trained_once(self.folder, self.model, self.precision, lambda: self._trainer(candidates))

    def validate(self) -> Mapping[str, tuple[float, ...]] | None:
        """The model as it is now on the validation questions; None where only the last step counts."""
        return self.scorer.score(self.model) if self.scorer is not None else None

    def renew_negatives(self, epoch: int) -> None:
        """None: they are drawn once, from what the embedder finds, which does not change."""

    def _trainer(self, candidates: Candidates) -> CrossEncoderTrainer:
        last = self.stop_at or self.schedule.n_validations
        trainer = _Trainer(
            model=self.model,
            args=self._arguments(),
            train_dataset=Dataset.from_dict(self.pairs.rows()),
            loss=self._loss(),
            callbacks=[Progress(self, candidates, self.schedule.step_of(last))],
        )
        quieten(trainer)
        return trainer

    def _loss(self) -> nn.Module:
        """Of each pair by itself; answers weigh as much in all as the wrong chunks do."""
        if self.options.loss is not None:
            return given_loss(self.model, self.options.loss, CrossEncoder)
        n_answers = self.pairs.n_answers
        weight = torch.tensor((len(self.pairs) - n_answers) / n_answers, device=self.model.device)
        return BinaryCrossEntropyLoss(self.model, pos_weight=weight)

    def _arguments(self) -> CrossEncoderTrainingArguments:
        schedule = self.schedule
        shared: dict[str, Any] = shared_arguments(self.folder, self.model.device.type, self.precision, self.seed)
        return CrossEncoderTrainingArguments(
            **shared,
            num_train_epochs=self.epochs,
            per_device_train_batch_size=schedule.even_batch_size,
            learning_rate=self.options.learning_rate,
            lr_scheduler_type="linear",
            warmup_steps=round(self.options.warmup_ratio * schedule.total_steps),
            weight_decay=self.options.weight_decay,
        )
