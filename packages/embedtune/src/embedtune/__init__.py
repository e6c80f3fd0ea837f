"""embedtune: tune the embedding model of a RAG application on its own chunks, and prove whether it helps.

>>> import embedtune
>>> from embedtune.testing import HashEmbedder, tiny_dataset
>>> embedtune.evaluate(HashEmbedder(), tiny_dataset()).hit_rate
1.0
"""

from embedtune.adapter.query_adapter import AdaptedEmbedder, QueryAdapter
from embedtune.chunks import TextChunk
from embedtune.cleaning_report import CleaningReport
from embedtune.comparison import Comparison, ComparisonRow, Finding, SliceRow, compare
from embedtune.dataset import QADataset
from embedtune.errors import (
    BackendNotFoundError,
    BatchPendingError,
    BudgetExceededError,
    DatasetError,
    EmbeddingError,
    EmbedtuneError,
    EvaluationError,
    GenerationError,
    LLMRequestError,
    ModelFolderError,
    ModelNotFoundError,
    PluginConflictError,
    PluginError,
    PluginLoadError,
    TuningError,
)
from embedtune.evaluation import Evaluation, evaluate, evaluate_dims
from embedtune.gate import GateResult, gate
from embedtune.generation import GenerationReport, Prices, QuestionQuality
from embedtune.generation.estimate import SpendEstimate, estimate
from embedtune.plugins import PluginManager, TrainingEvent, hookimpl, plugin_manager
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from embedtune.protocols import (
    AsyncLLM,
    BaseLLM,
    BatchLLM,
    BatchState,
    Embedder,
    LLMAnswer,
    LLMRequest,
    Reranker,
    Retrieved,
    Retriever,
    Search,
)
from embedtune.records import ModelRecord, read_record
from embedtune.resolve import as_embedder
from embedtune.search import ExactSearch
from embedtune.sources import read_chunks
from embedtune.splitting import LeakReport, Split, leaks
from embedtune.tuner import BaseEmbeddingTuner, TuneResult, tune
from embedtune.tuning_estimate import TuningEstimate, estimate_tuning

__version__ = "0.1.0"

__all__ = [
    "DEFAULT_PROMPT_TMPL",
    "AdaptedEmbedder",
    "AsyncLLM",
    "BackendNotFoundError",
    "BaseEmbeddingTuner",
    "BaseLLM",
    "BatchLLM",
    "BatchPendingError",
    "BatchState",
    "BudgetExceededError",
    "CleaningReport",
    "Comparison",
    "ComparisonRow",
    "DatasetError",
    "Embedder",
    "EmbeddingError",
    "EmbedtuneError",
    "Evaluation",
    "EvaluationError",
    "ExactSearch",
    "Finding",
    "GateResult",
    "GenerationError",
    "GenerationReport",
    "LLMAnswer",
    "LLMRequest",
    "LLMRequestError",
    "LeakReport",
    "ModelFolderError",
    "ModelNotFoundError",
    "ModelRecord",
    "PluginConflictError",
    "PluginError",
    "PluginLoadError",
    "PluginManager",
    "Prices",
    "QADataset",
    "QueryAdapter",
    "QuestionQuality",
    "Reranker",
    "Retrieved",
    "Retriever",
    "Search",
    "SliceRow",
    "SpendEstimate",
    "Split",
    "TextChunk",
    "TrainingEvent",
    "TuneResult",
    "TuningError",
    "TuningEstimate",
    "as_embedder",
    "compare",
    "estimate",
    "estimate_tuning",
    "evaluate",
    "evaluate_dims",
    "gate",
    "hookimpl",
    "leaks",
    "plugin_manager",
    "read_chunks",
    "read_record",
    "tune",
]
