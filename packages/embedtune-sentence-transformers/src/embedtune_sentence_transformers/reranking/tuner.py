"""`RerankerTuner`: from pairs to the folder of a cross-encoder."""

import copy
import logging
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from sentence_transformers import CrossEncoder

from embedtune import BaseEmbeddingTuner, EmbeddingError, EvaluationError, TuneResult, TuningError
from embedtune.folders import remove_partial, swap_in
from embedtune.plugins import plugin_manager
from embedtune.plugins.references import parse_reference
from embedtune.protocols import Embedder
from embedtune.records import ModelRecord, SeenTexts, read_record
from embedtune.resolve import as_embedder
from embedtune.search import EmbedOnce
from embedtune.tuner import dataset_digest
from embedtune_sentence_transformers.choosing import Choice
from embedtune_sentence_transformers.failures import telling_of_disk
from embedtune_sentence_transformers.loading import library_versions, loaded_from, positions_in
from embedtune_sentence_transformers.memory import kept_memory
from embedtune_sentence_transformers.precision import chosen_precision
from embedtune_sentence_transformers.reranker import (
    CrossEncoderReranker,
    cross_encoder_folder,
    kind_without_score,
    load_cross_encoder,
)
from embedtune_sentence_transformers.reranking.card import write_reranker_card
from embedtune_sentence_transformers.reranking.options import RerankerOptions, SettledReranker
from embedtune_sentence_transformers.reranking.pairs import LabelledPairs, texts_known_wrong
from embedtune_sentence_transformers.reranking.session import RerankerSession
from embedtune_sentence_transformers.reranking.settling import settled

__all__ = ["RerankerTuner"]

logger = logging.getLogger(__name__)


