"""Training pairs of query and chunk, and the rows that a step is drawn from."""

from collections.abc import Mapping
from dataclasses import dataclass

from embedtune import QADataset

__all__ = ["QUERIES_IN_A_ROW", "TrainingPairs", "pairs_of"]

QUERIES_IN_A_ROW = 8
"""A chunk that answers more queries is trained on in several rows, so that no step is made of one chunk alone."""


@dataclass(frozen=True)
class TrainingPairs:
    """Pairs of query text and chunk text, both by index; equal texts have one index."""

    queries: tuple[str, ...]
    """Distinct query texts."""
    chunks: tuple[str, ...]
    """Distinct chunk texts: first those that answer a query, then the rest of the corpus."""
    n_answer_chunks: int
    """How many of the chunks answer a query."""
    pairs: tuple[tuple[int, int], ...]
    """Distinct pairs: a query and a chunk that answers it."""
    answers: Mapping[int, frozenset[int]]
    """All chunks that answer a query."""

    def __len__(self) -> int:
        return len(self.pairs)

    @property
    def answer_chunks(self) -> tuple[str, ...]:
        """The chunks that answer a query."""
        return self.chunks[: self.n_answer_chunks]

    def rows(self, queries_in_a_row: int = QUERIES_IN_A_ROW) -> dict[str, list[object]]:
        """What a step draws: a chunk with the queries that it answers, so that it is encoded once for all of them.

        Returns:
            Columns ``chunk`` (its index) and ``queries`` (theirs), of equal length.
        """
        by_chunk: dict[int, list[int]] = {}
        for query, chunk in self.pairs:
            by_chunk.setdefault(chunk, []).append(query)
        rows = [
            (chunk, queries[start : start + queries_in_a_row])
            for chunk, queries in by_chunk.items()
            for start in range(0, len(queries), queries_in_a_row)
        ]
        return {"chunk": [chunk for chunk, _ in rows], "queries": [queries for _, queries in rows]}


def pairs_of(dataset: QADataset, all_answers: bool = True) -> TrainingPairs:
    """The pairs of a data set, in its order: all, or each query's first; the answers are all in either case."""
    queries: dict[str, int] = {}
    chunks: dict[str, int] = {}
    answers: dict[int, set[int]] = {}
    first: dict[int, int] = {}
    for query, relevant in dataset.relevant_docs.items():
        index = queries.setdefault(dataset.queries[query], len(queries))
        for chunk in relevant:
            answers.setdefault(index, set()).add(chunks.setdefault(dataset.corpus[chunk], len(chunks)))
            first.setdefault(index, chunks[dataset.corpus[chunk]])
    n_answer_chunks = len(chunks)
    for text in dataset.corpus.values():
        chunks.setdefault(text, len(chunks))
    pairs = tuple((query, chunk) for query, found in answers.items() for chunk in sorted(found))
    return TrainingPairs(
        queries=tuple(queries),
        chunks=tuple(chunks),
        n_answer_chunks=n_answer_chunks,
        pairs=pairs if all_answers else tuple(first.items()),
        answers={query: frozenset(found) for query, found in answers.items()},
    )
