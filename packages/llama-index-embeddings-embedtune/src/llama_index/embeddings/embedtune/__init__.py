"""LlamaIndex for embedtune: its fine-tuning engine, tuned models as embeddings, and its objects as embedtune's own.

Nothing of LlamaIndex is imported before `EmbedtuneEmbedding` or `EmbedtuneRerank` is asked for: the bridges are given
its objects.
"""

from typing import TYPE_CHECKING

from llama_index.embeddings.embedtune.adapter_engine import EmbeddingAdapterFinetuneEngine
from llama_index.embeddings.embedtune.cross_encoder import CrossEncoderFinetuneEngine
from llama_index.embeddings.embedtune.embedder import LlamaIndexEmbedder
from llama_index.embeddings.embedtune.engine import BaseEmbeddingFinetuneEngine, SentenceTransformersFinetuneEngine
from llama_index.embeddings.embedtune.labelled_samples import CrossEncoderFinetuningDatasetSample
from llama_index.embeddings.embedtune.llm import LlamaIndexLLM
from llama_index.embeddings.embedtune.nodes import MetadataModeName, text_chunk_of_node
from llama_index.embeddings.embedtune.qa_dataset import EmbeddingQAFinetuneDataset, as_qa_dataset
from llama_index.embeddings.embedtune.questions import DEFAULT_QA_GENERATE_PROMPT_TMPL, generate_qa_embedding_pairs
from llama_index.embeddings.embedtune.retriever import LlamaIndexRetriever

if TYPE_CHECKING:
    from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding
    from llama_index.embeddings.embedtune.rerank import EmbedtuneRerank

__all__ = [
    "DEFAULT_QA_GENERATE_PROMPT_TMPL",
    "BaseEmbeddingFinetuneEngine",
    "CrossEncoderFinetuneEngine",
    "CrossEncoderFinetuningDatasetSample",
    "EmbeddingAdapterFinetuneEngine",
    "EmbeddingQAFinetuneDataset",
    "EmbedtuneEmbedding",
    "EmbedtuneRerank",
    "LlamaIndexEmbedder",
    "LlamaIndexLLM",
    "LlamaIndexRetriever",
    "MetadataModeName",
    "SentenceTransformersFinetuneEngine",
    "as_qa_dataset",
    "generate_qa_embedding_pairs",
    "text_chunk_of_node",
]


def __getattr__(name: str) -> object:
    if name == "EmbedtuneRerank":
        from llama_index.embeddings.embedtune.rerank import EmbedtuneRerank  # as below

        return EmbedtuneRerank
    if name == "EmbedtuneEmbedding":
        from llama_index.embeddings.embedtune.embedding import EmbedtuneEmbedding  # llama_index.core: seconds

        return EmbedtuneEmbedding
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
