"""LlamaIndex's LLMs as an `embedtune.BaseLLM`."""

from typing import TYPE_CHECKING, cast

from embedtune import BaseLLM, GenerationError

if TYPE_CHECKING:
    from llama_index.core.base.llms.base import BaseLLM as FrameworkLLM

__all__ = ["LlamaIndexLLM"]


class LlamaIndexLLM(BaseLLM):
    """Asks a LlamaIndex LLM: by chat where it is a chat model, else by completion.

    Args:
        llm: Any LLM of LlamaIndex.
    """

    def __init__(self, llm: "FrameworkLLM | object") -> None:
        self._llm = cast("FrameworkLLM", llm)

    def __repr__(self) -> str:
        return f"LlamaIndexLLM({type(self._llm).__name__})"

    def chat_completion(self, prompt: str) -> str:
        """Answer one user message.

        Raises:
            GenerationError: If the LLM raises, whatever it raises, or answers without text.
        """
        try:
            text = self._ask(prompt)
        except Exception as error:  # each integration has its own errors
            raise GenerationError(f"{type(self._llm).__name__} failed: {type(error).__name__}: {error}") from error
        if not text.strip():
            raise GenerationError(f"{type(self._llm).__name__} answered without text.")
        return text

    def _ask(self, prompt: str) -> str:
        if not self._llm.metadata.is_chat_model:
            return self._llm.complete(prompt).text
        from llama_index.core.base.llms.types import ChatMessage  # whoever has an LLM has it loaded

        return self._llm.chat([ChatMessage(role="user", content=prompt)]).message.content or ""
