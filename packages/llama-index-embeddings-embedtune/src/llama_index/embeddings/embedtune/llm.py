"""LlamaIndex's LLMs as an `embedtune.BaseLLM`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from embedtune.framework_llm import FrameworkLLM, field_of, finish_of, tokens_of
from embedtune.protocols import LLMAnswer

if TYPE_CHECKING:
    from llama_index.core.base.llms.base import BaseLLM as FrameworkBaseLLM
    from llama_index.core.base.llms.types import ChatMessage

__all__ = ["LlamaIndexLLM"]


class LlamaIndexLLM(FrameworkLLM):
    """Asks a LlamaIndex LLM: by chat where it is a chat model, else by completion; asynchronously where it can.

    Args:
        llm: Any LLM of LlamaIndex.
    """

    def __init__(self, llm: "FrameworkBaseLLM | object") -> None:
        super().__init__(llm)
        self._llm = cast("FrameworkBaseLLM", llm)

    @property
    def model_name(self) -> str | None:
        """As its metadata name it, or a field of the LLM."""
        name = self._llm.metadata.model_name
        return super().model_name if name in (None, "", "unknown") else name

    @property
    def is_async(self) -> bool:
        """Whether the integration has an asynchronous way; ``CustomLLM``'s own blocks the event loop."""
        name = "achat" if self._llm.metadata.is_chat_model else "acomplete"
        owner = next((owner for owner in type(self._llm).__mro__ if name in vars(owner)), None)
        return owner is not None and not owner.__module__.startswith("llama_index.core.")

    def ask(self, prompt: str) -> LLMAnswer:
        """By ``chat`` or ``complete``."""
        if self._llm.metadata.is_chat_model:
            return _answer(self._llm.chat(_messages(prompt)))
        return _answer(self._llm.complete(prompt))

    async def ask_async(self, prompt: str) -> LLMAnswer:
        """By ``achat`` or ``acomplete``."""
        if self._llm.metadata.is_chat_model:
            return _answer(await self._llm.achat(_messages(prompt)))
        return _answer(await self._llm.acomplete(prompt))


def _messages(prompt: str) -> "Sequence[ChatMessage]":
    from llama_index.core.base.llms.types import ChatMessage  # whoever has an LLM has it loaded

    return [ChatMessage(role="user", content=prompt)]


def _answer(told: object) -> LLMAnswer:
    """Of a chat's or a completion's response; ``raw`` is what the server's client gave, a dict or an object."""
    raw, extra, message = field_of(told, "raw"), field_of(told, "additional_kwargs"), field_of(told, "message")
    read, written = tokens_of(field_of(raw, "usage", "usage_metadata"), extra, raw)
    choices = field_of(raw, "choices", "candidates")
    first = choices[0] if isinstance(choices, Sequence) and choices else None
    text = field_of(message, "content") if message is not None else field_of(told, "text")
    is_refused = bool(field_of(field_of(first, "message"), "refusal"))
    finish = finish_of(first, raw, extra, field_of(message, "additional_kwargs"))
    return LLMAnswer(
        text=str(text or ""),
        prompt_tokens=read,
        completion_tokens=written,
        finish="content_filter" if is_refused else finish,
    )
