"""`EmbeddingAdapterFinetuneEngine`: the adapter engine of ``llama-index-finetuning`` on embedtune's query adapter."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from embedtune import ModelNotFoundError, TuneResult, TuningError, tune
from embedtune.framework_embedder import LazyEmbedder
from llama_index.embeddings.embedtune.engine import BaseEmbeddingFinetuneEngine, check_whole
from llama_index.embeddings.embedtune.qa_dataset import as_qa_dataset

if TYPE_CHECKING:
    from llama_index.core.base.embeddings.base import BaseEmbedding

    from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding

__all__ = ["EmbeddingAdapterFinetuneEngine"]

logger = logging.getLogger(__name__)

_TUNER = "adapter"
_UPSTREAM = {"batch_size": 10, "epochs": 1, "device": None, "checkpoint_save_steps": 100}
"""Arguments that set no more than the way to the result, with the defaults of 0.4.2."""


class EmbeddingAdapterFinetuneEngine(BaseEmbeddingFinetuneEngine):
    """Tunes a linear map of the queries' vectors over any embedding model, hosted ones among them.

    The chunks' vectors stay, and so does an index that is there. Parameters and defaults are those of
    ``llama-index-finetuning`` 0.4.2; all is done by ``embedtune.tune(..., tuner="adapter")``, which embeds each text
    once and lets a validation choose rank, strength and passes, the identity among the candidates.

    Args:
        dataset: Trains: a `QADataset`, an `EmbeddingQAFinetuneDataset`, or anything of that shape.
        embed_model: A ``BaseEmbedding``, or whatever `EmbedtuneEmbedding` takes as a model; it stays as it is.
        batch_size: At least 1. Of no effect, as ``epochs``: the validation chooses how long the map is trained.
        epochs: At least 1.
        adapter_model: None: a module of torch cannot be trained here.
        dim: The model's number of dimensions, which is checked; told by the model if None.
        device: Of no effect: the map is learned in numpy, in seconds. The model stays where it is.
        model_output_path: The adapter's folder to write: new, empty, or one of ours, which is replaced in one rename.
        model_checkpoint_path: None: there are no checkpoints.
        checkpoint_save_steps: At least 1; of no effect.
        verbose: Whether bars are shown.
        bias: False: one vector added to all queries favours the same chunks whatever is asked.
        val_dataset: Chooses the map, and must share nothing with ``dataset``. If None, ``dataset`` gives a part, or all
            its queries in turn. Upstream has none.
        train_kwargs: Of `finetune`.

    Raises:
        DatasetError: If a data set has not the shape, or an id dangles; the message names it.
        EvaluationError: If nothing knows the model.
        TuningError: If an argument would change the result and cannot be honoured; with ``dim``, if the model has
            another number of dimensions.
    """

    def __init__(
        self,
        dataset: object,
        embed_model: "BaseEmbedding | object",
        batch_size: int = 10,
        epochs: int = 1,
        adapter_model: object | None = None,
        dim: int | None = None,
        device: object | None = None,
        model_output_path: str = "model_output",
        model_checkpoint_path: str | None = None,
        checkpoint_save_steps: int = 100,
        verbose: bool = False,
        bias: bool = False,
        *,
        val_dataset: object | None = None,
        **train_kwargs: Any,
    ) -> None:
        given = {"batch_size": batch_size, "epochs": epochs, "checkpoint_save_steps": checkpoint_save_steps}
        for name, value in given.items():
            check_whole(name, value, 1)
        _refuse({"adapter_model": adapter_model, "bias": bias, "model_checkpoint_path": model_checkpoint_path})
        _tell_unused({**given, "device": device})
        self.dataset = dataset
        self.embed_model = embed_model
        self.model_output_path = model_output_path
        self.result: TuneResult | None = None
        """What `finetune` gave: the validation, and the record of the adapter's folder."""
        self._trainset = as_qa_dataset(dataset)
        self._valset = None if val_dataset is None else as_qa_dataset(val_dataset, "val_dataset")
        self._path = Path(model_output_path).expanduser().absolute()
        self._adapter = self._path
        self._train_kwargs = {"progress": bool(verbose), **train_kwargs}
        self._embedder = _embedder_of(embed_model)
        if dim is not None:
            self._check_dim(dim)

    @classmethod
    def from_model_path(
        cls,
        dataset: object,
        embed_model: "BaseEmbedding | object",
        model_path: str,
        model_cls: type[Any] | None = None,
        **kwargs: Any,
    ) -> Self:
        """An engine whose `get_finetuned_model` gives an adapter that is there, until `finetune` makes another.

        Training never goes on from it: a map that is learned anew from the identity is chosen by the same rule, and
        takes seconds.

        Args:
            dataset: As for the class.
            embed_model: The model that the adapter was trained on.
            model_path: The adapter's folder.
            model_cls: None: a module of torch cannot be trained here.
            kwargs: Of the class.

        Raises:
            ModelNotFoundError: If there is no such folder.
            ModelFolderError: If there is no adapter of ours in it.
            EmbeddingError: If the adapter is known to be another model's.
        """
        _refuse({"model_cls": model_cls})
        engine = cls(dataset, embed_model, **kwargs)
        adapted = LazyEmbedder(engine._embedder, adapter=model_path)
        assert adapted.adapter is not None
        engine._adapter = adapted.adapter
        return engine

    def finetune(self, **train_kwargs: Any) -> None:
        """Tune, and write the adapter's folder; ``result`` tells what came of it.

        Args:
            train_kwargs: Options of the tuner, such as ``metric``, ``cache`` and ``seed``, before those of the engine.

        Raises:
            TuningError: If one is unknown or out of range, or as `embedtune.tune`.
            ModelFolderError: If ``model_output_path`` holds something that is not ours.
        """
        if fixed := [name for name in ("model", "trainset", "valset", "path", "tuner") if name in train_kwargs]:
            raise TuningError(f"{', '.join(map(repr, fixed))} is set in the constructor of the engine, or by it.")
        if self._adapter != self._path:
            logger.warning("trained anew from the identity, not on from %s", self._adapter)
        options = {**self._train_kwargs, **train_kwargs}
        model = self.embed_model if self._embedder.ref is None else self._embedder  # the folder tells which it was
        self.result = tune(model, self._trainset, self._valset, self._path, tuner=_TUNER, **options)
        self._adapter = self._path

    def get_finetuned_model(self, **model_kwargs: Any) -> "EmbedtuneEmbedding":
        """``embed_model`` with its queries mapped, by this run's adapter or an earlier one's in the same folder.

        Args:
            model_kwargs: Settings of `EmbedtuneEmbedding`, such as ``embed_batch_size``, which else is the model's.

        Raises:
            ModelNotFoundError: If there is no adapter yet.
            EmbeddingError: If an argument is unknown, or the adapter is known to be another model's.
        """
        from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding  # imports LlamaIndex

        if not self._adapter.is_dir():
            raise ModelNotFoundError(f"There is no adapter at {str(self._adapter)!r} yet: call finetune() first.")
        if isinstance(at_once := getattr(self.embed_model, "embed_batch_size", None), int):
            model_kwargs = {"embed_batch_size": at_once, **model_kwargs}
        return EmbedtuneEmbedding(self._embedder, adapter=self._adapter, **model_kwargs)

    def _check_dim(self, dim: object) -> None:
        found = self._embedder.embed_queries(["hello world"]).shape[1]
        if dim != found:
            raise TuningError(f"dim={dim!r} is not that of embed_model, which gives {found} numbers: leave dim out.")


