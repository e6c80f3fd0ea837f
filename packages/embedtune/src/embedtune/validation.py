"""What chooses the checkpoint: a given validation set, one carved from training, or cross-validation."""

import logging
import random
from dataclasses import dataclass

from embedtune.dataset import QADataset
from embedtune.errors import DatasetError, TuningError
from embedtune.grouping import Group, connected_groups
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.splitting import leaks

__all__ = ["MIN_VALIDATION_QUERIES", "MOST_FOLDS", "ValidationPlan", "check_independent", "plan_validation"]

logger = logging.getLogger(__name__)

MIN_VALIDATION_QUERIES = 300
"""Under so many a carved set cannot tell a gain of five points from chance (0.03 is one standard error)."""

MOST_FOLDS = 20
"""Each fold is a training of its own."""

CARVED_SHARE = 0.1
LARGEST_CARVED_SHARE = 0.2
"""Of a set whose tenth is under 300 queries, up to a fifth is held back: from 1,500 queries on, one training does."""


@dataclass(frozen=True)
class ValidationPlan:
    """Trains the model on ``trainset``; how long is chosen on ``folds``.

    With one fold its training part is ``trainset`` itself and the run that is measured is the run that is kept.
    With several, each is trained and measured alone, and the final run on all of ``trainset`` goes as far as
    they say together.
    """

    trainset: QADataset
    folds: tuple[tuple[QADataset, QADataset], ...]

    @property
    def is_cross_validation(self) -> bool:
        """Whether there are several folds."""
        return len(self.folds) > 1


def plan_validation(
    trainset: QADataset, valset: QADataset | None, *, seed: int, folds: int, carve: bool = True
) -> ValidationPlan:
    """Decide what chooses the checkpoint.

    Args:
        trainset: All pairs that may be trained on.
        valset: Given by the user, or None.
        seed: Draws what is carved.
        folds: Folds of the cross-validation where a fifth holds under 300 queries; 0 or 1 carves a tenth however
            small.
        carve: Whether a part is held back of a set that is large enough for it, so that one training does; if not, it
            is cross-validated too.

    Raises:
        TuningError: If the validation set leaks, or there is too little to hold anything back.
    """
    if valset is not None:
        check_independent(trainset, valset)
        return ValidationPlan(trainset, ((trainset, valset),))
    groups = _groups(trainset)
    share = max(CARVED_SHARE, MIN_VALIDATION_QUERIES / len(trainset))
    if folds < 2 or (carve and share <= LARGEST_CARVED_SHARE):
        share = share if share <= LARGEST_CARVED_SHARE else CARVED_SHARE
        try:
            split = trainset.split(val=share, test=0, seed=seed)
        except DatasetError:
            split = trainset.split(val=share, test=0, seed=seed, by="chunk")
        assert split.val is not None
        logger.info("holding back %d of %d queries for validation", len(split.val), len(trainset))
        return ValidationPlan(split.train, ((split.train, split.val),))
    n_folds = min(folds, len(groups))
    reason = ": too few to hold some back" if share > LARGEST_CARVED_SHARE else ""
    logger.info("choosing by cross-validation in %d folds of %d queries%s", n_folds, len(trainset), reason)
    return ValidationPlan(trainset, tuple(_fold(trainset, part) for part in _parts(groups, n_folds, seed)))


def check_independent(trainset: QADataset, valset: QADataset) -> None:
    """Refuse a validation set that shares queries or relevant chunks with the training set.

    Raises:
        TuningError: If it does; the message says what is shared.
    """
    if report := leaks(trainset, valset):
        raise TuningError(
            f"The validation set is not independent of the training set: {report}. It would choose the "
            "checkpoint that remembers best. Make both with QADataset.split(), or leave valset out."
        )


def _groups(trainset: QADataset) -> list[Group]:
    """Groups by document; of a single document, by chunk."""
    near = near_duplicate_groups(trainset.corpus)
    groups = connected_groups(trainset, chunk_groups=near, by_query_text=True)
    if len(groups) < 2:
        groups = connected_groups(trainset, by_document=False, chunk_groups=near, by_query_text=True)
    if len(groups) < 2:
        raise TuningError(
            f"{len(trainset)} queries on {len(trainset.corpus)} chunks form one connected group: nothing can be held "
            "back to see whether training helps. Give different queries on at least 2 different chunks, or a valset."
        )
    return groups


def _parts(groups: list[Group], n_parts: int, seed: int) -> list[list[Group]]:
    """Deal the groups, largest first, to the part with the fewest queries."""
    order = sorted(groups, key=lambda group: min(group.queries))
    random.Random(seed).shuffle(order)
    order.sort(key=lambda group: -len(group.queries))
    parts: list[list[Group]] = [[] for _ in range(n_parts)]
    sizes = [0] * n_parts
    for group in order:
        smallest = sizes.index(min(sizes))
        parts[smallest].append(group)
        sizes[smallest] += len(group.queries)
    return parts


def _fold(trainset: QADataset, held_back: list[Group]) -> tuple[QADataset, QADataset]:
    queries = {query for group in held_back for query in group.queries}
    chunks = {chunk for group in held_back for chunk in group.chunks}
    train = trainset.subset(
        [q for q in trainset.queries if q not in queries], [c for c in trainset.corpus if c not in chunks]
    )
    return train, trainset.subset([query for query in trainset.queries if query in queries])
