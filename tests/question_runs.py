"""Runs of the question engine: over real sockets, in this process or in one of its own, and what must hold of each.

In a process of its own: ``python tests/question_runs.py '{"url": ..., "chunks": 50, "journal": ...}'``.
"""

import contextlib
import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from embedtune import QADataset, TextChunk
from embedtune.errors import GenerationError
from embedtune_openai import Openai
from fault_server import FaultServer
from fault_texts import answer_text
from servers import Reply, Request, chat_answer

__all__ = [
    "KEY",
    "answer_to",
    "answers",
    "chunk_of",
    "in_process",
    "in_that_process",
    "openai_at",
    "own_questions",
    "pages",
    "paid_twice",
    "prompt_in",
    "said",
    "shape",
    "unaccounted",
    "write",
]

KEY = "sk-engine-0123456789abcdef"


def pages(n_chunks: int, start: int = 0) -> list[TextChunk]:
    """Chunks that the fault server's model writes questions on, each with its own number in them."""
    numbers = range(start, start + n_chunks)
    return [TextChunk(f"This page is on chunk-number-{i}.", f"c{i}", {"document_id": f"d{i // 10}"}) for i in numbers]


def openai_at(url: str, **options: Any) -> Openai:
    """The LLM of a server, with a key that must not be seen anywhere."""
    return Openai(**{"model": "m", "base_url": url, "api_key": KEY, "timeout": 10.0, **options})


def write(server: FaultServer, n_chunks: int, llm: Openai | None = None, **options: Any) -> QADataset:
    """A data set on the first so many pages."""
    return QADataset.from_llm(pages(n_chunks), llm or openai_at(server.url), progress=False, **options)


def shape(dataset: QADataset) -> tuple[dict[str, str], dict[str, list[str]], dict[str, str]]:
    """All that must be equal in two equal runs; the order counts."""
    return dict(dataset.queries), dict(dataset.relevant_docs), dict(dataset.styles)


def own_questions(dataset: QADataset) -> list[str]:
    """The questions whose number is another than that of a chunk they stand on."""
    wrong = []
    for query, chunks in dataset.relevant_docs.items():
        (number,) = re.findall(r"item (\d+)", dataset.queries[query])
        if {f"c{number}"} != set(chunks):
            wrong.append(dataset.queries[query])
    return wrong


def unaccounted(dataset: QADataset) -> set[str]:
    """The chunks that have neither a question nor a reason, and those that have both."""
    with_question = {chunk for chunks in dataset.relevant_docs.values() for chunk in chunks}
    assert dataset.report is not None
    failed = set(getattr(dataset.report, "failures", {}))
    return set(dataset.corpus) - with_question ^ failed


def paid_twice(server: FaultServer) -> list[str]:
    """Prompts that were asked again after their answer had arrived whole."""
    paid = Counter(entry.content for entry in server.done("answered", "prose", "cut", "refused"))
    return [content for content, count in paid.items() if count > 1]


def answers(journal: Path) -> list[dict[str, Any]]:
    """The answers in a journal, in their order."""
    records = [json.loads(line) for line in journal.read_bytes().splitlines()[1:]]
    return [record for record in records if "key" in record]


def prompt_in(request: Request) -> str:
    """The prompt of a chat request to a scripted server."""
    return str(request.body["messages"][0]["content"])


def chunk_of(request: Request) -> int:
    """The number of the page that a request is about."""
    (number,) = set(re.findall(r"chunk-number-(\d+)", prompt_in(request)))
    return int(number)


def said(text: str, finish: str = "stop", **headers: str) -> Reply:
    """A scripted answer."""
    return Reply(chat_answer(text, finish), headers={name.replace("_", "-"): value for name, value in headers.items()})


def answer_to(request: Request, **headers: str) -> Reply:
    """What the fault server's model would answer."""
    return said(answer_text(prompt_in(request), request.body.get("response_format")), **headers)


@contextlib.contextmanager
def in_process(**arguments: Any) -> Iterator["subprocess.Popen[str]"]:
    """A run in a process of its own; it is killed at the end if it still runs."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    process = subprocess.Popen(
        [sys.executable, __file__, json.dumps(arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def in_that_process(
    during: "Callable[[subprocess.Popen[str]], None] | None" = None, **arguments: Any
) -> tuple[dict[str, Any], str]:
    """What such a run tells at its end, and what it wrote to standard error."""
    with in_process(**arguments) as process:
        if during is not None:
            during(process)
        out, err = process.communicate(timeout=120)
    assert out, err
    return dict(json.loads(out)), err


def _told(dataset: QADataset | None) -> dict[str, Any]:
    if dataset is None:
        return {"queries": None}
    return {"queries": dataset.queries, "report": dataset.report and dataset.report.model_dump(mode="json")}


def main(url: str, chunks: int, file_limit: int | None = None, timeout: float = 10.0, **options: Any) -> None:
    """One run, told as JSON; ``file_limit`` bytes is all that a file may hold, as on a full disk."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # shells start background jobs with it ignored
    if file_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))
    llm = openai_at(url, timeout=timeout)
    told: dict[str, Any]
    try:
        told = _told(QADataset.from_llm(pages(chunks), llm, progress=False, **options))
    except (GenerationError, KeyboardInterrupt) as error:
        told = {"error": type(error).__name__, "message": str(error), **_told(getattr(error, "partial", None))}
    sys.stdout.write(json.dumps(told))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
