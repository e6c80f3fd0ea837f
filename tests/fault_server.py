"""A server of OpenAI's API on a real socket, on which much goes wrong on purpose.

In a test: ``with fault_server(Faults(rate_limited=0.05)) as server``, then ``server.url`` and ``server.log``.
In a process of its own: ``python tests/fault_server.py --latency 0.5 --log requests.jsonl`` prints the address;
`read_log` reads what it noted, also after a ``kill -9`` of either side. One thread carries all connections.
"""

import argparse
import asyncio
import contextlib
import dataclasses
import json
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fault_batches import Batches
from fault_model import ROUGH, Faults, Model, Outcome, chunk_number, content_hash, error_body, prompt_of

__all__ = ["ROUGH", "Entry", "FaultServer", "Faults", "fault_server", "read_log"]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True, kw_only=True)
class Entry:
    """What became of one request; it is noted when that is known."""

    at: float
    """`time.monotonic`, the same clock in every process of a machine, when the request had come in."""
    path: str
    """As in ``/v1/chat/completions``; ``/v1/batches#line`` for a request in a batch."""
    chunk: int | None
    """Number of the chunk that the prompt is about."""
    content: str
    """Hash of the messages; empty where there are none."""
    done: str
    """``answered``, ``prose``, ``cut``, ``refused`` (these cost money); ``rate_limited``, ``server_error``,
    ``insufficient_quota``, ``refused_format``, ``dropped``, ``dropped_early``, ``hung``, ``web_page``; ``gone``: the
    client left before the answer."""
    written_at: float | None
    """When the answer was written whole to the socket; None if it never was."""
    n_open: int
    """Requests without an answer when this one had come in, itself included."""


