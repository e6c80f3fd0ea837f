"""`Openai`: an LLM that writes questions, behind OpenAI's chat completions."""

from typing import TYPE_CHECKING, Any

from embedtune.errors import GenerationError
from embedtune.protocols import BaseLLM
from embedtune_openai.connection import connect

if TYPE_CHECKING:
    from openai.types.chat import ChatCompletion

__all__ = ["DEFAULT_MODEL", "Openai"]

DEFAULT_MODEL = "gpt-6-luna"
"""OpenAI's cheapest current model, and its named successor of gpt-4o-mini and gpt-4.1-mini."""


class Openai(BaseLLM):
    """An LLM of OpenAI, or of any server that speaks its API: Ollama, vLLM, llama.cpp, Azure.

    Args:
        model: Name of the model, as the server knows it.
        base_url: Address of another server; ``OPENAI_BASE_URL``, or OpenAI's own, if None.
        api_key: ``OPENAI_API_KEY`` if None. Other servers than OpenAI's get a placeholder if there is none.
            The key is never shown and never pickled.
        timeout: Seconds to wait for the server to go on, above 0.
        max_retries: Repeats of a request that failed in a way that may heal, at least 0.
        max_tokens: Upper bound on the tokens of an answer, reasoning included; None leaves it to the server.
        reasoning_effort: As the model takes it (``"none"``, ``"low"``, ...); None leaves it to the server.

    Raises:
        GenerationError: If there is no key for OpenAI, or a setting cannot be meant.

    >>> Openai("llama3.2", base_url="http://localhost:11434/v1")
    Openai(model='llama3.2', base_url='http://localhost:11434/v1')
    """

    def __init__(
        self,
        model: str = DEFAULT_MODEL,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = 120.0,
        max_retries: int = 2,
        *,
        max_tokens: int | None = None,
        reasoning_effort: str | None = None,
    ) -> None:
        if not isinstance(model, str) or not model.strip():
            raise GenerationError(f"model must be a model's name; got {model!r}.")
        if max_tokens is not None and max_tokens < 1:
            raise GenerationError(f"max_tokens must be at least 1; got {max_tokens!r}.")
        self.model = model
        self.max_tokens = max_tokens
        self.reasoning_effort = reasoning_effort
        self._connection = connect(base_url, api_key, timeout, max_retries, GenerationError)

    def __repr__(self) -> str:
        return f"Openai(model={self.model!r}, base_url={self._connection.place!r})"

    def chat_completion(self, prompt: str) -> str:
        """Answer one user message.

        An answer that was cut at the limit of tokens comes back as far as it went.

        Raises:
            GenerationError: If the server refuses, cannot be reached, or answers without text; the message
                names its reason.
        """
        return self._text(self._ask(prompt))

    def _ask(self, prompt: str) -> "ChatCompletion":
        from openai import OpenAIError

        try:
            completion: ChatCompletion = self._connection.client.chat.completions.create(
                model=self.model, messages=[{"role": "user", "content": prompt}], **self._options()
            )
            return completion
        except (OpenAIError, ValueError) as error:  # a ValueError: an answer that is no JSON, or of another shape
            reason = self._connection.reason(error)
        # Raised out here, so that the client's error is not chained to it: that holds the request with the key.
        raise GenerationError(f"The LLM {self.model!r} at {self._connection.place} did not answer: {reason}")

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {}
        if self.max_tokens is not None:
            # OpenAI's reasoning models refuse the old name; many local servers know only that one.
            name = "max_completion_tokens" if self._connection.is_openai else "max_tokens"
            options[name] = self.max_tokens
        if self.reasoning_effort is not None:
            options["reasoning_effort"] = self.reasoning_effort
        return options

    def _text(self, completion: object) -> str:
        choices = getattr(completion, "choices", None)
        if not choices:  # a web page, or an error with status 200
            told = getattr(completion, "error", None) or completion
            raise GenerationError(
                f"The server at {self._connection.place} answered with no chat completion, but "
                f"{self._connection.shown(str(told))!r}. Most addresses end in /v1: check base_url."
            )
        text = choices[0].message.content
        if text and text.strip():
            return str(text)
        refusal = getattr(choices[0].message, "refusal", None)
        why = f"; it refused: {self._connection.shown(refusal)!r}" if refusal else ""
        raise GenerationError(
            f"The LLM {self.model!r} answered without text (finish_reason {choices[0].finish_reason!r}{why})."
        )