class RerankerTuner(BaseEmbeddingTuner):
    """Tuning of all weights of a cross-encoder on the sentence-transformers trainer.

    It learns to tell answers from what the embedder in use finds beside them. The base is loaded afresh, so a model
    that is in use elsewhere in the process stays as it is. Weights are float32. Of the checkpoints the one is kept
    whose reranking of the validation questions' finds is best; where its gain is within what chance gives
    (`choosing.choose`), the base's weights are. A base without a score layer, such as an embedding model, gets a new
    one; it has no order of its own, so step 0 is the search's, and where nothing beats that, nothing is written.

    Args, beyond those of `BaseEmbeddingTuner`: the fields of `RerankerOptions`; ``model`` is a folder or hub name of a
    cross-encoder or of a model that one can be made of, or a loaded ``CrossEncoder``.
    """

    name = "reranker"
    Options: ClassVar[type] = RerankerOptions
    options: RerankerOptions

    def finetune(self) -> None:
        """Find, train, choose, write the folder, and set ``self.result``.

        Raises:
            TuningError: If the data leave nothing to validate on or nothing to be told from the answers, training
                breaks down, or a new score layer ranks no better than the search does by itself.
        """
        started = time.monotonic()
        given = [self.trainset] if self.valset is None else [self.trainset, self.valset]
        known_wrong = texts_known_wrong(self.options.known_negatives, given)
        plan = self.plan(self.options.folds)
        embedder = self._embedder()
        base = self._load_base()
        options, epochs = settled(self.options, self.epochs, self.trainset, base, is_new=not self._has_order)
        fingerprint = self._base_fingerprint(base)
        precision = chosen_precision(self.options.precision, base.device.type)
        job = self._job(fingerprint, options, epochs, precision, embedder)
        with kept_memory(), telling_of_disk(self.path), self.writing(job) as partial:
            session = RerankerSession(
                base=base,
                has_order=self._has_order,
                plan=plan,
                folder=partial,
                options=options,
                epochs=epochs,
                seed=self.seed,
                plugins=self.plugins or plugin_manager(),
                embedder=embedder,
                known_wrong=known_wrong,
            )
            choice = session.choice()
            self._refuse_noise(session, choice)
            model = session.model(choice)
            self.result = self._written(partial / "new", model, session, choice, fingerprint, precision, started)

    def _written(
        self,
        folder: Path,
        model: CrossEncoder,
        session: RerankerSession,
        choice: Choice,
        fingerprint: str,
        precision: str,
        started: float,
    ) -> TuneResult:
        # A tokenizer is saved with how it was last used: let that be the same in every run, resumed or not.
        model.predict([(".", ".")], show_progress_bar=False)
        model.save_pretrained(str(folder), create_model_card=False, safe_serialization=True)
        result = TuneResult(
            path=self.path,
            record=self._record(folder, fingerprint, session, choice, precision),
            history=choice.history,
            n_pairs=len(session.pairs),
            truncated_share=_truncated_share(model, session.pairs),
            seconds=time.monotonic() - started,
            losses=session.losses,
        )
        write_reranker_card(folder, result, session.pairs)
        result.record.write(folder)
        swap_in(self.path)
        return result

    def _refuse_noise(self, session: RerankerSession, choice: Choice) -> None:
        """Leave no folder of which the best that can be said is not to use it."""
        metric, unranked = session.options.metric, session.without_reranking
        if choice.kept_base_reason is not None and not session.has_order:
            remove_partial(self.path)
            raise TuningError(
                f"No candidate reranks better than the search's own order, {metric} {unranked[metric]:.4f}: "
                f"{choice.kept_base_reason}. The base has no score layer, so there is no reranker to keep, and nothing "
                "is written: do not rerank, give more questions, or start from a cross-encoder that was trained to "
                "rank."
            )
        if choice.point.metrics[metric] < unranked[metric]:
            logger.warning(
                "without reranking %s is %.4f, with this reranker %.4f: do not rerank by it",
                *(metric, unranked[metric], choice.point.metrics[metric]),
            )

    @property
    def _has_order(self) -> bool:
        """Whether the base has a score layer."""
        return isinstance(self.model, CrossEncoder) or kind_without_score(self._base_ref()) is None

    def _embedder(self) -> Embedder | None:
        if self.options.embedder is None:
            if not self._has_order:
                raise TuningError(
                    f"{self._base_ref()!r} has no score layer, and without embedder=... there is no search whose order "
                    "a new one could be held against. Give the embedding model in use."
                )
            return None
        try:
            return EmbedOnce(as_embedder(self.options.embedder, self.plugins))
        except (EvaluationError, LookupError) as error:
            raise TuningError(f"embedder={self.options.embedder!r:.80} is no embedder: {error}") from error

    def _load_base(self) -> CrossEncoder:
        max_length = self.options.max_length
        if isinstance(self.model, CrossEncoder):
            model: CrossEncoder = copy.deepcopy(self.model)
            model.float()
            if max_length is not None:
                model.tokenizer.model_max_length = max_length
        else:
            with torch.random.fork_rng(devices=[]):
                torch.default_generator.manual_seed(self.seed)  # draws a score layer that the files do not have
                model = load_cross_encoder(
                    self._base_ref(),
                    device=self.options.device,
                    trust_remote_code=self.options.trust_remote_code,
                    max_length=max_length,
                    num_labels=None if self._has_order else 1,
                )
        CrossEncoderReranker(model)  # says so if it gives several numbers for a pair
        positions = positions_in(model.config)
        if positions is not None and (max_length or 0) > positions:
            raise EmbeddingError(f"max_length={max_length} does not fit: the model has {positions} positions.")
        if positions is not None and model.tokenizer.model_max_length > positions:
            model.tokenizer.model_max_length = positions
        return model

    def _base_ref(self) -> str:
        if not isinstance(self.model, str | Path):
            raise TuningError(
                f"The tuner {self.name!r} trains a cross-encoder: give its folder, its hub name, or the loaded "
                "CrossEncoder, or the folder of a model to put a score layer on; got a "
                f"{type(self.model).__name__}."
            )
        return parse_reference(str(self.model), ["sentence-transformers", self.name]).ref

    def _base_fingerprint(self, base: CrossEncoder) -> str:
        folder = None if isinstance(self.model, CrossEncoder) else cross_encoder_folder(self._base_ref())
        return CrossEncoderReranker(base, folder).fingerprint

    def _base_name(self) -> str:
        if isinstance(self.model, CrossEncoder):
            return str(self.model.model_card_data.base_model or "a CrossEncoder in memory")
        return self._base_ref()

    def _seen_by_base(self) -> SeenTexts:
        model = self.model
        folder = loaded_from(model) if isinstance(model, CrossEncoder) else cross_encoder_folder(self._base_ref())
        record = read_record(folder) if folder is not None else None
        return record.seen if record is not None else SeenTexts()

    def _job(
        self, fingerprint: str, options: SettledReranker, epochs: int, precision: str, embedder: Embedder | None
    ) -> dict[str, object]:
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
            "embedder_fingerprint": embedder.fingerprint if embedder is not None else None,
        }

    def _record(
        self, folder: Path, base_fingerprint: str, session: RerankerSession, choice: Choice, precision: str
    ) -> ModelRecord:
        given = [self.trainset] if self.valset is None else [self.trainset, self.valset]
        plan = session.plan
        configuration = session.options.described() | {
            "epochs": session.epochs,
            "seed": self.seed,
            "precision": precision,
            "max_length": session.base.tokenizer.model_max_length,
            "new_score_layer": not session.has_order,
            "without_reranking": session.without_reranking,
            "validation_queries": sum(len(valset) for _, valset in plan.folds),
            "cross_validation_folds": len(plan.folds) if plan.is_cross_validation else 0,
        }
        return ModelRecord(
            base_model=self._base_name(),
            base_fingerprint=base_fingerprint,
            fingerprint=CrossEncoderReranker.load(str(folder), device="cpu").fingerprint,
            tuner=self.name,
            configuration=configuration,
            versions=library_versions(),
            metrics_before=choice.history[0].metrics,
            metrics_after=choice.point.metrics,
            chosen_step=choice.point.step,
            kept_base=choice.kept_base_reason is not None,
            kept_base_reason=choice.kept_base_reason,
            seen=SeenTexts.of(given) | self._seen_by_base(),
        )


def _truncated_share(model: CrossEncoder, pairs: LabelledPairs) -> float:
    """Of the questions with their answers, those that are longer than the model reads."""
    labelled = zip(pairs.queries, pairs.chunks, pairs.labels, strict=True)
    queries, chunks = zip(*((query, chunk) for query, chunk, label in labelled if label), strict=True)
    read = model.tokenizer(list(queries), list(chunks), truncation=False, padding=False, verbose=False)
    limit = model.tokenizer.model_max_length
    return float(np.mean([len(ids) > limit for ids in read["input_ids"]]))
