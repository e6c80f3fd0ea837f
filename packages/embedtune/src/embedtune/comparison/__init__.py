"""Base and tuned model on the same questions: paired figures, a verdict, and its reasons."""

from embedtune.comparison.comparing import compare
from embedtune.comparison.rows import Comparison, ComparisonRow, Finding, SliceRow, Verdict
from embedtune.comparison.summarising import summarise

__all__ = ["Comparison", "ComparisonRow", "Finding", "SliceRow", "Verdict", "compare", "summarise"]
