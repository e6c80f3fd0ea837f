"""``kill -9`` at random moments: nothing that was journaled is lost, and next to nothing is paid for twice."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from embedtune import QADataset
from fault_server import Faults, FaultServer, fault_server

N_CHUNKS, N_KILLS, CONCURRENCY = 1000, 20, 16

WRITER = f"""
import sys
from embedtune import QADataset, TextChunk
from embedtune_openai import Openai
chunks = [TextChunk(f"A page on chunk-number-{{i}}, what it is for.", f"c{{i}}") for i in range({N_CHUNKS})]
llm = Openai("m", base_url=sys.argv[1], api_key="none")
made = QADataset.from_llm(chunks, llm, concurrency={CONCURRENCY}, journal=sys.argv[2], progress=False)
made.save(sys.argv[3])
"""


def journaled(journal: Path) -> dict[str, str]:
    """Every whole record by its key."""
    if not journal.exists():
        return {}
    lines = [json.loads(line) for line in journal.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]
    return {record["key"]: record["text"] for record in lines if "key" in record}


def answered(server: FaultServer) -> Counter[str]:
    """How often each request was answered whole."""
    return Counter(entry.content for entry in server.done("answered"))


def kill_once(command: list[str], server: FaultServer, seconds: float) -> None:
    """Start the writer, and kill it some time after its first request."""
    n_before = len(server.log)
    process = subprocess.Popen(command)
    while len(server.log) == n_before and process.poll() is None:
        time.sleep(0.01)
    time.sleep(seconds)
    process.send_signal(signal.SIGKILL)
    process.wait()


@pytest.mark.slow
def test_twenty_kills_lose_no_answer_and_repeat_at_most_what_was_in_flight(tmp_path: Path) -> None:
    journal, made = tmp_path / "journal.jsonl", tmp_path / "made.json"
    moments = random.Random(7)
    kept: dict[str, str] = {}
    with fault_server(Faults(latency=0.25)) as server:
        command = [sys.executable, "-c", WRITER, server.url, str(journal), str(made)]
        for _ in range(N_KILLS):
            kill_once(command, server, moments.uniform(0.0, 1.2))
            before, kept = kept, journaled(journal)
            assert before.items() <= kept.items()
            assert len(answered(server)) - len(kept) <= CONCURRENCY
        assert 0 < len(kept) < N_CHUNKS
        subprocess.run(command, check=True)
        repeated = sum(answered(server).values()) - len(answered(server))
    assert repeated <= N_KILLS * CONCURRENCY
    dataset = QADataset.load(made)
    assert len(dataset) == 2 * N_CHUNKS
    for query, (chunk,) in dataset.relevant_docs.items():
        assert re.search(rf"\b{chunk[1:]}\b", dataset.queries[query])
    sys.stdout.write(f"{len(kept)} answers journaled at the last kill; {repeated} answers asked for again\n")
