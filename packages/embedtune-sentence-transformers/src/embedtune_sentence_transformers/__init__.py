"""Tune and use sentence-transformers models with embedtune.

Nothing here imports torch until a class is asked for.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embedtune_sentence_transformers.embedder import SentenceTransformerEmbedder
    from embedtune_sentence_transformers.exporting import export_adapter
    from embedtune_sentence_transformers.loss import MaskedInBatchLoss
    from embedtune_sentence_transformers.reranker import CrossEncoderReranker
    from embedtune_sentence_transformers.reranking.tuner import RerankerTuner
    from embedtune_sentence_transformers.tuner import SentenceTransformersTuner

__all__ = [
    "CrossEncoderReranker",
    "MaskedInBatchLoss",
    "RerankerTuner",
    "SentenceTransformerEmbedder",
    "SentenceTransformersTuner",
    "export_adapter",
]

_MODULES = {
    "CrossEncoderReranker": "reranker",
    "MaskedInBatchLoss": "loss",
    "RerankerTuner": "reranking.tuner",
    "SentenceTransformerEmbedder": "embedder",
    "SentenceTransformersTuner": "tuner",
    "export_adapter": "exporting",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
