"""What this package offers to embedtune: ``openai:<model>`` as an LLM and as an embedder."""

from collections.abc import Iterable

from embedtune import BaseLLM, Embedder, hookimpl
from embedtune.plugins import EmbedderBackend, LLMBackend

__all__ = ["embedtune_embedders", "embedtune_llms"]


def _load_llm(ref: str, **options: object) -> BaseLLM:
    from embedtune_openai.llm import Openai

    return Openai(ref, **options)  # type: ignore[arg-type]  # checked there, by name and value


def _load_embedder(ref: str, **options: object) -> Embedder:
    from embedtune_openai.embedder import OpenAIEmbedder

    return OpenAIEmbedder(ref, **options)  # type: ignore[arg-type]  # checked there, by name and value


@hookimpl
def embedtune_llms() -> Iterable[LLMBackend]:
    """Chat models, as in ``openai:gpt-6-luna``."""
    yield LLMBackend(name="openai", load=_load_llm, summary="chat models behind OpenAI's API")


@hookimpl
def embedtune_embedders() -> Iterable[EmbedderBackend]:
    """Embedding models, as in ``openai:text-embedding-3-small``."""
    yield EmbedderBackend(name="openai", load=_load_embedder, summary="embedding models behind OpenAI's API")
