"""The runs of one reranker tuning: one for each fold, and a last one on everything after a cross-validation."""

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from safetensors.torch import load_file
from sentence_transformers import CrossEncoder

from embedtune import QADataset
from embedtune.comparison.pairing import clusters_of
from embedtune.folders import read_state, replace_file
from embedtune.plugins import PluginManager
from embedtune.protocols import Embedder
from embedtune.search import ExactSearch
from embedtune.validation import ValidationPlan
from embedtune_sentence_transformers.choosing import Choice, choose
from embedtune_sentence_transformers.precision import chosen_precision
from embedtune_sentence_transformers.preparing import set_dropout
from embedtune_sentence_transformers.reranking.options import SettledReranker
from embedtune_sentence_transformers.reranking.pairs import LabelledPairs, labelled_pairs
from embedtune_sentence_transformers.reranking.scoring import FixedFinds, RerankScorer
from embedtune_sentence_transformers.reranking.training import RerankerRun
from embedtune_sentence_transformers.scoring import Candidate, Candidates

__all__ = ["RerankerSession"]

logger = logging.getLogger(__name__)


@dataclass
class RerankerSession:
    """Finds, trains and validates as the plan says, each run in its own folder, from which it can be resumed."""

    base: CrossEncoder
    """The base model; never trained itself."""
    has_order: bool
    """Whether the base can rank; where its score layer is new, step 0 is the search's own order."""
    plan: ValidationPlan
    """What is trained on, and what chooses."""
    folder: Path
    """For finds, checkpoints and candidates."""
    options: SettledReranker
    """The tuner's."""
    epochs: int
    """Passes over the pairs."""
    seed: int
    """Of every run."""
    plugins: PluginManager
    """Who hears of training events."""
    embedder: Embedder | None
    """Finds what is reranked; without it, that is each question's own known chunks."""
    known_wrong: Mapping[str, Sequence[str]]
    """Texts that do not answer, by question text."""
    losses: tuple[float, ...] = field(default=(), init=False)
    """Of the run that is kept."""
    _unranked: list[dict[str, tuple[float, ...]]] = field(default_factory=list, init=False)

    def choice(self) -> Choice:
        """Find, train and score what is not yet, and choose.

        Raises:
            TuningError: If there is nothing to be told from the answers, or training breaks down.
        """
        runs = [self._fold(number, *fold) for number, fold in enumerate(self.plan.folds)]
        clusters: list[int] = []
        for _, valset in self.plan.folds:
            first = max(clusters, default=-1) + 1
            clusters += [first + cluster for cluster in clusters_of(valset)]
        return choose(runs, clusters, self.options.metric)

    @property
    def without_reranking(self) -> dict[str, float]:
        """The validation metrics of the search's own order, over all folds; known after `choice`."""
        return {name: float(np.mean([v for part in self._unranked for v in part[name]])) for name in self._unranked[0]}

    @cached_property
    def pairs(self) -> LabelledPairs:
        """What the kept run is trained on."""
        return self._pairs(self.plan.trainset, "finds-train")

    def model(self, choice: Choice) -> CrossEncoder:
        """The base with the chosen weights; after a cross-validation, those of a run on everything."""
        model = copy.deepcopy(self.base)
        if choice.kept_base_reason is not None:
            logger.warning("the base model's weights are kept: %s", choice.kept_base_reason)
        elif self.plan.is_cross_validation:
            run = self._run(self.pairs, "run-all", "tuning on all", None, choice.stop_at)
            trained = run.train(self._open("run-all"))
            self.losses = trained.losses
            model.load_state_dict(trained.state)
        else:
            model.load_state_dict(load_file(self.folder / "run-0" / "best.safetensors"))
        return model

    def _fold(self, number: int, trainset: QADataset, valset: QADataset) -> Candidates:
        is_one = not self.plan.is_cross_validation
        candidates = self._open(f"run-{number}")
        pairs = self.pairs if is_one else self._pairs(trainset, f"finds-train-{number}")
        scorer = self._scorer(valset, f"finds-val-{number}")
        self._unranked.append(scorer.without_reranking())
        if 0 not in candidates:
            logger.info("step 0 on %d validation questions", len(valset))
            values = scorer.score(self.base) if self.has_order else self._unranked[-1]
            candidates.add(Candidate(0, 0, 0.0, values), None)
        title = "tuning" if is_one else f"fold {number + 1}/{len(self.plan.folds)}"
        self.losses = self._run(pairs, f"run-{number}", title, scorer).train(candidates).losses
        return candidates

    def _run(
        self, pairs: LabelledPairs, name: str, title: str, scorer: RerankScorer | None, stop_at: int | None = None
    ) -> RerankerRun:
        model = copy.deepcopy(self.base)
        if self.options.dropout is not None:
            set_dropout(model, self.options.dropout)
        return RerankerRun(
            model=model,
            pairs=pairs,
            scorer=scorer,
            folder=self.folder / name,
            options=self.options,
            epochs=self.epochs,
            seed=self.seed,
            plugins=self.plugins,
            stop_at=stop_at,
            title=title,
        )

    def _pairs(self, trainset: QADataset, name: str) -> LabelledPairs:
        found = self._found(trainset, name) if self.embedder is not None else {}
        texts = {query: [trainset.corpus[chunk] for chunk in chunks] for query, chunks in found.items()}
        return labelled_pairs(
            *(trainset, texts, self.known_wrong),
            n_negatives=self.options.negatives,
            n_random=self.options.random_negatives if self.embedder is not None else 0,
            seed=self.seed,
        )

    def _scorer(self, valset: QADataset, name: str) -> RerankScorer:
        return RerankScorer(
            valset=valset,
            finds=FixedFinds(self._found(valset, name) if self.embedder is not None else self._known(valset)),
            metric=self.options.metric,
            depth=self.options.depth,
            precision=chosen_precision(self.options.precision, self.base.device.type),
            progress=self.options.progress,
        )

    def _found(self, dataset: QADataset, name: str) -> dict[str, list[str]]:
        """Ids that the embedder finds by question text; kept, so that a resumed run embeds nothing again."""
        file = self.folder / f"{name}.json"
        if not file.is_file():
            assert self.embedder is not None
            queries = list(dict.fromkeys(dataset.queries.values()))
            found = ExactSearch(dataset.corpus, self.embedder).search(queries, self.options.depth)
            with replace_file(file) as partial:
                partial.write_text(json.dumps(dict(zip(queries, found, strict=True))), encoding="utf-8")
        state: dict[str, list[str]] = read_state(file)
        return state

    def _known(self, dataset: QADataset) -> dict[str, list[str]]:
        """A question's wrong chunks and its answers; the answers last, so that a tie is no merit."""
        by_text: dict[str, list[str]] = {}
        ids = {text: chunk for chunk, text in dataset.corpus.items()}
        for query, text in dataset.queries.items():
            if text not in by_text:
                by_text[text] = [ids[chunk] for chunk in self.known_wrong.get(text, ())]
            by_text[text] += dataset.relevant_docs[query]
        return by_text

    def _open(self, name: str) -> Candidates:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        return Candidates.load(folder, self.options.metric)
