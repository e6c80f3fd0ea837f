"""LLMs of LangChain and LlamaIndex over the wire, built as their integrations are: one client for each way.

Like those they never close their asynchronous client, and keep it for whatever event loop comes.
"""

from functools import cached_property
from typing import Any

import openai
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from llama_index.core.base.llms.types import ChatMessage, ChatResponse, CompletionResponse, LLMMetadata
from llama_index.core.llms import CustomLLM
from pydantic import SecretStr

__all__ = ["AsyncChat", "AsyncLlama"]


class AsyncChat(BaseChatModel):
    """A LangChain chat model with an asynchronous way of its own."""

    base_url: str
    api_key: SecretStr = SecretStr("sk-of-the-model-0123456789")
    model_name: str = "m"
    temperature: float = 0.5
    max_tokens: int | None = 100
    timeout: float = 60.0

    @property
    def _llm_type(self) -> str:
        return "http"

    @cached_property
    def _clients(self) -> tuple[openai.OpenAI, openai.AsyncOpenAI]:
        return _clients(self.api_key.get_secret_value(), self.base_url, self.timeout)

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        return _chat_result(self._clients[0].chat.completions.create(**_body(messages[0].text, self.max_tokens)))

    async def _agenerate(
        self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any
    ) -> ChatResult:
        return _chat_result(await self._clients[1].chat.completions.create(**_body(messages[0].text, self.max_tokens)))


class AsyncLlama(CustomLLM):
    """A LlamaIndex chat model with an asynchronous way of its own."""

    base_url: str
    api_key: str = "sk-of-the-model-0123456789"
    max_tokens: int | None = 100
    timeout: float = 60.0
    raw_as_dict: bool = False

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="llama", is_chat_model=True)

    @cached_property
    def _clients(self) -> tuple[openai.OpenAI, openai.AsyncOpenAI]:
        return _clients(self.api_key, self.base_url, self.timeout)

    def chat(self, messages: Any, **_: Any) -> ChatResponse:
        raw = self._clients[0].chat.completions.create(**_body(messages[0].content or "", self.max_tokens))
        return self._response(raw)

    async def achat(self, messages: Any, **_: Any) -> ChatResponse:
        raw = await self._clients[1].chat.completions.create(**_body(messages[0].content or "", self.max_tokens))
        return self._response(raw)

    def complete(self, prompt: str, formatted: bool = False, **_: Any) -> CompletionResponse:
        raise NotImplementedError

    def stream_complete(self, prompt: str, formatted: bool = False, **_: Any) -> Any:
        raise NotImplementedError

    def _response(self, raw: Any) -> ChatResponse:
        message = ChatMessage(role="assistant", content=raw.choices[0].message.content)
        return ChatResponse(message=message, raw=raw.model_dump() if self.raw_as_dict else raw)


def _clients(key: str, base_url: str, timeout: float) -> tuple[openai.OpenAI, openai.AsyncOpenAI]:
    settings: dict[str, Any] = {"api_key": key, "base_url": base_url, "timeout": timeout, "max_retries": 0}
    return openai.OpenAI(**settings), openai.AsyncOpenAI(**settings)


def _body(prompt: str, max_tokens: int | None) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": prompt}], "max_tokens": max_tokens}


def _chat_result(raw: Any) -> ChatResult:
    """As langchain-openai writes it."""
    choice = raw.choices[0]
    message = AIMessage(
        content=choice.message.content or "",
        additional_kwargs={"refusal": choice.message.refusal} if choice.message.refusal else {},
        response_metadata={"finish_reason": choice.finish_reason, "token_usage": raw.usage.model_dump()},
        usage_metadata={
            "input_tokens": raw.usage.prompt_tokens,
            "output_tokens": raw.usage.completion_tokens,
            "total_tokens": raw.usage.total_tokens,
        },
    )
    return ChatResult(generations=[ChatGeneration(message=message)])
