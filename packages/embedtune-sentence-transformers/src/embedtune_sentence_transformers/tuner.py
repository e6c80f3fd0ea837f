"""`SentenceTransformersTuner`: from pairs to a model folder."""

import copy
import logging
import tempfile
import time
from pathlib import Path
from typing import ClassVar

from sentence_transformers import SentenceTransformer

from embedtune import BaseEmbeddingTuner, TuneResult, TuningError, TuningEstimate
from embedtune.folders import swap_in
from embedtune.general_text import neighbours_kept
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.records import ModelRecord, SeenTexts, read_record
from embedtune.tuner import dataset_digest
from embedtune_sentence_transformers.card import write_card
from embedtune_sentence_transformers.choosing import Choice
from embedtune_sentence_transformers.defaults import settled
from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder
from embedtune_sentence_transformers.estimating import Estimator
from embedtune_sentence_transformers.failures import telling_of_disk
from embedtune_sentence_transformers.loading import (
    check_max_seq_length,
    check_pooling,
    library_versions,
    load_model,
    loaded_from,
    local_folder,
    model_fingerprint,
)
from embedtune_sentence_transformers.memory import MemoryMeter, kept_memory
from embedtune_sentence_transformers.options import Options as TuningOptions
from embedtune_sentence_transformers.options import Settled
from embedtune_sentence_transformers.pairs import pairs_of
from embedtune_sentence_transformers.precision import chosen_precision
from embedtune_sentence_transformers.reading import chosen_reading
from embedtune_sentence_transformers.session import Session

__all__ = ["SentenceTransformersTuner"]

logger = logging.getLogger(__name__)


class SentenceTransformersTuner(BaseEmbeddingTuner):
    """Contrastive tuning of all weights on the sentence-transformers trainer.

    The base is loaded afresh, so a model that is in use elsewhere in the process stays as it is. Queries and chunks
    get the model's own prompts, in training as later in use. Weights are float32. Of the checkpoints and of weights
    between the base's and the last step's, those with the best retrieval metric on the validation queries are kept;
    where their gain is within what chance gives (`choosing.choose`), the base's are.

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
        fingerprint = model_fingerprint(base, self._base_folder())
        precision = chosen_precision(self.options.precision, base.device.type)
        pairs = pairs_of(plan.trainset, self.options.all_answers)
        options, epochs = settled(self.options, self.epochs, pairs, base)
        reading = chosen_reading(base, pairs, options.max_seq_length)
        job = self._job(fingerprint, options, epochs, precision)
        with kept_memory(), telling_of_disk(self.path), self.writing(job) as partial:
            plugins = self.plugins or plugin_manager()
            session = Session(base, plan, partial, options, reading, epochs, self.seed, plugins)
            choice = session.choice()
            model = session.model(choice)
            kept = neighbours_kept(SentenceTransformerEmbedder(base), SentenceTransformerEmbedder(model))
            logger.info("of the base's ten nearest neighbours of general sentences %.0f%% are left", 100 * kept)
            # A tokenizer is saved with how it was last used: let that be the same in every run, resumed or not.
            model.encode_document(["."], show_progress_bar=False)
            model.save(str(partial / "new"), create_model_card=False, safe_serialization=True)
            result = TuneResult(
                path=self.path,
                record=self._record(partial / "new", fingerprint, session, choice, precision, kept),
                history=choice.history,
                n_pairs=len(pairs),
                truncated_share=reading.cut_by_base if choice.kept_base_reason else reading.cut,
                seconds=time.monotonic() - started,
                losses=session.losses,
            )
            write_card(partial / "new", model, result, pairs, reading)
            result.record.write(partial / "new")
            swap_in(self.path)
        self.result = result

    def estimate(self) -> TuningEstimate:
        """What `finetune` would do and cost, timed on a copy of the model that is thrown away.

        The longest batch that the data can give goes through the real trainer, then up to three that are timed, and
        a sample of the validation texts is embedded. Nothing is written but a temporary folder, which goes again.

        Raises:
            TuningError: If the data leave nothing to validate on, or memory runs out.
        """
        memory, started = MemoryMeter(), time.monotonic()
        plan = self.plan(self.options.folds)
        base = self._load_base()
        pairs = pairs_of(plan.trainset, self.options.all_answers)
        options, epochs = settled(self.options, self.epochs, pairs, base)
        reading = chosen_reading(base, pairs, options.max_seq_length)
        with tempfile.TemporaryDirectory(prefix="embedtune-") as folder:
            plugins = self.plugins or plugin_manager()
            session = Session(base, plan, Path(folder), options, reading, epochs, self.seed, plugins)
            return Estimator(session, memory, started).estimate()

    def _load_base(self) -> SentenceTransformer:
        if isinstance(self.model, SentenceTransformer):
            model = copy.deepcopy(self.model).float()
        else:
            model = load_model(
                self._base_ref(), device=self.options.device, trust_remote_code=self.options.trust_remote_code
            )
        if self.options.max_seq_length is not None:
            check_max_seq_length(model, self._base_name(), self.options.max_seq_length)
        check_pooling(model, self._base_name())
        return model

    def _base_ref(self) -> str:
        if not isinstance(self.model, str | Path):
            raise TuningError(
                f"The tuner {self.name!r} trains a sentence-transformers model: give its folder, its hub name, or the "
                f"loaded SentenceTransformer; got a {type(self.model).__name__}."
            )
        others = {row.name for row in (self.plugins or plugin_manager()).embedders()} - {self.name, "adapter"}
        backend = parse_reference(str(self.model), [self.name, *others]).backend
        if backend in others:
            raise TuningError(
                f"{str(self.model)!r} is a model of {backend!r}, whose weights cannot be trained. Tune an adapter for "
                "its queries: tuner='adapter', on the command line --method adapter."
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

    def _job(self, fingerprint: str, options: Settled, epochs: int, precision: str) -> dict[str, object]:
        quiet = {"progress", "checkpoint_minutes", "checkpoint_steps", "device"}
        return {
            "tuner": self.name,
            "base": fingerprint,
            "trainset": dataset_digest(self.trainset),
            "valset": dataset_digest(self.valset),
            "epochs": epochs,
            "seed": self.seed,
            **{name: value for name, value in options.described().items() if name not in quiet},
            "precision": precision,
        }

    def _record(
        self,
        folder: Path,
        base_fingerprint: str,
        session: Session,
        choice: Choice,
        precision: str,
        neighbours_kept: float,
    ) -> ModelRecord:
        plan, reading = session.plan, session.reading
        given = [self.trainset] if self.valset is None else [self.trainset, self.valset]
        configuration = session.options.described() | {
            "epochs": session.epochs,
            "seed": self.seed,
            "precision": precision,
            "max_seq_length": reading.base if choice.kept_base_reason else reading.chosen,
            "validation_queries": sum(len(valset) for _, valset in plan.folds),
            "cross_validation_folds": len(plan.folds) if plan.is_cross_validation else 0,
        }
        return ModelRecord(
            base_model=self._base_name(),
            base_fingerprint=base_fingerprint,
            fingerprint=model_fingerprint(SentenceTransformer(str(folder), device="cpu"), folder),
            tuner=self.name,
            configuration=configuration,
            versions=library_versions(),
            metrics_before=choice.history[0].metrics,
            metrics_after=choice.point.metrics,
            chosen_step=choice.point.step,
            chosen_share=choice.point.share,
            kept_base=choice.kept_base_reason is not None,
            kept_base_reason=choice.kept_base_reason,
            neighbours_kept=neighbours_kept,
            seen=SeenTexts.of(given) | self._seen_by_base(),
        )
