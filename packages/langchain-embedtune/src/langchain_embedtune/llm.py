"""LangChain's chat and completion models as an `embedtune.BaseLLM`."""

from typing import TYPE_CHECKING, Any, cast

from embedtune import BaseLLM, GenerationError

if TYPE_CHECKING:
    from langchain_core.language_models import BaseLanguageModel

__all__ = ["LangChainLLM"]


class LangChainLLM(BaseLLM):
    """Asks a LangChain model, one request per prompt.

    Args:
        model: A ``BaseChatModel``, or a model for completion.
    """

    def __init__(self, model: "BaseLanguageModel[Any] | object") -> None:
        self._model = cast("BaseLanguageModel[Any]", model)

    def __repr__(self) -> str:
        return f"LangChainLLM({type(self._model).__name__})"

    def chat_completion(self, prompt: str) -> str:
        """Answer one user message; of an answer in parts, those that are text.

        Raises:
            GenerationError: If the model raises, whatever it raises, or answers without text.
        """
        try:
            answer = self._model.invoke(prompt)  # for a chat model LangChain makes one HumanMessage of it
        except Exception as error:  # each integration has its own errors
            raise GenerationError(f"{type(self._model).__name__} failed: {type(error).__name__}: {error}") from error
        text = answer if isinstance(answer, str) else str(answer.text)
        if not text.strip():
            told = getattr(answer, "response_metadata", {}).get("finish_reason")
            raise GenerationError(f"{type(self._model).__name__} answered without text (finish_reason {told!r}).")
        return text
