"""What a failed request to an LLM means: read off the errors of any client library, without importing one."""

import email.utils
import math
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from embedtune.errors import LLMRequestError

__all__ = [
    "Failure",
    "failure_kind",
    "llm_request_error",
    "pause_of",
    "reason_of",
    "retry_after_of",
    "secrets_of",
    "without_secrets",
]

Failure = Literal["heals", "chunk", "stop"]
"""Try again; give this request up; give the whole run up."""

_HEALING_STATUS = frozenset({408, 409, 425, 429})
_NEVER_HEALS = frozenset(
    {"insufficient_quota", "billing_hard_limit_reached", "account_deactivated", "no_chat_completion"}
)
"""The last is ours: a web page with status 200, so the address is wrong."""
_ONE_REQUEST = frozenset(
    {
        "content_filter",
        "content_policy_violation",
        "context_length_exceeded",
        "exceed_context_size_error",
        "invalid_prompt",
        "string_above_max_length",
    }
)
"""Codes of OpenAI, Azure and llama.cpp for a 400 that is about this one text, not about the whole run."""

_TOO_LONG = re.compile(r"context.{0,20}(length|size|window)|too (long|large)|maximum.{0,20}tokens", re.IGNORECASE)
_UNREACHABLE = re.compile(
    r"connection refused|errno (111|61|10061)\]|name or service not known|nodename nor servname"
    r"|failure in name resolution|no route to host",
    re.IGNORECASE,
)
_KEY = re.compile(r"\bsk-[\w-]{8,}|(?<=Bearer )[\w.~+/=-]{16,}")
"""What can only be a key, whosever it is."""
_KEY_NAME = re.compile(r"api_?key|token$|secret|password", re.IGNORECASE)
_SHOWN_CHARACTERS = 300
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def failure_kind(error: LLMRequestError) -> Failure:
    """What to do after a failed request.

    Timeouts, dropped connections and the statuses 408, 409, 425, 429 and 5xx can heal; a used-up quota and the
    other 4xx cannot, and the next request would fail alike, but for a text that is too long or that a filter
    refuses.

    >>> failure_kind(LLMRequestError("slow down", status=429))
    'heals'
    >>> failure_kind(LLMRequestError("no money", status=429, code="insufficient_quota"))
    'stop'
    >>> failure_kind(LLMRequestError("too long", status=400, code="context_length_exceeded"))
    'chunk'
    """
    if error.code in _NEVER_HEALS:
        return "stop"
    if error.heals is not None:
        return "heals" if error.heals else "chunk"
    status = error.status
    if status is None or status in _HEALING_STATUS or status >= 500:
        return "chunk" if status == 501 else "heals"
    if error.code in _ONE_REQUEST or status == 413 or (status == 400 and _TOO_LONG.search(str(error))):
        return "chunk"
    return "stop" if 400 <= status < 500 else "chunk"


