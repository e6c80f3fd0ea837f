"""Where the requests go and with which key: one place that knows the key, and never shows it."""

import asyncio
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from pydantic import SecretStr

from embedtune.errors import EmbedtuneError
from embedtune.llm_failures import reason_of, without_secrets

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

__all__ = ["Connection", "connect", "connect_client"]

OPENAI_BASE_URL = "https://api.openai.com/v1"
"""Where OpenAI's own client goes if nothing else is said."""

NO_KEY = "no-key"
"""Sent where there is no key: the client insists on one, local servers do not read it."""

_MISSING_KEY = (
    "There is no API key for OpenAI. Set the environment variable OPENAI_API_KEY, or give api_key=...; "
    'for a local server, which needs none, give its address: base_url="http://localhost:11434/v1".'
)

_THREADS = 64
"""As many requests at once go through a client that the user gave, which waits on threads."""


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
    given: "OpenAI | None" = None
    """A client that the user made; it is used in place of our own."""

    def __deepcopy__(self, memo: dict[int, Any]) -> "Connection":
        return self  # frozen, and a copy in this process needs the key

    def __getstate__(self) -> dict[str, Any]:
        if self.given is not None:
            raise self.error(
                f"A {type(self.given).__name__} that was given as client=... holds the key, so it is not pickled; "
                "give base_url=... in its place, or make the object anew where it is needed."
            )
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
        """The client, made when the first request needs it; it repeats what may heal."""
        if self.given is not None:
            return self.given
        from openai import OpenAI  # half a second

        return OpenAI(**self._settings(), max_retries=self.max_retries)

    @cached_property
    def single_try_client(self) -> "OpenAI":
        """The same without repeats, for those who count each request themselves."""
        return self.client.with_options(max_retries=0)

    @cached_property
    def threads(self) -> ThreadPoolExecutor:
        """Where `single_try_client` waits for a user's own client."""
        return ThreadPoolExecutor(_THREADS, thread_name_prefix="embedtune-openai")

    @cached_property
    def _async_clients(self) -> "WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncOpenAI]":
        return WeakKeyDictionary()

    @property
    def async_client(self) -> "AsyncOpenAI":
        """The client of the running event loop, without repeats.

        Its connections belong to that loop: in another one, or after it is closed, they would raise.
        """
        loop = asyncio.get_running_loop()
        if (found := self._async_clients.get(loop)) is None:
            from openai import AsyncOpenAI, DefaultAsyncHttpxClient  # half a second

            # The client's own HTTP client closes itself when it is collected, in whatever loop runs at that time.
            settings = self._settings()
            http_client = DefaultAsyncHttpxClient(timeout=self.timeout)
            found = AsyncOpenAI(**settings, max_retries=0, http_client=http_client)
            self._async_clients[loop] = found
        return found

    async def aclose(self) -> None:
        """Close what the running event loop opened; the next request opens it anew."""
        if (threads := self.__dict__.pop("threads", None)) is not None:
            threads.shutdown(wait=False)
        client = self._async_clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.close()

    def _settings(self) -> dict[str, Any]:
        key = self.key.get_secret_value()
        if self.is_openai and key == NO_KEY:
            raise self.error(_MISSING_KEY)  # unpickled where the environment has no key
        return {"api_key": key, "base_url": self.base_url, "timeout": self.timeout}

    @property
    def secrets(self) -> list[str]:
        """What no message may show."""
        key = self.key.get_secret_value()
        return [] if key == NO_KEY else [key]

    def reason(self, error: BaseException) -> str:
        """Why a request failed, in one line, without the key."""
        return reason_of(error, self.secrets)

    def shown(self, text: str) -> str:
        """A server's text as a message may quote it: one line, cut, without the key."""
        return without_secrets(text, self.secrets)


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


def connect_client(client: object, error: type[EmbedtuneError]) -> Connection:
    """A connection through a client that the user made, such as an ``AzureOpenAI``.

    Raises:
        EmbedtuneError: Of the type ``error``: it is no client, or one that is bound to an event loop.
    """
    from openai import OpenAI  # whoever has a client has it loaded

    if not isinstance(client, OpenAI):
        raise error(
            f"client must be an openai.OpenAI or openai.AzureOpenAI; got a {type(client).__name__}. An asynchronous "
            "client belongs to one event loop: give its synchronous sister, which is asked on threads."
        )
    timeout = client.timeout if isinstance(client.timeout, int | float) else 0.0  # else a Timeout of several parts
    return Connection(
        base_url=str(client.base_url),
        timeout=timeout,
        max_retries=client.max_retries,
        key=SecretStr(client.api_key or NO_KEY),
        error=error,
        given=client,
    )


def _clean_key(key: str | None) -> str:
    # A line end after a key that was read from a file would make a header of which the HTTP library's error
    # message quotes every character.
    return (key or "").strip()


def _is_openai(base_url: str) -> bool:
    host = urlsplit(base_url).hostname or ""
    return host.endswith((".openai.com", ".openai.azure.com")) or host == "openai.com"
