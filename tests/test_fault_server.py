"""The fault server keeps its own promises: tests lean on them."""

import http.client
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fault_server import ROUGH, Faults, fault_server, read_log

SCHEMA = {
    "type": "object",
    "properties": {
        "questions": {"type": "array", "items": {"type": "string"}, "minItems": 4},
        "keywords": {"type": "array", "items": {"type": "string"}, "minItems": 1},
    },
    "required": ["questions", "keywords"],
    "additionalProperties": False,
}


def ask(url: str, number: int, timeout: float = 60, **options: object) -> Any:
    """The whole answer to a prompt on one chunk."""
    prompt = f"This is chunk-number-{number}. Write 3 questions as lines or json."
    body = {"model": "m", "messages": [{"role": "user", "content": prompt}], **options}
    request = urllib.request.Request(f"{url}/chat/completions", json.dumps(body).encode())
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return json.load(answer)


def text(url: str, number: int, **options: object) -> str:
    return str(ask(url, number, **options)["choices"][0]["message"]["content"])


def fates(faults: Faults, order: list[int], timeout: float = 60) -> dict[int | None, list[str]]:
    """What became of requests on these chunks, per chunk in the order of time."""
    with fault_server(faults) as server:
        for number in order:
            try:
                ask(server.url, number, timeout)
            except (OSError, http.client.IncompleteRead):
                continue
    found: dict[int | None, list[str]] = {}
    for entry in sorted(server.log, key=lambda entry: entry.at):
        found.setdefault(entry.chunk, []).append(entry.done)
    return found


def test_as_many_questions_come_as_were_asked_for_each_with_its_number() -> None:
    with fault_server() as server:
        lines = text(server.url, 7).splitlines()
    assert len(set(lines)) == 3
    assert all("item 7 " in line and line.endswith("?") for line in lines)


def test_a_schema_is_followed() -> None:
    wanted = {"type": "json_schema", "json_schema": {"name": "q", "strict": True, "schema": SCHEMA}}
    with fault_server() as server:
        answer = json.loads(text(server.url, 7, response_format=wanted))
    assert [len(answer["questions"]), len(answer["keywords"])] == [4, 1]
    assert all(question.endswith("?") for question in answer["questions"])
    assert not answer["keywords"][0].endswith("?")


def test_what_a_prompt_meets_does_not_hang_on_the_order_of_requests() -> None:
    rough = Faults(rate_limited=0.3, server_error=0.2, dropped=0.2, prose=0.2)
    forth = fates(rough, [*range(20), *range(20)])
    assert forth == fates(rough, [*reversed(range(20)), *reversed(range(20))])
    assert len({done for each in forth.values() for done in each}) >= 5


def test_another_seed_is_another_day() -> None:
    assert fates(Faults(server_error=0.5), list(range(20))) != fates(Faults(server_error=0.5, seed=1), list(range(20)))


def test_a_chunk_fails_once_and_another_always() -> None:
    found = fates(Faults(fails_once=frozenset({1}), always_fails=frozenset({2})), [0, 1, 2, 1, 2])
    assert found == {0: ["answered"], 1: ["server_error", "answered"], 2: ["server_error", "server_error"]}


def test_prose_comes_once_for_a_chunk() -> None:
    assert fates(Faults(prose=1.0), [5, 5]) == {5: ["prose", "answered"]}


def test_the_quota_ends_every_request() -> None:
    found = fates(Faults(quota_after=2), [0, 1, 2])
    assert found == {0: ["answered"], 1: ["answered"], 2: ["insufficient_quota"]}


def test_more_requests_than_a_second_takes_are_limited() -> None:
    assert Counter(fates(Faults(per_second=0.01), [0, 1])[1]) == {"rate_limited": 1}


def test_a_hung_request_is_noted_when_its_client_gives_up() -> None:
    assert fates(Faults(hung=1.0), [0], timeout=0.2) == {0: ["hung"]}


def test_a_client_that_leaves_before_the_answer_is_noted_as_gone() -> None:
    assert fates(Faults(latency=60), [0], timeout=0.2) == {0: ["gone"]}


def test_a_lenient_schema_is_refused_where_it_should_be_strict() -> None:
    loose = {**SCHEMA, "additionalProperties": True}
    wanted = {"type": "json_schema", "json_schema": {"name": "q", "strict": True, "schema": loose}}
    with fault_server() as server, pytest.raises(urllib.error.HTTPError, match="400"):
        ask(server.url, 7, response_format=wanted)


def test_forty_connections_are_open_at_once() -> None:
    with fault_server(Faults(latency=60)) as server:
        address = ("127.0.0.1", int(server.url.split(":")[2].removesuffix("/v1")))
        body = b'{"messages": [{"content": "chunk-number-1"}]}'
        head = b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n" % len(body)
        clients = [socket.create_connection(address) for _ in range(40)]
        for client in clients:
            client.sendall(head + body)
        deadline = time.monotonic() + 30
        while server.n_open < 40 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert server.n_open == 40
        for client in clients:
            client.close()
    assert max(entry.n_open for entry in server.log) == 40


def test_its_log_outlives_a_killed_process(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fault_server.py")
    command = [sys.executable, str(script), "--rough", "--log", str(tmp_path / "log"), "--always-fails", "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        url = process.stdout.readline().strip()
        with pytest.raises(urllib.error.HTTPError, match="500"):
            ask(url, 2)
        process.send_signal(signal.SIGKILL)
    (entry,) = read_log(tmp_path / "log")
    assert (entry.chunk, entry.done) == (2, "server_error")
    assert entry.written_at is not None
    assert entry.written_at >= entry.at


def test_a_bad_day_is_a_sixth_of_all_requests() -> None:
    rough = ROUGH.rate_limited + ROUGH.server_error + ROUGH.dropped + ROUGH.hung + ROUGH.prose + ROUGH.cut
    assert rough + ROUGH.refused == pytest.approx(0.16)
