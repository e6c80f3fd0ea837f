"""What the bridges to frameworks' LLMs share: waiting, errors without keys, and reading what an answer cost."""

import asyncio
import functools
import os
import threading
from abc import abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

from embedtune.errors import LLMRequestError
from embedtune.llm_failures import llm_request_error, reason_of, secrets_of
from embedtune.protocols import BaseLLM, LLMAnswer, LLMRequest

__all__ = ["FrameworkLLM", "field_of", "finish_of", "frameworks_loop", "tokens_of"]

_THREADS = 64
"""As many requests at once go to a model that has no asynchronous way of its own."""

_MODEL_NAMES = ("model_name", "model", "model_id", "deployment_name", "repo_id")
_BOUNDS = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens", "num_predict")
_SETTINGS = ("temperature", "top_p", "seed", "reasoning_effort", *_BOUNDS)

_PROMPT_TOKENS = ("input_tokens", "prompt_tokens", "prompt_eval_count", "prompt_token_count")
_ANSWER_TOKENS = ("output_tokens", "completion_tokens", "eval_count", "candidates_token_count")
_FINISH_FIELDS = ("finish_reason", "stop_reason", "done_reason", "finishReason", "stopReason")
_FINISHES = {
    "stop": ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "complete"),
    "length": ("length", "max_tokens", "model_length", "model_context_window_exceeded"),
    "content_filter": ("content_filter", "refusal", "safety", "recitation", "prohibited_content", "blocklist"),
}
"""OpenAI's words, and for each those of the other makers in lower case."""


class FrameworkLLM(BaseLLM):
    """A framework's model as an `AsyncLLM`; a bridge says how it is asked, and how its answer is read.

    Only the prompt of an `LLMRequest` reaches the model: schema, bound, temperature and seed are named differently
    by each integration, so the model's own settings hold. Nothing is repeated here but by the model itself.

    Args:
        model: The framework's model.
    """

    def __init__(self, model: object) -> None:
        self._thing = model
        bounds = (getattr(model, name, None) for name in _BOUNDS)
        self.max_tokens = next((bound for bound in bounds if isinstance(bound, int) and bound > 0), None)
        self._threads: ThreadPoolExecutor | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({type(self._thing).__name__})"

    @property
    def fingerprint(self) -> str:
        """The model's class, its name, and the settings known to change an answer."""
        kind = type(self._thing)
        settings = {name: getattr(self._thing, name, None) for name in _SETTINGS}
        told = "".join(
            f", {name}={value!r}" for name, value in settings.items() if isinstance(value, str | int | float)
        )
        return f"{kind.__module__}.{kind.__qualname__}({self.model_name!r}{told})"

    @property
    def model_name(self) -> str | None:
        """The model's name, where it tells one."""
        names = (getattr(self._thing, name, None) for name in _MODEL_NAMES)
        return next((name for name in names if isinstance(name, str) and name), None)

    @property
    @abstractmethod
    def is_async(self) -> bool:
        """Whether the model waits for many answers at once by itself, without a thread for each."""

    @abstractmethod
    def ask(self, prompt: str) -> LLMAnswer:
        """Ask and read; any error may leave."""

    @abstractmethod
    async def ask_async(self, prompt: str) -> LLMAnswer:
        """The same by the framework's asynchronous way."""

    def chat_completion(self, prompt: str) -> str:
        """Answer one user message; of an answer in parts, those that are text.

        Raises:
            LLMRequestError: If the model raises, whatever it raises, or answers without text.
        """
        answer = self._asked(prompt)
        if not answer.text.strip():
            name = type(self._thing).__name__
            raise LLMRequestError(f"{name} answered without text (finish_reason {answer.finish!r}).", heals=False)
        return answer.text

    async def acomplete(self, request: LLMRequest) -> LLMAnswer:
        """Answer one request's prompt, in the model's own asynchronous way or on a thread.

        Raises:
            LLMRequestError: If the model raises, whatever it raises.
        """
        if not self.is_async:
            self._threads = self._threads or ThreadPoolExecutor(_THREADS, thread_name_prefix="embedtune-llm")
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._asked, request.prompt)
        asked = asyncio.run_coroutine_threadsafe(self.ask_async(request.prompt), frameworks_loop())
        try:
            return await asyncio.wrap_future(asked)
        except Exception as error:  # each integration has its own errors
            failure = self._failure(error)
        # Raised out here, so that the framework's error is not chained to it: that may hold the request with a key.
        raise failure

    async def aclose(self) -> None:
        """End the threads; the model's own connections are its owner's."""
        if self._threads is not None:
            self._threads.shutdown(wait=False)
            self._threads = None

    def _asked(self, prompt: str) -> LLMAnswer:
        try:
            return self.ask(prompt)
        except Exception as error:  # each integration has its own errors
            failure = self._failure(error)
        raise failure  # out here, as in `acomplete`

    def _failure(self, error: Exception) -> LLMRequestError:
        reason = reason_of(error, secrets_of(self._thing))
        return llm_request_error(error, f"{type(self._thing).__name__} failed: {reason}")


_LOOP_LOCK = threading.Lock()


def frameworks_loop() -> asyncio.AbstractEventLoop:
    """The event loop in which every framework's object of this process is asked, in a thread of its own.

    Their asynchronous clients belong to the loop that used them first, and nobody closes them. With a loop for each
    run, the second one would find connections of a closed loop, and fail once for each: "Event loop is closed".
    """
    with _LOOP_LOCK:
        return _loop_of(os.getpid())


@functools.cache
def _loop_of(process: int) -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True, name=f"embedtune-frameworks-{process}").start()
    return loop


def field_of(holder: object, *names: str) -> object:
    """The first field of one of these names that is there and not None, in a mapping or in an object.

    >>> field_of({"usage": {"input_tokens": 3}}, "token_usage", "usage")
    {'input_tokens': 3}
    """
    for name in names:
        value = holder.get(name) if isinstance(holder, Mapping) else getattr(holder, name, None)
        if value is not None:
            return value
    return None


def tokens_of(*holders: object) -> tuple[int | None, int | None]:
    """Tokens read and written, from the first mapping or object that tells either, under any maker's names.

    >>> tokens_of(None, {"prompt_tokens": 12, "completion_tokens": 5})
    (12, 5)
    """
    for holder in holders:
        counts = tuple(field_of(holder, *names) for names in (_PROMPT_TOKENS, _ANSWER_TOKENS))
        read, written = (count if isinstance(count, int) else None for count in counts)
        if read is not None or written is not None:
            return read, written
    return None, None


def finish_of(*holders: object) -> str | None:
    """Why an answer ended, in OpenAI's words, from the first mapping or object that tells it.

    >>> finish_of({"stop_reason": "max_tokens"}), finish_of({"finish_reason": "SAFETY"})
    ('length', 'content_filter')
    """
    for holder in holders:
        told = field_of(holder, *_FINISH_FIELDS)
        told = getattr(told, "name", told)  # Google's is an enum
        if isinstance(told, str) and told:
            word = told.lower()
            return next((ours for ours, theirs in _FINISHES.items() if word in theirs), word)
    return None
