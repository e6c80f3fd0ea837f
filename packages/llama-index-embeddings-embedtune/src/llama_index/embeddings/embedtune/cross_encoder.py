"""`CrossEncoderFinetuneEngine`: the engine for rerankers of ``llama-index-finetuning`` on embedtune's tuner."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedtune import DatasetError, ModelFolderError, ModelNotFoundError, TuneResult, TuningError, plugin_manager, tune
from embedtune.plugins.references import parse_reference
from llama_index.embeddings.embedtune.engine import check_whole, refuse_fixed
from llama_index.embeddings.embedtune.labelled_samples import LabelledSamples, labelled_samples
from llama_index.embeddings.embedtune.qa_dataset import as_qa_dataset

if TYPE_CHECKING:
    from llama_index.embeddings.embedtune.rerank import EmbedtuneRerank

__all__ = ["CrossEncoderFinetuneEngine"]

_BACKEND = "sentence-transformers"
_FOUND, _RANDOM = 3, 2
"""Wrong chunks of a question, as the tuner draws them unasked."""


class CrossEncoderFinetuneEngine:
    """Tunes a cross-encoder that reranks; parameters and defaults are those of ``llama-index-finetuning`` 0.4.2.

    All is done by ``embedtune.tune(..., tuner="reranker")``, whose own defaults suit better: 64 pairs in a batch, one
    pass.

    Args:
        dataset: Trains: samples with ``query``, ``context`` and ``score`` 1 or 0, or a data set of questions with their
            answers, whose wrong chunks ``embed_model`` finds.
        model_id: Hub name or folder of a cross-encoder, or of a model that gets a new score layer, which needs
            ``embed_model``; it stays as it is.
        model_output_path: The model folder to write: new, empty, or one of ours, which is replaced in one rename.
        batch_size: Pairs in an optimiser step, at least 2.
        val_dataset: As ``dataset``; chooses the checkpoint, and must share nothing with ``dataset``. If None, a tenth
            of the questions does.
        loss: None for the binary cross-entropy, in which answers weigh as much in all as wrong chunks. A callable that
            makes a loss of the cross-encoder in training, or an instance, in which that model takes the place of its
            own.
        epochs: Passes over the pairs, at least 1.
        show_progress_bar: Whether bars are shown.
        evaluation_steps: Optimiser steps between validations, which are spread evenly over an epoch, the last one at
            its end; 0 for that one alone.
        embed_model: The embedding model in use, of LlamaIndex or as embedtune takes one: finds wrong chunks, besides
            those that samples name, and what validation reranks. Samples do without.
        seed: Same seed, same weights on the same machine.
        device: Such as ``"cpu"``; the fastest there is if None.
        trust_remote_code: Whether Python code from the model's folder may run.
        resume_from_checkpoint: Go on from where an interrupted run of the same job stopped.

    Raises:
        DatasetError: If a data set has not the shape; the message names the sample, or the id.
        ModelNotFoundError: If ``model_id`` can only be a folder, and is not there.
        TuningError: If an option is out of range, or there is nothing that gives wrong chunks.
    """

    def __init__(
        self,
        dataset: object,
        model_id: str = "cross-encoder/ms-marco-MiniLM-L-12-v2",
        model_output_path: str = "exp_finetune",
        batch_size: int = 10,
        val_dataset: object | None = None,
        loss: Any | None = None,
        epochs: int = 2,
        show_progress_bar: bool = True,
        evaluation_steps: int = 50,
        *,
        embed_model: object | None = None,
        seed: int = 0,
        device: Any | None = None,
        trust_remote_code: bool = False,
        resume_from_checkpoint: bool = False,
    ) -> None:
        check_whole("evaluation_steps", evaluation_steps, 0)
        check_whole("batch_size", batch_size, 2)
        self._base = parse_reference(str(model_id), [_BACKEND]).ref  # of a folder its absolute path
        self.dataset = dataset
        self.model_id = model_id
        self.model_output_path = model_output_path
        self.loss = loss
        self.epochs = epochs
        self.show_progress_bar = show_progress_bar
        self.evaluation_steps = evaluation_steps
        self.result: TuneResult | None = None
        """What `finetune` gave: the metrics along the way, and the record of the model folder."""
        self._train = _samples_of(dataset, "dataset")
        self._val = None if val_dataset is None else _samples_of(val_dataset, "val_dataset")
        self._path = Path(model_output_path).expanduser().absolute()
        self._loading = {"device": None if device is None else str(device), "trust_remote_code": trust_remote_code}
        self._model: Any = None
        self._options: dict[str, Any] = {
            "batch_size": batch_size,
            "progress": show_progress_bar,
            "seed": seed,
            "resume": resume_from_checkpoint,
            "embedder": embed_model,
            "known_negatives": self._known_negatives(embed_model),
            **self._loading,
        }

    @property
    def model(self) -> Any:
        """The ``CrossEncoder``, loaded afresh: the base before `finetune`, the tuned one afterwards."""
        if self._model is None:
            ref = self._base if self.result is None else str(self.result.path)
            self._model = getattr(plugin_manager().reranker(f"{_BACKEND}:{ref}", **self._loading), "model")  # noqa: B009
        return self._model

    def finetune(self, **train_kwargs: Any) -> None:
        """Tune, and write the model folder; ``result`` tells what came of it.

        Args:
            train_kwargs: Options of the tuner, such as ``learning_rate`` and ``depth``, before those of the engine.

        Raises:
            TuningError: If one is unknown or out of range, or as `embedtune.tune`.
            ModelFolderError: If ``model_output_path`` holds something that is not ours.
        """
        refuse_fixed(train_kwargs)
        options = {"epochs": self.epochs, "loss": self.loss, **self._options, **train_kwargs}
        options.setdefault("validations_per_epoch", self._validations_per_epoch(options))
        valset = None if self._val is None else self._val.dataset
        self.result = tune(self._base, self._train.dataset, valset, self._path, tuner="reranker", **options)
        self._model = None

    def push_to_hub(self, repo_id: str | None = None) -> None:
        """Upload the tuned model with its tokenizer; the record, with hashes of your questions, stays here.

        Args:
            repo_id: Such as ``"me/my-reranker"``; log in before, by ``huggingface_hub.login()``.

        Raises:
            ModelFolderError: If no ``repo_id`` is given; a ``ValueError``.
            ModelNotFoundError: If there is no tuned model yet.
        """
        if not repo_id:
            raise ModelFolderError("push_to_hub needs repo_id=...: the name on the hub, such as 'me/my-reranker'.")
        tuned = getattr(plugin_manager().reranker(f"{_BACKEND}:{self._tuned()}", **self._loading), "model")  # noqa: B009
        tuned.push_to_hub(repo_id)

    def get_finetuned_model(self, model_name: str | None = None, top_n: int = 3) -> "EmbedtuneRerank":
        """The tuned model as a postprocessor for LlamaIndex.

        Args:
            model_name: Folder or hub name; what `finetune` wrote, in this run or an earlier one, if None.
            top_n: Nodes that it keeps.

        Raises:
            ModelNotFoundError: If there is none.
            EvaluationError: If ``top_n`` is below 1.
        """
        from llama_index.embeddings.embedtune.rerank import EmbedtuneRerank  # imports LlamaIndex

        model = str(self._tuned()) if model_name is None else model_name
        return EmbedtuneRerank(model, top_n=top_n, options={k: v for k, v in self._loading.items() if v})

    def _tuned(self) -> Path:
        if not self._path.is_dir():
            raise ModelNotFoundError(f"There is no tuned model at {str(self._path)!r} yet: call finetune() first.")
        return self._path

    def _known_negatives(self, embed_model: object | None) -> dict[str, list[str]] | None:
        wrong = self._train.wrong | (self._val.wrong if self._val is not None else {})
        if embed_model is None and not self._train.wrong:
            raise TuningError(
                "The data set says what answers, not what does not: give embed_model=..., the embedding model in use, "
                "which finds wrong chunks to tell answers from, or samples of score 0."
            )
        return wrong or None

    def _validations_per_epoch(self, options: dict[str, Any]) -> int:
        if not self.evaluation_steps:
            return 1
        found = options.get("negatives", _FOUND) + options.get("random_negatives", _RANDOM)
        n_found = 0 if options["embedder"] is None else found * len(self._train.dataset)
        steps = math.ceil((self._train.n_pairs + n_found) / max(int(options["batch_size"]), 1))
        return max(1, min(steps, round(steps / self.evaluation_steps)))


def _samples_of(dataset: object, name: str) -> LabelledSamples:
    """Samples, or a data set, of which no wrong context is known."""
    if isinstance(dataset, Iterable) and not hasattr(dataset, "queries") and not isinstance(dataset, str | dict):
        return labelled_samples(dataset, name)
    try:
        made = as_qa_dataset(dataset, name)
    except DatasetError as error:
        raise DatasetError(f"{error} Or give samples with query, context and score.") from error
    return LabelledSamples(made, {}, sum(map(len, made.relevant_docs.values())))
