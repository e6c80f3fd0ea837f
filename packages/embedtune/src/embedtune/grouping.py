"""Connected groups: the unit of splits and of statistics."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedtune.texts import fold

if TYPE_CHECKING:
    from embedtune.dataset import QADataset

__all__ = ["Group", "UnionFind", "connected_groups"]


class UnionFind:
    """Disjoint sets over ``0 .. n-1``."""

    def __init__(self, n: int) -> None:
        self._parent = list(range(n))

    def find(self, item: int) -> int:
        """The representative of the item's set."""
        while self._parent[item] != item:
            self._parent[item] = self._parent[self._parent[item]]
            item = self._parent[item]
        return item

    def join(self, a: int, b: int) -> None:
        """Make one set of two; the smaller representative stays, so the result has no chance in it."""
        a, b = self.find(a), self.find(b)
        self._parent[max(a, b)] = min(a, b)

    def groups(self) -> list[list[int]]:
        """All sets, by their smallest member."""
        by_root: dict[int, list[int]] = {}
        for item in range(len(self._parent)):
            by_root.setdefault(self.find(item), []).append(item)
        return list(by_root.values())


@dataclass(frozen=True)
class Group:
    """Queries and chunks that hang together."""

    queries: tuple[str, ...]
    """Ids of its queries, at least one."""
    chunks: tuple[str, ...]
    """Ids of its chunks."""


def connected_groups(
    dataset: "QADataset",
    *,
    by_document: bool = True,
    by_query_text: bool = False,
    chunk_groups: Iterable[Sequence[str]] = (),
) -> list[Group]:
    """The groups of queries that share a chunk, a document, a text, or a group of chunks.

    Args:
        dataset: Queries and chunks.
        by_document: Whether chunks of one document hang together.
        by_query_text: Whether queries of one text do.
        chunk_groups: Further chunks that do, such as near duplicates.

    Returns:
        The groups that hold a query, in the order of the corpus and then of the queries.
    """
    tokens: dict[tuple[str, str], int] = {}
    links: list[tuple[int, int]] = []

    def token(kind: str, name: str) -> int:
        return tokens.setdefault((kind, name), len(tokens))

    for chunk, document in dataset.documents.items():
        links.append(
            (token("chunk", chunk), token("document", document) if by_document and document else token("chunk", chunk))
        )
    for query, chunks in dataset.relevant_docs.items():
        links += [(token("query", query), token("chunk", chunk)) for chunk in chunks]
        if by_query_text:
            links.append((token("query", query), token("text", fold(dataset.queries[query]))))
    for first, *others in chunk_groups:
        links += [(token("chunk", first), token("chunk", other)) for other in others]
    union = UnionFind(len(tokens))
    for a, b in links:
        union.join(a, b)
    names = list(tokens)
    groups = []
    for members in union.groups():
        found = [names[member] for member in members]
        queries = tuple(name for kind, name in found if kind == "query")
        if queries:
            groups.append(Group(queries, tuple(name for kind, name in found if kind == "chunk")))
    return groups
