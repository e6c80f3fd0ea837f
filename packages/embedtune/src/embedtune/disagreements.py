"""Queries of nearly equal text whose answers have nothing in common: at most one of them can be right."""

import re
import unicodedata
from collections.abc import Collection, Mapping

from embedtune.grouping import UnionFind
from embedtune.near_duplicates import near_duplicate_groups
from embedtune.texts import fold

__all__ = ["disagreeing_groups"]

_ENDS = re.compile("[.,;:!?\u2026\u3002\u3001]+(?=[\\s\"')\\]]|$)")
"""Marks at the end of a word; before one, as in ``.txt``, they count."""
_CATEGORIES = frozenset({"Ps", "Pe", "Pi", "Pf", "Pd", "Zs"})
"""Brackets, quotes, dashes, spaces. What is left counts: ``C``, ``C++`` and ``C#`` are three things."""
_NUMBERS = re.compile(r"\d+")


def disagreeing_groups(
    queries: Mapping[str, str], answers: Mapping[str, Collection[str]], corpus: Mapping[str, str], similarity: float
) -> list[list[list[str]]]:
    """Groups of queries of nearly equal text that take several sides.

    Args:
        queries: Query text by query id.
        answers: Chunk ids by query id; two chunks of equal text are one answer.
        corpus: Chunk text by chunk id.
        similarity: 1.0 for texts that differ in case, spaces and marks of a sentence alone; below, also texts that
            share this part of their runs of five characters, and all numbers.

    Returns:
        For each group its sides, at least two: the queries that are held together by common answers.

    >>> disagreeing_groups({"a": "What is it?", "b": "what is it"}, {"a": ["x"], "b": ["y"]}, {"x": "1", "y": "2"}, 1.0)
    [[['a'], ['b']]]
    """
    keys = {query: _key(text) for query, text in queries.items()}
    numbers = {query: tuple(_NUMBERS.findall(fold(text))) for query, text in queries.items()}
    groups: dict[object, list[str]] = {}
    if similarity < 1:
        for number, group in enumerate(
            near_duplicate_groups({query: key for query, key in keys.items() if key}, similarity)
        ):
            for query in group:
                groups.setdefault((number, numbers[query]), []).append(query)
    else:
        for query, key in keys.items():
            groups.setdefault((key or query, numbers[query]), []).append(query)
    found = (_sides(group, answers, corpus) for group in groups.values() if len(group) > 1)
    return [sides for sides in found if len(sides) > 1]


def _key(text: str) -> str:
    return "".join(
        character
        for character in _ENDS.sub("", fold(text))
        if character not in "'\"`" and unicodedata.category(character) not in _CATEGORIES
    )


def _sides(group: list[str], answers: Mapping[str, Collection[str]], corpus: Mapping[str, str]) -> list[list[str]]:
    union = UnionFind(len(group))
    first_with: dict[str, int] = {}
    for i, query in enumerate(group):
        for chunk in answers[query]:
            union.join(i, first_with.setdefault(fold(corpus.get(chunk, chunk)), i))
    return [[group[i] for i in side] for side in union.groups()]