def llm_request_error(error: BaseException, message: str) -> LLMRequestError:
    """The error of any client library as one of ours, by the attributes that they share.

    Args:
        error: What was raised; its causes are looked at too. ``status_code`` or ``status``, ``code``, and the
            ``headers`` of it or of its ``response`` are read where they are there.
        message: The new message. The caller keeps keys out of it.
    """
    if isinstance(error, LLMRequestError):
        return error
    chain = list(_chain(error))
    status = next((found for link in chain if (found := _status(link)) is not None), None)
    code = next((found for link in chain if isinstance(found := getattr(link, "code", None), str)), None)
    headers = next((told for link in chain if (told := _headers(link))), {})
    return LLMRequestError(
        message,
        status=status,
        code=code,
        retry_after=retry_after_of(headers),
        heals=None if status is not None else _heals(chain),
        unreachable=status is None and any(_UNREACHABLE.search(str(link)) for link in chain),
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for holder, name in ((error, "status_code"), (error, "status"), (error, "http_status"), (response, "status_code")):
        value = getattr(holder, name, None)
        if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:
            return value
    return None


def _headers(error: BaseException) -> Mapping[str, str]:
    headers: Any = getattr(getattr(error, "response", error), "headers", None)
    return {str(name).lower(): str(value) for name, value in headers.items()} if hasattr(headers, "items") else {}


def _heals(chain: list[BaseException]) -> bool | None:
    """None (heals) for what looks like the network; False for a mistake in somebody's code."""
    mistakes: tuple[type[Exception], ...] = (TypeError, AttributeError, NameError, LookupError, ImportError)
    mistakes += (NotImplementedError, AssertionError, UnicodeError)  # the last: half a surrogate pair in the text
    return False if isinstance(chain[0], mistakes) else None


def reason_of(error: BaseException, secrets: Iterable[str] = ()) -> str:
    """Why a request failed, in one line of bounded length and without a key, for `llm_request_error`.

    A connection error says only that it is one: where no status came, the first cause is told too.

    >>> reason_of(ValueError("key sk-0123456789abc is wrong"))
    'ValueError: key [the key] is wrong'
    """
    chain = list(_chain(error))
    told = str(error)
    first = next((link for link in reversed(chain) if isinstance(link, Exception) and str(link)), error)
    if str(first) not in told and all(_status(link) is None for link in chain):
        told += f" {type(first).__name__}: {first}"
    return f"{type(error).__name__}: {without_secrets(told, secrets)}"


def without_secrets(text: str, secrets: Iterable[str] = ()) -> str:
    """A server's text as a message may quote it: one line, cut, without these secrets and what looks like a key."""
    for secret in secrets:
        text = text.replace(secret, "[the key]")
    line = " ".join(_KEY.sub("[the key]", text).split())
    return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + " ..."


def secrets_of(holder: object) -> list[str]:
    """The keys that a framework's model holds: its attributes of pydantic's `SecretStr`, or with a key's name.

    >>> secrets_of(type("Model", (), {"__init__": lambda self: setattr(self, "api_key", "0123abcd")})())
    ['0123abcd']
    """
    found = []
    for name, value in getattr(holder, "__dict__", {}).items():
        if hasattr(value, "get_secret_value"):
            value = value.get_secret_value()
        elif not _KEY_NAME.search(name):
            continue
        # A shorter one is a placeholder ("none", "ollama"), and would be struck out of ordinary words.
        if isinstance(value, str) and len(value) >= 8:
            found.append(value)
    return found


def retry_after_of(headers: Mapping[str, str]) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``retry-after`` (seconds or a date); None if neither can be read.

    Args:
        headers: Of an HTTP answer, names in lower case.

    >>> retry_after_of({"retry-after": "2"}), retry_after_of({"retry-after-ms": "250"}), retry_after_of({})
    (2.0, 0.25, None)
    """
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        if (seconds := _number(headers.get(name))) is not None:
            return seconds * unit
    try:
        moment = email.utils.parsedate_to_datetime(headers.get("retry-after", ""))
    except (TypeError, ValueError):
        return None
    return max(moment.timestamp() - time.time(), 0.0)


def pause_of(headers: Mapping[str, str]) -> float | None:
    """Seconds until the server takes the next request, where its rate headers say that none is left.

    Args:
        headers: Of an HTTP answer, names in lower case; OpenAI's ``x-ratelimit-remaining-requests`` and
            ``x-ratelimit-reset-requests``, and the same for tokens.

    >>> pause_of({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "1m2.5s"})
    62.5
    """
    pauses = [
        pause
        for kind in ("requests", "tokens")
        if _number(headers.get(f"x-ratelimit-remaining-{kind}")) == 0
        and (pause := _span(headers.get(f"x-ratelimit-reset-{kind}"))) is not None
    ]
    return max(pauses, default=None)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _span(text: str | None) -> float | None:
    """Seconds in ``6m0s``, ``250ms`` or ``1.5``."""
    if (value := _number(text)) is not None:
        return value
    parts = _SPAN.findall(text or "")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts) if parts else None
