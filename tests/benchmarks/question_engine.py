"""The question engine against a server of the tests: its throughput, its pace under a limit, and its own cost.

python tests/benchmarks/question_engine.py throughput --upstream PYTHON   # of a venv with llama-index-finetuning 0.4.2,
                                                                          # "mistralai<2", llama-index-llms-openai-like
python tests/benchmarks/question_engine.py pace                           # 130 s at 600 requests a minute
python tests/benchmarks/question_engine.py overhead                       # 10,000 chunks, answers at once
"""

import argparse
import contextlib
import gc
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent))

from embedtune import QADataset, TextChunk  # noqa: E402 - as above
from embedtune_openai import Openai  # noqa: E402 - as above
from fault_server import read_log  # noqa: E402 - it stands beside the tests

LATENCY = 0.5
WORKERS = 16

UPSTREAM = """
import json, sys, tempfile, time
from pathlib import Path
from llama_index.core.schema import TextNode
from llama_index.finetuning import generate_qa_embedding_pairs
from llama_index.llms.openai_like import OpenAILike
url, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
nodes = [TextNode(text=f"A page on chunk-number-{i}.", id_=f"c{i}") for i in range(first, first + count)]
llm = OpenAILike(model="m", api_base=url, api_key="none", is_chat_model=True)
path = str(Path(tempfile.mkdtemp()) / "pairs.json")
start = time.monotonic()
made = generate_qa_embedding_pairs(nodes, llm, output_path=path, verbose=False)
print(json.dumps({"seconds": time.monotonic() - start, "queries": len(made.queries)}))
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("throughput", "pace", "overhead"))
    parser.add_argument("--upstream", help="Python of a venv with llama-index-finetuning 0.4.2.")
    arguments = parser.parse_args()
    if arguments.what == "throughput":
        throughput(arguments.upstream)
    elif arguments.what == "pace":
        pace()
    else:
        overhead()


def throughput(upstream: str | None, rounds: int = 3) -> None:
    """Chunks a second of both, in turns, on one server that takes half a second for each answer."""
    if upstream is None:
        sys.exit("throughput needs --upstream: the Python of a venv with llama-index-finetuning 0.4.2.")
    theirs: list[float] = []
    ours: list[float] = []
    with running_server("--latency", str(LATENCY)) as (url, _):
        for number in range(rounds):
            command = [upstream, "-W", "ignore", "-c", UPSTREAM, url, str(number * 1000), "20"]
            told = json.loads(
                subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1]
            )
            theirs.append(20 / told["seconds"])
            start = time.monotonic()
            write(url, chunks(320, first=number * 1000 + 100), concurrency=WORKERS)
            ours.append(320 / (time.monotonic() - start))
    say(f"chunks a second, theirs {[f'{x:.2f}' for x in theirs]}, ours {[f'{x:.2f}' for x in ours]}")
    say(f"ratio of the medians: {statistics.median(ours) / statistics.median(theirs):.1f}")


def pace(seconds: float = 130.0, per_minute: int = 600) -> None:
    """The fullest minute at the server, and the mean rate after the first ten seconds."""
    with running_server("--latency", "0.05") as (url, log):
        write(url, chunks(int(seconds * per_minute / 60)), concurrency=WORKERS, requests_per_minute=per_minute)
        times = sorted(entry.at for entry in read_log(log))
    fullest = max(sum(1 for other in times[i:] if other - at < 60.0) for i, at in enumerate(times))
    steady = [at for at in times if at - times[0] >= 10.0]
    rate = (len(steady) - 1) / (steady[-1] - steady[0]) * 60
    say(f"{len(times)} requests; fullest 60 seconds: {fullest}; steady state: {rate:.1f} a minute")


def overhead(n_chunks: int = 10_000) -> None:
    """CPU seconds and memory of this process, the client library and the journal included."""
    with running_server() as (url, _), tempfile.TemporaryDirectory() as folder:
        write(url, chunks(50, first=1_000_000), concurrency=WORKERS)  # imports, connections
        nodes = chunks(n_chunks)
        gc.collect()
        before, cpu, start = resident_bytes(), time.process_time(), time.monotonic()
        dataset = write(url, nodes, concurrency=WORKERS, journal=Path(folder) / "journal")
        used, wall, peak = time.process_time() - cpu, time.monotonic() - start, resident_bytes(peak=True)
        gc.collect()
        kept = resident_bytes() - before
    mega = 1e6
    each = used / n_chunks * 1000
    say(f"{n_chunks} chunks, {len(dataset)} questions: {used:.1f} CPU s, {each:.2f} ms each; {wall:.1f} s")
    say(f"memory: before {before / mega:.0f} MB, peak {peak / mega:.0f} MB, data set {kept / mega:.0f} MB and less")


def resident_bytes(*, peak: bool = False) -> int:
    """Memory of this process, now or at most so far; Linux."""
    name = "VmHWM" if peak else "VmRSS"
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) * 1024


def write(url: str, nodes: list[TextChunk], **options: object) -> QADataset:
    """Two questions on each chunk."""
    llm = Openai("m", base_url=url, api_key="none")
    return QADataset.from_llm(nodes, llm, progress=False, **options)  # type: ignore[arg-type]  # as the callers give


def chunks(count: int, first: int = 0) -> list[TextChunk]:
    """Chunks of a thousand characters, which the server answers by their number."""
    filler = "What it is for, how it is made, and where it is kept. " * 18
    return [TextChunk(f"A page on chunk-number-{i}. {filler}", f"c{i}") for i in range(first, first + count)]


@contextlib.contextmanager
def running_server(*options: str) -> Iterator[tuple[str, Path]]:
    """The server in a process of its own; its address and its log."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log.jsonl"
        command = [sys.executable, str(HERE.parent / "fault_server.py"), "--log", str(log), *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            yield re.findall(r"http\S+", line)[0], log
        finally:
            process.terminate()
            process.wait()


def say(text: str) -> None:
    """A line of figures."""
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
