"""All queries asked of a search; where the whole call fails, one by one, to lose only those that fail."""

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from embedtune.errors import EvaluationError

__all__ = ["ask_all"]

logger = logging.getLogger(__name__)

Answer = TypeVar("Answer")


def ask_all(
    ask: Callable[[Sequence[int]], Sequence[Answer]], n_queries: int, nothing: Answer
) -> tuple[list[Answer], tuple[int, ...]]:
    """One answer per query, and which queries failed.

    Args:
        ask: Answers the queries with these indices, in this order.
        n_queries: How many there are.
        nothing: The answer of a query that failed.

    Raises:
        EvaluationError: If every query fails, or the number of answers is not that of the queries.
    """
    try:
        answers = ask(range(n_queries))
    except Exception as error:
        logger.warning("the search failed (%s: %s); trying each query alone", type(error).__name__, error)
        return _one_by_one(ask, n_queries, nothing)
    if len(answers) != n_queries:
        raise EvaluationError(
            f"The search returned {len(answers)} rankings for {n_queries} queries; it must be one each."
        )
    return list(answers), ()


def _one_by_one(
    ask: Callable[[Sequence[int]], Sequence[Answer]], n_queries: int, nothing: Answer
) -> tuple[list[Answer], tuple[int, ...]]:
    answers = [nothing] * n_queries
    failures: dict[int, Exception] = {}
    for index in range(n_queries):
        try:
            answers[index] = ask([index])[0]
        except Exception as error:
            failures[index] = error
    if len(failures) == n_queries:
        first = failures[0]
        raise EvaluationError(f"All {n_queries} searches failed. The first: {type(first).__name__}: {first}") from first
    logger.warning("%d of %d searches failed and count as not found", len(failures), n_queries)
    return answers, tuple(failures)
