"""LangChain for embedtune: tuned models as its ``Embeddings``, and its objects as embedtune's own.

Nothing of LangChain is imported before `EmbedtuneEmbeddings`, `EmbedtuneReranker` or `finetune` is asked for: the
bridges for documents, embedding models, LLMs and retrievers are given its objects.
"""

from typing import TYPE_CHECKING

from langchain_embedtune.documents import text_chunk_of_document
from langchain_embedtune.embedder import LangChainEmbedder
from langchain_embedtune.llm import LangChainLLM
from langchain_embedtune.retriever import LangChainRetriever, LangChainStoreSearch

if TYPE_CHECKING:
    from langchain_embedtune.embeddings import EmbedtuneEmbeddings
    from langchain_embedtune.reranker import EmbedtuneReranker
    from langchain_embedtune.tuning import finetune

__all__ = [
    "EmbedtuneEmbeddings",
    "EmbedtuneReranker",
    "LangChainEmbedder",
    "LangChainLLM",
    "LangChainRetriever",
    "LangChainStoreSearch",
    "finetune",
    "text_chunk_of_document",
]


def __getattr__(name: str) -> object:
    if name == "EmbedtuneEmbeddings":
        from langchain_embedtune.embeddings import EmbedtuneEmbeddings  # langchain_core: half a second

        return EmbedtuneEmbeddings
    if name == "EmbedtuneReranker":
        from langchain_embedtune.reranker import EmbedtuneReranker  # as above

        return EmbedtuneReranker
    if name == "finetune":
        from langchain_embedtune.tuning import finetune  # as above

        return finetune
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
