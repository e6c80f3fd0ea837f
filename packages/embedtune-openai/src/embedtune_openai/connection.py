"""Where the requests go and with which key: one place that knows the key, and never shows it."""

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from pydantic import SecretStr

from embedtune.errors import EmbedtuneError

if TYPE_CHECKING:
    from openai import OpenAI

__all__ = ["Connection", "connect"]

OPENAI_BASE_URL = "https://api.openai.com/v1"
"""Where OpenAI's own client goes if nothing else is said."""

NO_KEY = "no-key"
"""Sent where there is no key: the client insists on one, local servers do not read it."""

_MISSING_KEY = (
    "There is no API key for OpenAI. Set the environment variable OPENAI_API_KEY, or give api_key=...; "
    'for a local server, which needs none, give its address: base_url="http://localhost:11434/v1".'
)

_SHOWN_CHARACTERS = 300


@dataclass(frozen=True, kw_only=True)
class Connection:
    """A server of OpenAI's API; it prints and pickles without its key. `connect` makes one."""

    base_url: str
    """As the client takes it, ending in ``/v1`` for most servers."""
    timeout: float
    """Seconds to wait for the server to go on."""
    max_retries: int
    """Repeats of a request that failed in a way that may heal."""
    key: SecretStr
    """Never shown, never pickled."""
    error: type[EmbedtuneError]
    """What is raised where the key is missing."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Connection":
        return self  # frozen, and a copy in this process needs the key

    def __getstate__(self) -> dict[str, Any]:
        # Neither the key nor the client, which holds it: a pickle is a file that somebody may read.
        names = ("base_url", "timeout", "max_retries", "error")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        key = SecretStr(_clean_key(os.environ.get("OPENAI_API_KEY")) or NO_KEY)
        self.__dict__.update(state, key=key)

    @property
    def place(self) -> str:
        """The server's address without a password in it, for messages and fingerprints."""
        parts = urlsplit(self.base_url)
        return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl().rstrip("/")

    @property
    def is_openai(self) -> bool:
        """Whether it is OpenAI or Azure OpenAI, and not another server of the same API."""
        return _is_openai(self.base_url)

    @cached_property
    def client(self) -> "OpenAI":
        """The client, made when the first request needs it."""
        if self.is_openai and self.key.get_secret_value() == NO_KEY:
            raise self.error(_MISSING_KEY)  # unpickled where the environment has no key
        from openai import OpenAI  # half a second

        return OpenAI(
            api_key=self.key.get_secret_value(),
            base_url=self.base_url,
            timeout=self.timeout,
            max_retries=self.max_retries,
        )

    def reason(self, error: BaseException) -> str:
        """Why a request failed, in one line, without the key.

        A connection error says only that it is one; what was wrong stands in its cause.
        """
        told = [str(error)]
        if error.__cause__ is not None and str(error.__cause__) not in told:
            told.append(f"{type(error.__cause__).__name__}: {error.__cause__}")
        return f"{type(error).__name__}: {self.shown(' '.join(told))}"

    def shown(self, text: str) -> str:
        """A server's text as a message may quote it: one line, cut, without the key."""
        key = self.key.get_secret_value()
        safe = text if key == NO_KEY else text.replace(key, "[the key]")
        line = " ".join(safe.split())
        return line if len(line) <= _SHOWN_CHARACTERS else line[:_SHOWN_CHARACTERS] + " ..."


def connect(
    base_url: str | None,
    api_key: str | None,
    timeout: float,
    max_retries: int,
    error: type[EmbedtuneError],
) -> Connection:
    """A connection by arguments, and by ``OPENAI_BASE_URL`` and ``OPENAI_API_KEY`` where they are None.

    Raises:
        EmbedtuneError: Of the type ``error``: no key for OpenAI, or a setting that cannot be meant.
    """
    base_url = base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_BASE_URL
    if urlsplit(base_url).scheme not in ("http", "https"):
        raise error(f"base_url must start with http:// or https://; got {base_url!r}.")
    if isinstance(timeout, bool) or not isinstance(timeout, int | float) or not timeout > 0:
        raise error(f"timeout must be a number of seconds above 0; got {timeout!r}.")
    if isinstance(max_retries, bool) or not isinstance(max_retries, int) or max_retries < 0:
        raise error(f"max_retries must be a whole number of at least 0; got {max_retries!r}.")
    key = _clean_key(api_key or os.environ.get("OPENAI_API_KEY"))
    if not key and _is_openai(base_url):
        raise error(_MISSING_KEY)
    if not key.isascii() or not key.isprintable() or " " in key:
        raise error("The API key holds characters that no key has (spaces, control or non-ASCII characters).")
    return Connection(
        base_url=base_url, timeout=timeout, max_retries=max_retries, key=SecretStr(key or NO_KEY), error=error
    )


def _clean_key(key: str | None) -> str:
    # A line end after a key that was read from a file would make a header of which the HTTP library's error
    # message quotes every character.
    return (key or "").strip()


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host.endswith((".openai.com", ".openai.azure.com")) or host == "openai.com"
