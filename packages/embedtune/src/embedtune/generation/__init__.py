"""Questions on chunks, written by an LLM: the engine behind `QADataset.from_llm`."""

from embedtune.generation.answers import parse_questions
from embedtune.generation.options import Delivery, Prices, QuestionQuality
from embedtune.generation.report import GenerationReport, StageSpend

__all__ = ["Delivery", "GenerationReport", "Prices", "QuestionQuality", "StageSpend", "parse_questions"]
