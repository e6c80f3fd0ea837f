"""Searches that are neither ours nor a framework's: a plain function, and rankings in a TREC run file."""

import functools
import inspect
import itertools
import logging
import re
from collections import defaultdict
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

from embedtune.errors import EvaluationError

__all__ = ["FunctionSearch", "RunFile", "is_search_function", "run_file_path"]

logger = logging.getLogger(__name__)

RUN_SUFFIXES = frozenset({".run", ".trec"})
"""A missing file of such a name is a missing run, not a missing model."""

_SPACE = re.compile(r"[ \t\r\f\v]+")
"""What separates columns; other white space, such as U+00A0, is part of an id."""


def is_search_function(thing: object) -> bool:
    """Whether it is a plain function that can be called with queries and ``k``.

    >>> is_search_function(lambda queries, k: []), is_search_function(len), is_search_function("a")
    (True, False, False)
    """
    if not (inspect.isroutine(thing) or isinstance(thing, functools.partial)):
        return False
    try:
        inspect.signature(thing).bind([], 1)
    except (TypeError, ValueError):
        return False
    return True


class FunctionSearch:
    """A function as a `Search`; what it returns is checked.

    Args:
        function: ``function(queries, k)`` returns one list of chunk ids per query, best first.
    """

    def __init__(self, function: Callable[[list[str], int], Sequence[Sequence[str]]]) -> None:
        self._function = function

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """What the function finds, at most ``k`` each."""
        if not queries:
            return []
        rankings = self._function(list(queries), k)
        try:
            found = [ids if isinstance(ids, str) else list(ids) for ids in rankings]
        except TypeError as error:
            raise EvaluationError(self._wants(f"returned {type(rankings).__name__}: {error}")) from error
        for ids in found:
            if isinstance(ids, str):
                raise EvaluationError(self._wants(f"returned {ids!r:.80} where the list of a query must be"))
            if strangers := [chunk for chunk in ids if not isinstance(chunk, str)]:
                raise EvaluationError(self._wants(f"returned {strangers[0]!r:.80} where a chunk's id must be"))
        return [list(ids[:k]) for ids in found]

    def _wants(self, what: str) -> str:
        name = getattr(self._function, "__name__", type(self._function).__name__)
        return f"The search function {name!r} {what}. Return one list of chunk ids (str) per query, best first."


def run_file_path(thing: object) -> Path | None:
    """The path, if a path or string names a file, or one that is not there by its suffix.

    Raises:
        EvaluationError: If it has the suffix of a run file and is not there.
    """
    if not isinstance(thing, str | Path):
        return None
    path = Path(thing).expanduser()
    if path.suffix in RUN_SUFFIXES and not path.exists():
        raise EvaluationError(f"No run file at {str(thing)!r} (looked at {str(path.absolute())!r}).")
    return path if path.is_file() else None


class _Line(NamedTuple):
    query: str
    chunk: str
    rank: int
    score: float


class RunFile:
    """The rankings of a TREC run file (``qid Q0 docid rank score tag``) as a `Search`.

    The order is that of the rank column, and of the file where ranks are equal; scores are not looked at, as an
    engine's may be distances. An id with white space stands in the file percent-encoded. Queries that the file does
    not have find nothing.

    Args:
        path: The file, UTF-8.
        queries: Query texts by id.
        corpus: Chunk ids, to tell an encoded id from one that holds a percent sign itself.

    Raises:
        EvaluationError: If a line is malformed, or no query of the file is known.
    """

    def __init__(self, path: str | Path, queries: Mapping[str, str], corpus: Container[str]) -> None:
        self.path = Path(path).expanduser()
        lines: dict[str, list[_Line]] = defaultdict(list)
        for line in _lines(self.path):
            lines[_decoded(line.query, queries)].append(line)
        self._rankings: dict[str, list[str]] = {}
        n_by_score = 0
        for query, found in lines.items():
            found.sort(key=lambda line: line.rank)
            n_by_score += any(after.score > before.score for before, after in itertools.pairwise(found))
            self._rankings[query] = list(dict.fromkeys(_decoded(line.chunk, corpus) for line in found))
        self._ids_by_text: dict[str, list[str]] = defaultdict(list)
        for query, text in queries.items():
            self._ids_by_text[text].append(query)
        self._tell(queries, n_by_score)

    def _tell(self, queries: Mapping[str, str], n_by_score: int) -> None:
        missing = [query for query in queries if query not in self._rankings]
        if len(missing) == len(queries):
            raise EvaluationError(
                f"{str(self.path)!r} has none of the {len(queries)} queries: its first id is "
                f"{next(iter(self._rankings), None)!r}, the data set's {next(iter(queries), None)!r}."
            )
        if missing:
            what = (len(missing), len(queries), str(self.path), missing[0])
            logger.warning("%d of %d queries are not in %r, such as %r: they count as not found", *what)
        if n_by_score:
            told = "by rank and by score the order of %d queries in %r differs (trec_eval sorts by score): ranks count"
            logger.warning(told, n_by_score, str(self.path))

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        """The rankings of queries by their text; where several have one text, they are taken to come in order."""
        turns: dict[str, int] = defaultdict(int)
        found = []
        for text in queries:
            ids = self._ids_by_text.get(text, [])
            found.append(self._rankings.get(ids[turns[text] % len(ids)], []) if ids else [])
            turns[text] += 1
        return [ids[:k] for ids in found]


def _lines(path: Path) -> list[_Line]:
    try:
        written = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise EvaluationError(f"{str(path)!r} is no run file: it is not UTF-8 text ({error}).") from error
    lines = []
    for number, text in enumerate(written.split("\n"), 1):
        cells = [cell for cell in _SPACE.split(text) if cell]
        if not cells:
            continue
        try:
            query, _, chunk, rank, score, _ = cells
            lines.append(_Line(query, chunk, int(rank), float(score)))
        except ValueError as error:
            raise EvaluationError(
                f"{str(path)!r}, line {number}: {text.strip()!r:.120} is no line of a run, which has six columns: "
                "query id, Q0, chunk id, rank (a whole number), score (a number), tag. White space in an id is written "
                "as %20."
            ) from error
    if not lines:
        raise EvaluationError(f"{str(path)!r} holds no line of a run.")
    return lines


def _decoded(written: str, known: Container[str]) -> str:
    return written if written in known else unquote(written)