def _embedder_of(embed_model: object) -> LazyEmbedder:
    """Held by reference where there is one, so that the adapter's folder names it."""
    held = getattr(embed_model, "_lazy", None)  # of an EmbedtuneEmbedding, whose module imports LlamaIndex
    embedder = held if isinstance(held, LazyEmbedder) else LazyEmbedder(embed_model)
    if embedder.adapter is not None:
        raise TuningError(
            f"embed_model has an adapter already, {str(embedder.adapter)!r}. One over it would be learned on queries "
            "that it has mapped: give the model without it."
        )
    return embedder


def _refuse(given: dict[str, object]) -> None:
    """What would change the result, and is not honoured."""
    reasons = {
        "adapter_model": "The adapter is one linear map, learned in numpy: leave it out. What embedtune tuned before "
        "is loaded by from_model_path.",
        "model_cls": "The folder holds embedtune's own map, which needs no class: leave it out.",
        "bias": "The map has none: one vector added to all queries favours the same chunks whatever is asked. Leave it "
        "out.",
        "model_checkpoint_path": "There are no checkpoints: once all is embedded, training takes seconds. To keep the "
        "vectors for another run give cache=folder.",
    }
    for name, value in given.items():
        if value not in (None, False):
            raise TuningError(f"{name}={value!r:.80} cannot be honoured. {reasons[name]}")


def _tell_unused(given: dict[str, object]) -> None:
    if unused := [f"{name}={value!r}" for name, value in given.items() if value != _UPSTREAM[name]]:
        logger.warning(
            "%s has no effect: how long the map is trained is chosen by validation, on the processor", ", ".join(unused)
        )
