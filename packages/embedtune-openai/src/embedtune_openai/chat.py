"""A chat completion as it is asked for and as it is read: the same whether it goes alone or in a batch."""

import json
from collections.abc import Mapping
from typing import Any

from embedtune.errors import LLMRequestError
from embedtune.llm_failures import pause_of
from embedtune.protocols import LLMAnswer, LLMRequest
from embedtune_openai.connection import Connection

__all__ = ["ChatReader", "response_format"]

SCHEMA_NAME = "answer"
"""OpenAI wants a name for each schema; the model may read it."""


def response_format(request: LLMRequest) -> dict[str, Any]:
    """The body's field for what an answer should look like; empty where plain text will do."""
    if request.schema is not None:
        shape = {"name": SCHEMA_NAME, "strict": True, "schema": request.schema}
        return {"response_format": {"type": "json_schema", "json_schema": shape}}
    return {"response_format": {"type": "json_object"}} if request.json_object else {}


class ChatReader:
    """Reads what a server answered, without the client's own models.

    Those raise errors of pydantic or json for what is no chat completion, and of their own for an answer that is
    cut or refused; all of these cost money and are answers, or say what is wrong with the address.

    Args:
        connection: Where the answer comes from; messages name the place and hide the key.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def answer(self, text: str, headers: Mapping[str, str]) -> tuple[LLMAnswer, str | None]:
        """The answer in the text of an HTTP response, and the refusal if it is one.

        Raises:
            LLMRequestError: If it is no chat completion. A web page stops the run: the address is wrong. JSON that
                is cut may be whole at the next try.
        """
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        if body is None:
            is_page = text.lstrip().startswith("<")
            code, heals = ("no_chat_completion", None) if is_page else (None, True)
            raise self._no_completion(text, status=200, code=code, heals=heals)
        return self.answer_of(body, pause_of({name.lower(): value for name, value in headers.items()}))

    def answer_of(self, body: object, pause_seconds: float | None = None) -> tuple[LLMAnswer, str | None]:
        """The answer in a body, and the refusal if it is one.

        Raises:
            LLMRequestError: If the body is no chat completion, such as an error that came with status 200.
        """
        choices = body.get("choices") if isinstance(body, dict) else None
        if not isinstance(body, dict) or not isinstance(choices, list) or not choices:
            raise self._wrong_body(body)
        choice = choices[0] if isinstance(choices[0], dict) else {}
        message = choice.get("message")
        if not isinstance(message, dict):
            raise self._wrong_body(body)
        refusal = message.get("refusal")
        finish = "content_filter" if refusal else choice.get("finish_reason")
        usage = body.get("usage")
        answer = LLMAnswer(
            text="" if finish == "content_filter" else _text(message.get("content")),
            prompt_tokens=_count(usage, "prompt_tokens"),
            completion_tokens=_count(usage, "completion_tokens"),
            finish=finish if isinstance(finish, str) else None,
            pause_seconds=pause_seconds,
        )
        return answer, str(refusal) if refusal else None

    def error_of(self, body: object, status: int | None) -> LLMRequestError:
        """The error in a body, as OpenAI's API writes it."""
        error = body.get("error") if isinstance(body, dict) else None
        told = error if isinstance(error, dict) else {}
        code = told.get("code")
        # Gateways pass the status of the model's own server on as the code of an error with status 200.
        if isinstance(code, int) and 400 <= code < 600:
            status, code = code, told.get("type")
        message = self._connection.shown(str(told.get("message") or error or body))
        named = f" (status {status})" if status else ""
        return LLMRequestError(
            f"The server at {self._connection.place} answered with an error{named}: {message}",
            status=status,
            code=code if isinstance(code, str) else None,
            heals=True if status in (None, 200) else None,
        )

    def _wrong_body(self, body: object) -> LLMRequestError:
        if isinstance(body, dict) and body.get("error"):
            return self.error_of(body, 200)
        return self._no_completion(str(body), status=200, heals=True)

    def _no_completion(self, told: str, **attributes: Any) -> LLMRequestError:
        return LLMRequestError(
            f"The server at {self._connection.place} answered with no chat completion, but "
            f"{self._connection.shown(told)!r}. Most addresses end in /v1: check base_url.",
            **attributes,
        )


def _text(content: object) -> str:
    """The text of a message; of one in parts, those that are text."""
    if isinstance(content, list):
        return "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""


def _count(usage: object, name: str) -> int | None:
    value = usage.get(name) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
