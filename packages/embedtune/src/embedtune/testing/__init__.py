"""For authors of plugins: contract tests to inherit, and small deterministic parts to test with."""

from embedtune.testing.contracts import (
    DatasetFormatContract,
    EmbedderContract,
    LLMContract,
    RerankerContract,
    SearchContract,
    TextChunkContract,
    TunerContract,
)
from embedtune.testing.fakes import (
    CannedLLM,
    HashEmbedder,
    WordReranker,
    WordSearch,
    tiny_dataset,
    tiny_evaluation,
)

__all__ = [
    "CannedLLM",
    "DatasetFormatContract",
    "EmbedderContract",
    "HashEmbedder",
    "LLMContract",
    "RerankerContract",
    "SearchContract",
    "TextChunkContract",
    "TunerContract",
    "WordReranker",
    "WordSearch",
    "tiny_dataset",
    "tiny_evaluation",
]
