"""Cleaning real queries with known answers: search logs hold blanks, repeats, stray clicks and contradictions.

The steps, in their order, each counted in the `CleaningReport`:

1. Unknown chunks: a log names chunks that were deleted since.
2. Blank and too short queries.
3. Queries of equal text (`embedtune.texts.fold`) become one: the first, with the answers of all; of two grades
   of one answer the higher one, of clicks the sum.
4. Answers with too few clicks, or judged as not relevant.
5. Queries of nearly equal text whose answers have nothing in common: at most one of them can be right.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, TypedDict

from embedtune.cleaning_report import CleaningReport, Tally
from embedtune.dataset_checks import named
from embedtune.disagreements import disagreeing_groups
from embedtune.errors import DatasetError
from embedtune.texts import fold

__all__ = ["Cleaned", "CleaningOptions", "clean_responses"]

logger = logging.getLogger(__name__)


class CleaningOptions(TypedDict, total=False):
    """What is cleaned; see `clean_responses`."""

    min_clicks: float | None
    min_characters: int
    merge_duplicates: bool
    disagreeing: Literal["best", "drop", "keep"]
    similarity: float
    unknown_chunks: Literal["error", "drop"]


class Cleaned(NamedTuple):
    """What is left, and what became of the rest."""

    queries: dict[str, str]
    relevant_docs: dict[str, list[str]]
    grades: dict[str, dict[str, float]]
    report: CleaningReport


@dataclass
class _Asked:
    """One query on its way through the steps."""

    id: str
    text: str
    answers: dict[str, None]
    grades: dict[str, float] = field(default_factory=dict)
    clicks: dict[str, float] = field(default_factory=dict)
    times: int = 1


def clean_responses(
    queries: Mapping[str, str],
    relevant_docs: Mapping[str, Iterable[str] | Mapping[str, float]],
    corpus: Mapping[str, str],
    *,
    clicks: Mapping[str, Mapping[str, float]] | None = None,
    min_clicks: float | None = None,
    min_characters: int = 2,
    merge_duplicates: bool = True,
    disagreeing: Literal["best", "drop", "keep"] = "best",
    similarity: float = 1.0,
    unknown_chunks: Literal["error", "drop"] = "error",
) -> Cleaned:
    """Clean queries whose answers are known, and say what was done.

    Args:
        queries: Query text by query id.
        relevant_docs: By query id the ids of the chunks that answer it, or their grades by chunk id: the higher
            the more relevant, 0 and less for judged and not relevant. With ``min_clicks`` and without ``clicks``,
            their clicks by chunk id.
        corpus: Chunk text by chunk id.
        clicks: Clicks by query id and chunk id, 0 and more. They say which answers count, and which of two that
            disagree; they are no grades, since a chunk at the top is clicked more for standing there.
        min_clicks: Fewest clicks of an answer; 1 if None where clicks are known.
        min_characters: Fewest letters and digits of a query; 0 leaves blank queries in, to be refused.
        merge_duplicates: Whether queries of equal text become one.
        disagreeing: What becomes of queries of nearly equal text without a common answer. ``"best"`` keeps the
            side with most clicks, or asked most often where no clicks are known, and none where two are
            level; ``"drop"`` keeps none; ``"keep"`` all.
        similarity: When texts are nearly equal. At 1.0, if they differ in nothing but case, spaces and the marks
            of a sentence; below, also if they share that part of their runs of five characters and all numbers.
            ``newest`` and ``oldest`` then soon count as one: at 0.8, nine in ten groups found in real questions
            on shell commands asked for different things.
        unknown_chunks: Whether an answer that is not in the corpus is an error, or dropped.

    Returns:
        The cleaned queries, relevance and grades, in the order given, and the report.

    Raises:
        DatasetError: If a number is none, a chunk is unknown, an option is out of its range, or nothing is left.

    >>> cleaned = clean_responses({"a": "How?", "b": "how? ", "c": "?"}, {"a": ["x"], "b": ["y"], "c": ["x"]},
    ...                           {"x": "So.", "y": "Thus."})
    >>> cleaned.relevant_docs
    {'a': ['x', 'y']}
    >>> cleaned.report.merged, list(cleaned.report.dropped_queries)
    (Counted(count=1, examples=('b',)), ['too short'])
    """
    _check_options(min_clicks, min_characters, similarity, disagreeing, unknown_chunks)
    if min_clicks is not None and clicks is None:
        clicks, relevant_docs = _clicks_of(relevant_docs), {query: list(ids) for query, ids in relevant_docs.items()}
    asked = _read(queries, relevant_docs, clicks or {})
    tally = Tally(len(asked), sum(len(query.answers) for query in asked))
    unanswered = {query.id for query in asked if not query.answers}
    _take_out_unknown(asked, corpus, unknown_chunks, tally)
    asked = _without_short(asked, min_characters, tally)
    if merge_duplicates:
        asked = _merged(asked, tally)
    if clicks is not None:
        _take_out(asked, "too few clicks", tally, lambda query, chunk: query.clicks.get(chunk, 0) < (min_clicks or 1))
    _take_out(asked, "judged not relevant", tally, lambda query, chunk: query.grades.get(chunk, 1) <= 0)
    # A query that came without an answer stays, for the data set to refuse it.
    lost = {query.id for query in asked if not query.answers and query.id not in unanswered}
    asked = _without(asked, lost, "no answer left", tally)
    if disagreeing != "keep":
        asked = _without_disagreeing(asked, corpus, similarity, disagreeing == "best", tally)
    return _cleaned(asked, tally)


def _check_options(
    min_clicks: object, min_characters: object, similarity: float, disagreeing: str, unknown_chunks: str
) -> None:
    if min_clicks is not None and not (isinstance(min_clicks, int | float) and 0 < min_clicks < math.inf):
        raise DatasetError(f"min_clicks must be a number above 0; got {min_clicks!r}. Leave it out for one click.")
    if not isinstance(min_characters, int) or min_characters < 0:
        raise DatasetError(f"min_characters must be a whole number, 0 or more; got {min_characters!r}.")
    if not 0 < similarity <= 1:
        raise DatasetError(f"similarity must lie in (0, 1]; got {similarity!r}.")
    if disagreeing not in ("best", "drop", "keep"):
        raise DatasetError(f"disagreeing must be 'best', 'drop' or 'keep'; got {disagreeing!r}.")
    if unknown_chunks not in ("error", "drop"):
        raise DatasetError(f"unknown_chunks must be 'error' or 'drop'; got {unknown_chunks!r}.")


def _clicks_of(relevant_docs: Mapping[str, object]) -> dict[str, Mapping[str, float]]:
    clicks: dict[str, Mapping[str, float]] = {}
    for query, known in relevant_docs.items():
        if not isinstance(known, Mapping):
            raise DatasetError(
                f"min_clicks needs the clicks of each answer: relevant_docs={{query id: {{chunk id: clicks}}}}; got "
                f"{known!r:.80} for query {query!r}."
            )
        clicks[query] = known
    return clicks


def _read(
    queries: Mapping[str, str], relevant_docs: Mapping[str, object], clicks: Mapping[str, Mapping[str, float]]
) -> list[_Asked]:
    """The queries with their answers, numbers checked."""
    if queries and (unknown := [query for query in relevant_docs if query not in queries]):
        raise DatasetError(
            f"relevant_docs names queries that do not exist: {named(unknown)}. Remove them, or add the queries."
        )
    asked: list[_Asked] = []
    for query, text in queries.items():
        if not isinstance(text, str):
            raise DatasetError(f"The query {query!r} must be a str; got {text!r:.80} ({type(text).__name__}).")
        known = relevant_docs.get(query, ())
        if isinstance(known, str) or not isinstance(known, Iterable):
            raise DatasetError(
                f"relevant_docs[{query!r}] must be a list of chunk ids, or grades by chunk id; got {known!r:.80}."
            )
        one = _Asked(query, text, dict.fromkeys(known))
        if isinstance(known, Mapping):
            one.grades = {chunk: _number("grade", query, chunk, grade) for chunk, grade in known.items()}
        for chunk, count in clicks.get(query, {}).items():
            one.clicks[chunk] = _number("number of clicks", query, chunk, count)
            if one.clicks[chunk] < 0:
                raise DatasetError(f"The clicks on chunk {chunk!r} for query {query!r} are below 0: {count!r}.")
        asked.append(one)
    return asked


def _number(what: str, query: str, chunk: str, value: object) -> float:
    try:
        number = math.nan if isinstance(value, str | bool) else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise DatasetError(f"The {what} of chunk {chunk!r} for query {query!r} must be a finite number; got {value!r}.")
    return number


def _take_out_unknown(asked: Sequence[_Asked], corpus: Mapping[str, str], unknown_chunks: str, tally: Tally) -> None:
    unknown = list(dict.fromkeys(chunk for query in asked for chunk in query.answers if chunk not in corpus))
    if unknown and unknown_chunks == "error" and corpus:  # an empty corpus is refused with words of its own
        query = next(query.id for query in asked if unknown[0] in query.answers)
        raise DatasetError(
            f"relevant_docs names {len(unknown)} chunks that are not in the corpus: {named(unknown)} (the first at "
            f"query {query!r}). Add them to the corpus, or drop them with unknown_chunks='drop'."
        )
    if unknown_chunks == "drop":
        _take_out(asked, "of an unknown chunk", tally, lambda query, chunk: chunk not in corpus)


def _take_out(asked: Sequence[_Asked], reason: str, tally: Tally, goes: Callable[[_Asked, str], bool]) -> None:
    for query in asked:
        for chunk in [chunk for chunk in query.answers if goes(query, chunk)]:
            del query.answers[chunk]
            tally.drop_pair(reason, query.id, chunk)


def _without(asked: list[_Asked], ids: Collection[str], reason: str, tally: Tally) -> list[_Asked]:
    for query in asked:
        if query.id in ids:
            tally.drop_query(reason, query.id, query.answers)
    return [query for query in asked if query.id not in ids]


def _without_short(asked: list[_Asked], min_characters: int, tally: Tally) -> list[_Asked]:
    if min_characters < 1:
        return asked
    asked = _without(asked, {query.id for query in asked if not query.text.strip()}, "blank", tally)
    short = {query.id for query in asked if sum(map(str.isalnum, query.text)) < min_characters}
    return _without(asked, short, "too short", tally)


def _merged(asked: list[_Asked], tally: Tally) -> list[_Asked]:
    firsts: dict[str, _Asked] = {}
    for query in asked:
        first = firsts.setdefault(fold(query.text), query)
        if first is query:
            continue
        tally.merge(query.id)
        first.times += query.times
        for chunk in query.answers:
            if chunk in first.answers:
                tally.drop_pair("stood twice", query.id, chunk)
            first.answers[chunk] = None
        for chunk, grade in query.grades.items():
            first.grades[chunk] = max(grade, first.grades.get(chunk, grade))
        for chunk, count in query.clicks.items():
            first.clicks[chunk] = first.clicks.get(chunk, 0) + count
    return list(firsts.values())


def _without_disagreeing(
    asked: list[_Asked], corpus: Mapping[str, str], similarity: float, keep_best: bool, tally: Tally
) -> list[_Asked]:
    by_id = {query.id: query for query in asked}
    dropped: set[str] = set()
    groups = disagreeing_groups(
        {query.id: query.text for query in asked}, {query.id: query.answers for query in asked}, corpus, similarity
    )
    for sides in groups:
        support = [sum(_support(by_id[query]) for query in side) for side in sides]
        best = support.index(max(support)) if keep_best and support.count(max(support)) == 1 else None
        dropped.update(query for i, side in enumerate(sides) if i != best for query in side)
    return _without(asked, dropped, "disagreeing", tally)


def _support(query: _Asked) -> float:
    return sum(query.clicks.get(chunk, 0) for chunk in query.answers) if query.clicks else query.times


def _cleaned(asked: Sequence[_Asked], tally: Tally) -> Cleaned:
    graded = {
        query.id: {chunk: query.grades[chunk] for chunk in query.answers if chunk in query.grades} for query in asked
    }
    report = tally.report(len(asked), sum(len(query.answers) for query in asked))
    if report.queries_given and not asked:
        raise DatasetError(f"Cleaning left no query: {report}. Look at the queries, or turn off the step that drops.")
    return Cleaned(
        {query.id: query.text for query in asked},
        {query.id: list(query.answers) for query in asked},
        {query: grades for query, grades in graded.items() if any(grade != 1 for grade in grades.values())},
        report,
    )
