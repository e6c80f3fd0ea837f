"""Base and tuned model on the same questions: paired figures, a verdict, and its reasons."""

from embedtune.comparison.comparing import compare, summarise
from embedtune.comparison.rows import Comparison, ComparisonRow, Finding, SliceRow, Verdict

__all__ = ["Comparison", "ComparisonRow", "Finding", "SliceRow", "Verdict", "compare", "summarise"]
