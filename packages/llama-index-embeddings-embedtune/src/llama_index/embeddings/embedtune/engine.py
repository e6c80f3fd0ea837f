"""`SentenceTransformersFinetuneEngine`: the fine-tuning engine of ``llama-index-finetuning`` on embedtune's tuner."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune import ModelNotFoundError, TuneResult, TuningError, plugin_manager, tune
from embedtune.plugins.references import parse_reference
from llama_index.embeddings.embedtune.qa_dataset import as_qa_dataset

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding

__all__ = ["BaseEmbeddingFinetuneEngine", "SentenceTransformersFinetuneEngine", "check_whole", "refuse_fixed"]


_TUNER = "sentence-transformers"


class BaseEmbeddingFinetuneEngine(ABC):
    """What an engine does that tunes an embedding model."""

    @abstractmethod
    def finetune(self) -> None:
        """Tune; it returns when the tuned model is there."""

    @abstractmethod
    def get_finetuned_model(self, **model_kwargs: Any) -> "BaseEmbedding":
        """The tuned model for LlamaIndex."""


class SentenceTransformersFinetuneEngine(BaseEmbeddingFinetuneEngine):
    """Tunes a sentence-transformers model; parameters and defaults are those of ``llama-index-finetuning`` 0.4.2.

    All is done by `embedtune.tune`, whose own defaults suit better: 64 pairs in a batch, one epoch, all answers.

    Args:
        dataset: Trains: a `QADataset`, an `EmbeddingQAFinetuneDataset`, or anything of that shape.
        model_id: Hub name or folder of the base model, which stays as it is.
        model_output_path: The model folder to write: new, empty, or one of ours, which is replaced in one rename.
        batch_size: Pairs in an optimiser step, at least 2; each is contrasted with the others' chunks.
        val_dataset: Chooses the checkpoint, and must share nothing with ``dataset``. If None, ``dataset`` gives a
            part, or all its queries in turn.
        loss: None for embedtune's, which never takes a right answer as a negative. A callable that makes a loss of
            the model in training, or an instance, in which that model takes the place of its own.
        epochs: Passes over the pairs, at least 1.
        show_progress_bar: Whether bars are shown.
        evaluation_steps: Optimiser steps between validations, which are spread evenly over an epoch, the last one at
            its end; 0 for that one alone.
        use_all_docs: Whether each relevant chunk of a query makes a pair, or the first alone.
        trust_remote_code: Whether Python code from the model's folder may run.
        device: Such as ``"cpu"`` or a ``torch.device``; the fastest there is if None.
        save_checkpoints: Whether training can be resumed from every ``checkpoint_save_steps``-th step. From the last
            validation, and from five minutes ago, it always can. Checkpoints lie beside the model folder, in
            ``.NAME.partial``, until it is written.
        resume_from_checkpoint: Go on from where an interrupted run of the same job stopped.
        checkpoint_save_steps: At least 1.
        checkpoint_save_total_limit: Checkpoints kept at most; 0 sets no limit. Only the newest is ever kept.

    Raises:
        DatasetError: If a data set has not the shape, or an id dangles; the message names it.
        ModelNotFoundError: If ``model_id`` can only be a folder, and is not there.
        TuningError: If an option is out of range.
    """

    def __init__(
        self,
        dataset: object,
        model_id: str = "BAAI/bge-small-en",
        model_output_path: str = "exp_finetune",
        batch_size: int = 10,
        val_dataset: object | None = None,
        loss: Any | None = None,
        epochs: int = 2,
        show_progress_bar: bool = True,
        evaluation_steps: int = 50,
        use_all_docs: bool = False,
        trust_remote_code: bool = False,
        device: Any | None = None,
        save_checkpoints: bool = False,
        resume_from_checkpoint: bool = False,
        checkpoint_save_steps: int = 500,
        checkpoint_save_total_limit: int = 0,
    ) -> None:
        check_whole("evaluation_steps", evaluation_steps, 0)
        check_whole("batch_size", batch_size, 2)
        check_whole("checkpoint_save_steps", checkpoint_save_steps, 1)
        check_whole("checkpoint_save_total_limit", checkpoint_save_total_limit, 0)
        self._base = parse_reference(str(model_id), [_TUNER]).ref  # of a folder its absolute path
        self.dataset = dataset
        self.model_id = model_id
        self.model_output_path = model_output_path
        self.loss = loss
        self.epochs = epochs
        self.result: TuneResult | None = None
        """What `finetune` gave: the metrics along the way, and the record of the model folder."""
        self._trainset = as_qa_dataset(dataset)
        self._valset = None if val_dataset is None else as_qa_dataset(val_dataset, "val_dataset")
        self._path = Path(model_output_path).expanduser().absolute()
        self._evaluation_steps = evaluation_steps
        self._loading = {"device": None if device is None else str(device), "trust_remote_code": trust_remote_code}
        self._model: Any = None
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "progress": show_progress_bar,
            "all_answers": use_all_docs,
            "resume": resume_from_checkpoint,
            "checkpoint_steps": checkpoint_save_steps if save_checkpoints else None,
            **self._loading,
        }

    @property
    def model(self) -> Any:
        """The ``SentenceTransformer``, loaded afresh: the base before `finetune`, the tuned one afterwards."""
        if self._model is None:
            ref = self._base if self.result is None else str(self.result.path)
            self._model = getattr(plugin_manager().embedder(f"{_TUNER}:{ref}", **self._loading), "model")  # noqa: B009
        return self._model

    def finetune(self, **train_kwargs: Any) -> None:
        """Tune, and write the model folder; ``result`` tells what came of it.

        Args:
            train_kwargs: Options of the tuner, such as ``learning_rate`` and ``seed``, before those of the engine.

        Raises:
            TuningError: If one is unknown or out of range, or as `embedtune.tune`.
            ModelFolderError: If ``model_output_path`` holds something that is not ours.
        """
        refuse_fixed(train_kwargs)
        options = {"epochs": self.epochs, "loss": self.loss, **self._options, **train_kwargs}
        options.setdefault("validations_per_epoch", self._validations_per_epoch(options))
        self.result = tune(self._base, self._trainset, self._valset, self._path, tuner=_TUNER, **options)
        self._model = None

    def get_finetuned_model(self, **model_kwargs: Any) -> "EmbedtuneEmbedding":
        """The tuned model for LlamaIndex, of this run or of an earlier one into the same folder.

        Args:
            model_kwargs: Of `EmbedtuneEmbedding`, such as ``embed_batch_size``, before the engine's device.

        Raises:
            ModelNotFoundError: If there is none yet.
            EmbeddingError: If an argument is unknown.
        """
        from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding  # imports LlamaIndex

        if not self._path.is_dir():
            raise ModelNotFoundError(f"There is no tuned model at {str(self._path)!r} yet: call finetune() first.")
        return EmbedtuneEmbedding(self._path, **{**self._loading, **model_kwargs})

    def _validations_per_epoch(self, options: dict[str, Any]) -> int:
        if not self._evaluation_steps:
            return 1
        relevant = self._trainset.relevant_docs.values()
        n_pairs = sum(map(len, relevant)) if options["all_answers"] else len(self._trainset)
        steps = math.ceil(n_pairs / max(int(options["batch_size"]), 1))
        return max(1, min(steps, round(steps / self._evaluation_steps)))


def refuse_fixed(train_kwargs: Mapping[str, object]) -> None:
    """Refuse arguments of ``finetune`` that an engine sets itself.

    Raises:
        TuningError: If there is one.
    """
    if fixed := [name for name in ("model", "trainset", "valset", "path", "tuner") if name in train_kwargs]:
        raise TuningError(f"{', '.join(map(repr, fixed))} is set in the constructor of the engine, or by it.")


def check_whole(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number of at least ``least``.

    Raises:
        TuningError: If it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise TuningError(f"{name} must be a whole number of at least {least}; got {value!r}.")
