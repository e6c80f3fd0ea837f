"""LangChain's chat and completion models as an `embedtune.BaseLLM`."""

from typing import TYPE_CHECKING, Any, cast

from embedtune.framework_llm import FrameworkLLM, field_of, finish_of, tokens_of
from embedtune.protocols import LLMAnswer

if TYPE_CHECKING:
    from langchain_core.language_models import BaseLanguageModel

__all__ = ["LangChainLLM"]

_ASYNC_METHODS = ("_agenerate", "_acall")
"""What an integration overrides where it can wait by itself; the framework's own wait on a few threads."""


class LangChainLLM(FrameworkLLM):
    """Asks a LangChain model, one request per prompt: by ``ainvoke`` where the model has an asynchronous way.

    Neither ``batch`` nor ``with_retry``: together they put one input's answer at another's place. Nor
    ``with_structured_output``, which gives None for an answer in prose.

    Args:
        model: A ``BaseChatModel``, or a model for completion.
    """

    def __init__(self, model: "BaseLanguageModel[Any] | object") -> None:
        super().__init__(model)
        self._model = cast("BaseLanguageModel[Any]", model)

    @property
    def is_async(self) -> bool:
        """Whether the integration overrides one of the framework's asynchronous methods."""
        owners = (owner for owner in type(self._model).__mro__ if not owner.__module__.startswith("langchain_core."))
        return any(name in vars(owner) for owner in owners for name in _ASYNC_METHODS)

    def ask(self, prompt: str) -> LLMAnswer:
        """By ``invoke``; for a chat model LangChain makes one ``HumanMessage`` of the prompt."""
        return _answer(self._model.invoke(prompt))

    async def ask_async(self, prompt: str) -> LLMAnswer:
        """By ``ainvoke``."""
        return _answer(await self._model.ainvoke(prompt))


def _answer(told: object) -> LLMAnswer:
    """Of a message, or of a completion model's str."""
    if isinstance(told, str):
        return LLMAnswer(text=told)
    metadata = field_of(told, "response_metadata")
    usage = field_of(metadata, "token_usage", "usage")
    read, written = tokens_of(field_of(told, "usage_metadata"), usage, metadata)
    is_refused = bool(field_of(field_of(told, "additional_kwargs"), "refusal"))
    return LLMAnswer(
        text=str(field_of(told, "text") or ""),
        prompt_tokens=read,
        completion_tokens=written,
        finish="content_filter" if is_refused else finish_of(metadata),
    )
