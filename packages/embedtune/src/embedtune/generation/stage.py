"""What the two ways of asking an LLM, one by one and in batches, have in common."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedtune.generation.journal import Journal
from embedtune.generation.options import Delivery
from embedtune.generation.prompting import Ask
from embedtune.generation.spend import Budget
from embedtune.protocols import LLMAnswer

__all__ = ["A", "StageRun"]

A = TypeVar("A", bound=Ask)


@dataclass(kw_only=True)
class StageRun(Generic[A]):
    """One stage of requests to one LLM."""

    delivery: Delivery
    """Concurrency, limits and retries, and whether to wait for a batch."""
    budget: Budget
    """Counts what is spent."""
    journal: Journal
    """Answers before, and keeps new answers."""
    stage: str
    """Name of the stage in the report."""
    take: Callable[[A, LLMAnswer], None]
    """Called with each answer, as it comes."""
    fail: Callable[[A, str], None]
    """Called with each ask that gets no answer, and its reason."""
    step: Callable[[], None]
    """Called after each ask, for a progress bar."""
