"""In a notebook's kernel, whose event loop runs while a cell does."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from fault_server import Faults, fault_server

pytest.importorskip("ipykernel")
manager = pytest.importorskip("jupyter_client.manager")

CELL = """
import asyncio
from embedtune import QADataset
from embedtune_openai import Openai
from question_runs import pages
assert asyncio.get_running_loop().is_running()
llm = Openai("m", base_url={url!r}, api_key="none")
dataset = QADataset.from_llm(pages({n_chunks}), llm)
print(len(dataset), "questions")
"""


@pytest.fixture(scope="module")
def kernel() -> Iterator[Any]:
    """A kernel of this interpreter, and the client that talks to it."""
    started = manager.KernelManager()
    started.kernel_spec.argv[0] = sys.executable
    started.start_kernel(env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    client = started.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        yield client
    finally:
        client.stop_channels()
        started.shutdown_kernel(now=True)


def printed_by(kernel: Any, code: str) -> str:
    """What a cell writes to standard output, and the name of its error."""
    printed: list[str] = []

    def note(message: dict[str, Any]) -> None:
        content = message["content"]
        if message["msg_type"] == "stream" and content["name"] == "stdout":
            printed.append(content["text"])
        elif message["msg_type"] == "error":
            printed.append(f"{content['ename']}: {content['evalue']}")

    kernel.execute_interactive(code, timeout=60, output_hook=note)
    return "".join(printed)


def test_a_cell_writes_questions_and_so_does_the_next(kernel: Any) -> None:
    with fault_server() as server:
        for n_chunks in (6, 9):
            assert printed_by(kernel, CELL.format(url=server.url, n_chunks=n_chunks)) == f"{2 * n_chunks} questions\n"


def test_the_same_client_serves_cell_after_cell(kernel: Any) -> None:
    with fault_server() as server:
        printed_by(kernel, CELL.format(url=server.url, n_chunks=2))
        again = "print(len(QADataset.from_llm(pages(3), llm, progress=False)))"
        assert [printed_by(kernel, again) for _ in range(2)] == ["6\n", "6\n"]


def test_an_error_in_a_cell_is_ours(kernel: Any) -> None:
    with fault_server(Faults(quota_after=0)) as server:
        told = printed_by(kernel, CELL.format(url=server.url, n_chunks=3))
    assert told.startswith("LLMRequestError: ")
    assert "exceeded your current quota" in told
