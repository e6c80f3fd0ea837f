"""`Openai`: an LLM that writes questions, behind OpenAI's chat completions."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from embedtune.errors import GenerationError, LLMRequestError
from embedtune.llm_failures import llm_request_error
from embedtune.protocols import BaseLLM, BatchState, LLMAnswer, LLMRequest
from embedtune_openai.batch import Batches
from embedtune_openai.chat import ChatReader, response_format
from embedtune_openai.connection import connect, connect_client

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["DEFAULT_MODEL", "Openai"]

DEFAULT_MODEL = "gpt-6-luna"
"""OpenAI's cheapest current model, and its named successor of gpt-4o-mini and gpt-4.1-mini."""


class Openai(BaseLLM):
    """An LLM of OpenAI, or of any server that speaks its API: Ollama, vLLM, llama.cpp, Azure.

    It is an `embedtune.AsyncLLM`, and an `embedtune.BatchLLM` where the server takes batches.

    Args:
        model: Name of the model, as the server knows it; on Azure, of the deployment.
        base_url: Address of another server; ``OPENAI_BASE_URL``, or OpenAI's own, if None.
        api_key: ``OPENAI_API_KEY`` if None. Other servers than OpenAI's get a placeholder if there is none.
            The key is never shown and never pickled.
        timeout: Seconds to wait for the server to go on, above 0.
        max_retries: Repeats of a request that failed in a way that may heal, at least 0, for `chat_completion`
            and for batches; `acomplete` repeats nothing, since whoever calls it counts each request.
        max_tokens: Upper bound on the tokens of an answer, reasoning included; None leaves it to the server.
        temperature: Sampling temperature of requests that name none; None leaves it to the server.
        reasoning_effort: As the model takes it (``"none"``, ``"low"``, ...); None leaves it to the server.
        client: An ``openai.OpenAI`` or ``openai.AzureOpenAI``, for what the arguments above cannot say: an API
            version, Entra ID tokens, a proxy. It brings its own address, key, timeout and repeats, and is asked on
            up to 64 threads.

    Raises:
        GenerationError: If there is no key for OpenAI, or a setting cannot be meant.

    >>> Openai("llama3.2", base_url="http://localhost:11434/v1")
    Openai(model='llama3.2', base_url='http://localhost:11434/v1')
    """

    takes_max_tokens = True

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        *,
        max_tokens: int | None = None,
        temperature: float | None = None,
        reasoning_effort: str | None = None,
        client: "OpenAI | None" = None,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise GenerationError(f"model must be a model's name; got {model!r}.")
        if max_tokens is not None and max_tokens < 1:
            raise GenerationError(f"max_tokens must be at least 1; got {max_tokens!r}.")
        if temperature is not None and not temperature >= 0:
            raise GenerationError(f"temperature must be at least 0; got {temperature!r}.")
        if client is not None and (base_url or api_key):
            raise GenerationError("client brings its own address and key: leave base_url and api_key out.")
        self.model = model
        self.max_tokens = max_tokens
        self.temperature = temperature
        self.reasoning_effort = reasoning_effort
        if client is not None:
            self._connection = connect_client(client, GenerationError)
        else:
            self._connection = connect(base_url, api_key, timeout, max_retries, GenerationError)

    def __repr__(self) -> str:
        return f"Openai(model={self.model!r}, base_url={self._connection.place!r})"

    @property
    def fingerprint(self) -> str:
        """Model, address and settings that change an answer; never the key."""
        settings = {name: getattr(self, name) for name in ("max_tokens", "temperature", "reasoning_effort")}
        given = "".join(f", {name}={value!r}" for name, value in settings.items() if value is not None)
        return f"openai:{self.model} at {self._connection.place}{given}"

    def chat_completion(self, prompt: str) -> str:
        """Answer one user message.

        An answer that was cut at the limit of tokens comes back as far as it went.

        Raises:
            LLMRequestError: If the server refuses, cannot be reached, or answers without text; the message
                names its reason.
        """
        answer, refusal = self._ask(self._connection.client, self.request_body(LLMRequest(prompt=prompt)))
        if answer.text.strip():
            return answer.text
        why = f"; it refused: {self._connection.shown(refusal)!r}" if refusal else ""
        raise LLMRequestError(
            f"The LLM {self.model!r} answered without text (finish_reason {answer.finish!r}{why}).", heals=False
        )

    async def acomplete(self, request: LLMRequest) -> LLMAnswer:
        """Answer one request, without repeating it.

        A cut answer comes as far as it went, with finish ``length``; a refusal as an empty text, with finish
        ``content_filter``. Both tell their tokens: they cost money.

        Raises:
            LLMRequestError: If the server refuses, cannot be reached, is silent for longer than the timeout, or
                answers with something else than a chat completion.
        """
        body = self.request_body(request)
        if self._connection.given is not None:
            client, loop = self._connection.single_try_client, asyncio.get_running_loop()
            return (await loop.run_in_executor(self._connection.threads, self._ask, client, body))[0]
        try:
            raw = await self._connection.async_client.chat.completions.with_raw_response.create(**body)
        except GenerationError:
            raise
        except Exception as error:
            failure = self._failure(error)
        else:
            return ChatReader(self._connection).answer(raw.text, raw.headers)[0]
        # Raised out here, so that the client's error is not chained to it: that holds the request with the key.
        raise failure

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        await self._connection.aclose()

    def submit_batch(self, requests: Sequence[tuple[str, LLMRequest]], tag: str) -> tuple[str, int]:
        """As `embedtune.BatchLLM.submit_batch`: OpenAI answers within a day, at half the price."""
        return self._batches().submit(((key, self.request_body(request)) for key, request in requests), tag)

    def find_batch(self, tag: str) -> str | None:
        """As `embedtune.BatchLLM.find_batch`, among the server's newest thousand batches."""
        return self._batches().find(tag)

    def poll_batch(self, batch: str) -> BatchState:
        """As `embedtune.BatchLLM.poll_batch`."""
        return self._batches().poll(batch)

    def fetch_batch(self, batch: str) -> Iterator[tuple[str, LLMAnswer | LLMRequestError]]:
        """As `embedtune.BatchLLM.fetch_batch`; of a batch that expired or was cancelled, what was done till then."""
        return self._batches().fetch(batch)

    def request_body(self, request: LLMRequest) -> dict[str, Any]:
        """The JSON body that a request is sent as, alone or in a batch."""
        max_tokens = self.max_tokens if request.max_tokens is None else request.max_tokens
        options = {
            # OpenAI's reasoning models refuse the old name; many local servers know only that one.
            "max_completion_tokens" if self._connection.is_openai else "max_tokens": max_tokens,
            "temperature": self.temperature if request.temperature is None else request.temperature,
            "seed": request.seed,
            "reasoning_effort": self.reasoning_effort,
        }
        return {
            "model": self.model,
            "messages": [{"role": "user", "content": request.prompt}],
            **response_format(request),
            **{name: value for name, value in options.items() if value is not None},
        }

    def _ask(self, client: "OpenAI", body: dict[str, Any]) -> tuple[LLMAnswer, str | None]:
        try:
            raw = client.chat.completions.with_raw_response.create(**body)
        except Exception as error:
            failure = self._failure(error)
        else:
            return ChatReader(self._connection).answer(raw.text, raw.headers)
        raise failure  # out here, as in `acomplete`

    def _failure(self, error: Exception) -> LLMRequestError:
        reason = self._connection.reason(error)
        return llm_request_error(error, f"The LLM {self.model!r} at {self._connection.place} did not answer: {reason}")

    def _batches(self) -> Batches:
        return Batches(self._connection)
