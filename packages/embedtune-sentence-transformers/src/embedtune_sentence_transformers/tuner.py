"""`SentenceTransformersTuner`: from pairs to a model folder."""

import copy
import logging
import platform
import time
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

from sentence_transformers import SentenceTransformer

from embedtune import BaseEmbeddingTuner, TuneResult, TuningError
from embedtune.folders import swap_in
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.records import ModelRecord, SeenTexts, read_record
from embedtune.tuner import ValidationPoint, dataset_digest
from embedtune.validation import ValidationPlan
from embedtune_sentence_transformers.card import write_card
from embedtune_sentence_transformers.loading import load_model, loaded_from, local_folder, model_fingerprint
from embedtune_sentence_transformers.options import Options as TuningOptions
from embedtune_sentence_transformers.options import chosen_precision
from embedtune_sentence_transformers.pairs import TrainingPairs, pairs_of
from embedtune_sentence_transformers.session import Session, pooled

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
    Options: ClassVar[type] = TuningOptions
    options: TuningOptions

    def finetune(self) -> None:
        """Train, choose, write the folder, and set ``self.result``.

        Raises:
            TuningError: If the data leave nothing to validate on, or training breaks down.
        """
        started = time.monotonic()
        plan = self.plan(self.options.folds)
        base = self._load_base()
        fingerprint = model_fingerprint(base, self._base_folder(), max_seq_length=self.options.max_seq_length)
        precision = chosen_precision(self.options.precision, base.device.type)
        pairs = pairs_of(plan.trainset, self.options.all_answers)
        truncated_share = _truncated_share(base, pairs)
        with self.writing(self._job(fingerprint, precision)) as partial:
            plugins = self.plugins or plugin_manager()
            session = Session(base, plan, partial, self.options, self.epochs, self.seed, plugins)
            runs = session.candidates()
            history, chosen = pooled(runs, self.options.metric)
            model = session.chosen_model(runs, chosen)
            # A tokenizer is saved with how it was last used: let that be the same in every run, resumed or not.
            model.encode_document(["."], show_progress_bar=False)
            model.save(str(partial / "new"), create_model_card=False, safe_serialization=True)
            result = TuneResult(
                path=self.path,
                record=self._record(partial / "new", fingerprint, plan, history, chosen, precision),
                history=history,
                n_pairs=len(pairs),
                truncated_share=truncated_share,
                seconds=time.monotonic() - started,
            )
            write_card(partial / "new", model, result)
            result.record.write(partial / "new")
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

    def _seen_by_base(self) -> SeenTexts:
        """What the base was trained on or chosen by: a model tuned twice has seen both sets."""
        folder = loaded_from(self.model) if isinstance(self.model, SentenceTransformer) else self._base_folder()
        record = read_record(folder) if folder is not None else None
        return record.seen if record is not None else SeenTexts()

    def _base_name(self) -> str:
        if isinstance(self.model, SentenceTransformer):
            return str(self.model.model_card_data.base_model or "a SentenceTransformer in memory")
        return self._base_ref()

    def _job(self, fingerprint: str, precision: str) -> dict[str, object]:
        quiet = {"progress", "checkpoint_minutes", "checkpoint_steps", "device"}
        return {
            "tuner": self.name,
            "base": fingerprint,
            "trainset": dataset_digest(self.trainset),
            "valset": dataset_digest(self.valset),
            "epochs": self.epochs,
            "seed": self.seed,
            **{name: value for name, value in self.options.described().items() if name not in quiet},
            "precision": precision,
        }

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
        configuration = self.options.described() | {
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
            seen=SeenTexts.of(given) | self._seen_by_base(),
        )


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
        logger.warning(
            "%.0f%% of the training chunks are longer than the %d tokens that the model reads", 100 * share, limit
        )
    return share
