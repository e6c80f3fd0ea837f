"""Train, validation and test with nothing shared between them, and the check that it is so."""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.grouping import Group, connected_groups
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.texts import fold

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["LeakReport", "Split", "leaks", "split_dataset"]


@dataclass(frozen=True)
class Split:
    """Three data sets that share no document, no near-duplicate chunk and no query text.

    A side whose share was 0 is None.
    """

    train: QADataset
    """Trains; its corpus holds its own documents alone."""
    val: QADataset | None
    """Chooses the checkpoint; the whole corpus as distractors."""
    test: QADataset | None
    """Reports the gain; the whole corpus as distractors."""

    def round_trip(self, model: object, depth: int = 20, *, plugins: "PluginManager | None" = None) -> "Split":
        """Drop the training questions whose chunk the model does not find: many of them are bad questions.

        Validation and test stay whole, whatever the model misses there: to drop that would delete exactly what a
        base model gets wrong, and flatter it. The report of ``train`` names the model, and `compare` warns where
        it is judged on such a set.

        Args:
            model: An embedding model, as for `evaluate`; a good one, since it decides.
            depth: A question stays if one of its chunks is among so many found, of the whole corpus.
            plugins: Where the model is looked up.

        Raises:
            DatasetError: If no training question is left.
        """
        from embedtune.round_trip import findable  # it searches

        whole = max((side.corpus for side in (self.train, self.val, self.test) if side), key=len)
        return replace(self, train=findable(self.train, whole, model, depth, plugins))


@dataclass(frozen=True)
class LeakReport:
    """What two data sets share. False in a boolean test if nothing."""

    queries: tuple[tuple[str, str], ...]
    """Pairs of query ids, one of each set, with the same text but for case, width and white space."""
    chunks: tuple[tuple[str, str], ...]
    """Pairs of relevant chunks' ids, one of each set, likewise; distractors are never compared."""
    queries_on_shared_chunks: tuple[str, ...]
    """Queries of the second set that stand on a chunk of the first."""

    def __bool__(self) -> bool:
        return bool(self.queries or self.chunks)

    def __str__(self) -> str:
        if not self:
            return "nothing is shared"
        parts = []
        if self.queries:
            parts.append(f"{len(self.queries)} query texts (such as {self.queries[0][1]!r})")
        if self.chunks:
            parts.append(
                f"{len(self.chunks)} relevant chunks (such as {self.chunks[0][1]!r}), on which "
                f"{len(self.queries_on_shared_chunks)} of the second set's queries stand"
            )
        return "shared are " + " and ".join(parts)


def leaks(a: QADataset, b: QADataset) -> LeakReport:
    """Compare two data sets by their queries and relevant chunks.

    >>> one = QADataset({"q1": "How?"}, {"c1": "So."}, {"q1": ["c1"]})
    >>> two = QADataset({"q2": "Why?"}, {"c9": "so."}, {"q2": ["c9"]})
    >>> str(leaks(one, two))
    "shared are 1 relevant chunks (such as 'c9'), on which 1 of the second set's queries stand"
    """
    queries = _shared(a.queries, b.queries)
    chunks = _shared(_relevant_texts(a), _relevant_texts(b))
    shared = {chunk for _, chunk in chunks}
    standing = tuple(query for query, relevant in b.relevant_docs.items() if shared.intersection(relevant))
    return LeakReport(queries, chunks, standing)


def _relevant_texts(dataset: QADataset) -> dict[str, str]:
    ids = dict.fromkeys(chunk for chunks in dataset.relevant_docs.values() for chunk in chunks)
    return {chunk: dataset.corpus[chunk] for chunk in ids}


def _shared(a: dict[str, str], b: dict[str, str]) -> tuple[tuple[str, str], ...]:
    by_text = {fold(text): key for key, text in a.items()}
    return tuple(
        (by_text[text], key) for key, text in ((key, fold(text)) for key, text in b.items()) if text in by_text
    )


def split_dataset(dataset: QADataset, *, val: float, test: float, seed: int, by: str = "document") -> Split:
    """See `QADataset.split`."""
    if not (0 <= val < 1 and 0 <= test < 1 and val + test < 1):
        raise DatasetError(f"The shares must lie in [0, 1) and leave something to train: got val={val}, test={test}.")
    if by not in ("document", "chunk"):
        raise DatasetError(f"by must be 'document' or 'chunk'; got {by!r}.")
    near = near_duplicate_groups(dataset.corpus)
    groups = connected_groups(dataset, by_document=by == "document", chunk_groups=near, by_query_text=True)
    test_queries, rest = _draw(groups, _n_queries(test, dataset), seed)
    val_queries, rest = _draw(rest, _n_queries(val, dataset), seed + 1)
    train_queries = [query for group in rest for query in group.queries]
    for name, share, queries in (("test", test, test_queries), ("val", val, val_queries), ("train", 1, train_queries)):
        if share and not queries:
            largest = max(len(group.queries) for group in groups)
            raise DatasetError(
                f"Cannot split {len(dataset)} queries into train, val={val} and test={test}: nothing is left for "
                f"{name}, since they form {len(groups)} connected groups (the largest holds {largest} queries). "
                + ("Split with by='chunk', or give more documents." if by == "document" else "Give more chunks.")
            )
    taken = {chunk for group in groups if set(group.queries) & {*test_queries, *val_queries} for chunk in group.chunks}
    train = dataset.subset(_in_order(dataset, train_queries), [chunk for chunk in dataset.corpus if chunk not in taken])
    return Split(
        train,
        dataset.subset(_in_order(dataset, val_queries)) if val_queries else None,
        dataset.subset(_in_order(dataset, test_queries)) if test_queries else None,
    )


def _n_queries(share: float, dataset: QADataset) -> int:
    """The share in queries; at least one where there is a share at all."""
    return max(round(share * len(dataset)), 1) if share else 0


def _draw(groups: Sequence[Group], n_queries: int, seed: int) -> tuple[list[str], list[Group]]:
    """Draw groups by seed until ``n_queries`` are reached; one that would overshoot stays behind."""
    order = sorted(groups, key=lambda group: min(group.queries))
    random.Random(seed).shuffle(order)
    drawn: list[str] = []
    rest: list[Group] = []
    for group in order:
        if n_queries and len(drawn) + len(group.queries) <= n_queries:
            drawn += group.queries
        else:
            rest.append(group)
    if n_queries and not drawn and len(rest) > 1:  # all are too large: the smallest is better than none
        smallest = min(rest, key=lambda group: len(group.queries))
        return list(smallest.queries), [group for group in rest if group is not smallest]
    return drawn, rest


def _in_order(dataset: QADataset, queries: Sequence[str]) -> list[str]:
    wanted = set(queries)
    return [query for query in dataset.queries if query in wanted]