class FaultServer:
    """A running server. `faults` may be changed while it runs."""

    def __init__(self, faults: Faults, log_path: Path | None = None) -> None:
        self.url = ""
        """With ``/v1``, as clients take it."""
        self.log: list[Entry] = []
        self.model = Model(faults)
        self.batches = Batches(self.model, self._note_line)
        self.n_open = 0
        self.connections: set[asyncio.Transport] = set()
        self._tokens, self._refilled = 1.0, time.monotonic()
        self._file = log_path.open("a", encoding="utf-8") if log_path else None

    @property
    def faults(self) -> Faults:
        """What goes wrong."""
        return self.model.faults

    @faults.setter
    def faults(self, faults: Faults) -> None:
        self.model.faults = faults

    def done(self, *names: str) -> list[Entry]:
        """The chat requests that met one of these fates; all without names."""
        chats = [entry for entry in list(self.log) if entry.path.endswith("/chat/completions")]
        return [entry for entry in chats if not names or entry.done in names]

    def note(self, entry: Entry) -> None:
        """Note what became of a request, on disk at once."""
        self.log.append(entry)
        if self._file:
            self._file.write(json.dumps(asdict(entry)) + "\n")
            self._file.flush()

    def _note_line(self, body: dict[str, Any], done: str) -> None:
        now, told = time.monotonic(), {"path": "/v1/batches#line", "content": content_hash(body), "done": done}
        self.note(Entry(at=now, chunk=chunk_number(prompt_of(body)), written_at=now, n_open=self.n_open, **told))

    def outcome(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> tuple[Outcome, dict[str, Any]]:
        """What becomes of a request, and its body where that is a chat request's."""
        key = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("api-key", "")
        if self.faults.api_key is not None and key != self.faults.api_key:
            body = error_body(f"Incorrect API key provided: {key}.", "invalid_api_key")
            return Outcome(done="wrong_key", status=401, body=body), {}
        if method == "POST" and target.partition("?")[0].endswith("/chat/completions"):
            asked: dict[str, Any] = json.loads(raw)
            return self._limited() or self.model.answer(asked), asked
        found = self.batches.handle(method, target, headers.get("content-type", ""), raw)
        return found or Outcome(done="missing", status=404, body=error_body(f"Unknown request URL: {target}")), {}

    def _limited(self) -> Outcome | None:
        """A bucket of tokens, filled evenly, that holds those of one second."""
        rate, now = self.faults.per_second, time.monotonic()
        if rate is None:
            return None
        self._tokens = min(self._tokens + (now - self._refilled) * rate, max(rate, 1.0))
        self._refilled = now
        if self._tokens >= 1:
            self._tokens -= 1
            return None
        headers = {"retry-after-ms": f"{1000 * (1 - self._tokens) / rate:.0f}"}
        body = error_body("Rate limit reached for requests per second.", "rate_limit_exceeded")
        return Outcome(done="rate_limited", status=429, body=body, headers=headers)

    def rate_headers(self) -> dict[str, str]:
        """OpenAI's own, where they are wanted: what is left, and when all is there again."""
        if not self.faults.rate_headers:
            return {}
        rate = self.faults.per_second
        left = int(self._tokens) if rate else 999
        wait = (1 - self._tokens) / rate if rate and not left else 0.001
        return {"x-ratelimit-remaining-requests": str(left), "x-ratelimit-reset-requests": f"{1000 * wait:.0f}ms"}

    async def close(self) -> None:
        """Drop every connection, in the loop's thread."""
        for transport in list(self.connections):
            transport.abort()
        while self.connections:
            await asyncio.sleep(0)  # each notes what became of its request
        if self._file:
            self._file.close()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, by hand."""

    def __init__(self, server: FaultServer) -> None:
        self.server = server
        self.received = bytearray()
        self.pending: Entry | None = None
        self.timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.server.connections.discard(self.transport)
        if self.timer:
            self.timer.cancel()
        if self.pending:
            self._note("hung" if self.pending.done == "hung" else "gone", written=False)

    def data_received(self, data: bytes) -> None:
        self.received += data
        if self.pending is None:
            self._take_request()

    def _take_request(self) -> None:
        end = self.received.find(b"\r\n\r\n")
        if end < 0:
            return
        first, *lines = self.received[:end].decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = int(headers.get("content-length", 0))
        if len(self.received) < end + 4 + size:
            return
        raw = bytes(self.received[end + 4 : end + 4 + size])
        del self.received[: end + 4 + size]
        method, target, _ = first.split(" ")
        self._decide(method, target, headers, raw)

    def _decide(self, method: str, target: str, headers: dict[str, str], raw: bytes) -> None:
        now = time.monotonic()
        outcome, asked = self.server.outcome(method, target, headers, raw)
        self.server.n_open += 1
        self.pending = Entry(
            at=now,
            path=target.partition("?")[0],
            chunk=chunk_number(prompt_of(asked)),
            content=content_hash(asked) if asked else "",
            done=outcome.done,
            written_at=None,
            n_open=self.server.n_open,
        )
        if outcome.done == "hung":
            return
        delay = self.server.faults.latency if asked else 0.0
        if delay:
            self.timer = asyncio.get_running_loop().call_later(delay, self._answer, outcome)
        else:
            self._answer(outcome)

    def _answer(self, outcome: Outcome) -> None:
        self.timer = None
        if outcome.done == "dropped_early":
            self._note(outcome.done, written=False)
            self.transport.abort()
            return
        content = outcome.body if isinstance(outcome.body, bytes) else json.dumps(outcome.body).encode()
        headers = {"content-type": "application/json", **self.server.rate_headers(), **outcome.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        reason = _REASONS.get(outcome.status, "Error")
        head = f"HTTP/1.1 {outcome.status} {reason}\r\ncontent-length: {len(content)}\r\n{lines}\r\n".encode()
        if outcome.done == "dropped":
            self._note(outcome.done, written=False)
            self.transport.write(head + content[: len(content) // 2])
            self.transport.close()
            return
        # Noted before the client can see it, so that a test which has the answer finds it in the log. The write is
        # one call of send: a chat answer always fits into the socket's buffer.
        self._note(outcome.done, written=True)
        self.transport.write(head + content)
        if self.received:
            self._take_request()

    def _note(self, done: str, *, written: bool) -> None:
        assert self.pending
        self.server.n_open -= 1
        written_at = time.monotonic() if written else None
        self.server.note(dataclasses.replace(self.pending, done=done, written_at=written_at))
        self.pending = None


async def _serve(server: FaultServer, port: int, ready: threading.Event, stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    listener = await loop.create_server(lambda: _Connection(server), "127.0.0.1", port, backlog=1024)
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}/v1"
    ready.set()
    await stop.wait()
    listener.close()
    await server.close()


@contextlib.contextmanager
def fault_server(faults: Faults | None = None, log_path: Path | None = None, port: int = 0) -> Iterator[FaultServer]:
    """A server in this process, on a thread with a loop of its own."""
    server, ready, stop = FaultServer(faults or Faults(), log_path), threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=lambda: loop.run_until_complete(_serve(server, port, ready, stop)), daemon=True)
    thread.start()
    assert ready.wait(30)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(30)
        loop.close()


def read_log(path: Path) -> list[Entry]:
    """What a server noted, also while it runs; a line that is not whole yet is left out."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    return [Entry(**json.loads(line)) for line in lines if line.endswith("\n")]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", type=Path, help="file for a line of JSON per request")
    parser.add_argument("--rough", action="store_true", help="begin with the shares of ROUGH")
    for field in dataclasses.fields(Faults):
        option = f"--{field.name.replace('_', '-')}"
        if field.type is bool:
            parser.add_argument(option, action="store_true", default=argparse.SUPPRESS)
        elif field.type == frozenset[int]:
            parser.add_argument(option, type=int, nargs="*", default=argparse.SUPPRESS)
        else:
            whole = field.type in (int, int | None)
            parser.add_argument(
                option, type=str if "key" in option else int if whole else float, default=argparse.SUPPRESS
            )
    return parser.parse_args()


def main() -> None:
    """Serve until the process is ended."""
    given = vars(_arguments())
    port, log_path, base = given.pop("port"), given.pop("log"), ROUGH if given.pop("rough") else Faults()
    given = {name: frozenset(value) if isinstance(value, list) else value for name, value in given.items()}
    with fault_server(dataclasses.replace(base, **given), log_path, port) as server:
        sys.stdout.write(server.url + "\n")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait()


if __name__ == "__main__":
    main()
