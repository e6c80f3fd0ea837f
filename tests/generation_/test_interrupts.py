"""Runs that are ended from outside: Ctrl-C, a full disk. What arrived stays, nothing hangs, the next run goes on."""

import json
import signal
import subprocess
import time
from pathlib import Path

from fault_server import Faults, FaultServer, fault_server
from question_runs import answers, in_that_process, paid_twice, shape, write

N_CHUNKS = 40


def interrupt_after(server: FaultServer, n_answers: int) -> "Interrupt":
    return Interrupt(server, n_answers)


class Interrupt:
    """Sends Ctrl-C once so many answers were written, and notes when."""

    def __init__(self, server: FaultServer, n_answers: int) -> None:
        self.server, self.n_answers, self.at = server, n_answers, 0.0

    def __call__(self, process: "subprocess.Popen[str]") -> None:
        while len(self.server.done("answered")) < self.n_answers:
            assert process.poll() is None, process.communicate()
            time.sleep(0.005)
        self.at = time.monotonic()
        process.send_signal(signal.SIGINT)


def test_ctrl_c_keeps_every_answer_that_had_arrived_and_tells_it(tmp_path: Path) -> None:
    journal = tmp_path / "j"
    with fault_server(Faults(latency=0.3)) as server:
        interrupt = interrupt_after(server, 12)
        told, _ = in_that_process(
            interrupt, url=server.url, chunks=N_CHUNKS, journal=str(journal), concurrency=4, timeout=60.0
        )
        arrived = [entry for entry in server.done("answered") if (entry.written_at or 0) < interrupt.at - 0.1]
        n_kept = len(answers(journal))
        assert told["error"] == "KeyboardInterrupt"
        assert len(arrived) <= n_kept <= len(server.done("answered"))
        assert len(told["queries"]) == 2 * n_kept
        assert told["report"]["stopped"] == "interrupted"

        server.faults = Faults()
        resumed = write(server, N_CHUNKS, journal=journal)
        assert len(paid_twice(server)) <= 4, "what was in flight alone"
    with fault_server() as another:
        assert shape(resumed) == shape(write(another, N_CHUNKS))


def test_ctrl_c_while_the_server_hangs_does_not_wait_for_it() -> None:
    with fault_server(Faults(hung=1.0)) as server:

        def interrupt(process: "subprocess.Popen[str]") -> None:
            while not server.n_open:
                time.sleep(0.01)
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)

        told, _ = in_that_process(interrupt, url=server.url, chunks=4, timeout=600.0)
    assert (told["error"], told["queries"]) == ("KeyboardInterrupt", None)


def test_on_a_full_disk_the_journal_stays_whole_and_the_next_run_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the write that passes it is cut short, then fails."""
    journal, file_limit = tmp_path / "j", 3001
    with fault_server() as server:
        told, _ = in_that_process(
            url=server.url, chunks=N_CHUNKS, journal=str(journal), file_limit=file_limit, concurrency=4
        )
        assert told["error"] == "GenerationError"
        assert "cannot be written: [Errno 27] File too large. What it holds so far is whole" in told["message"]
        lines = journal.read_bytes().splitlines(keepends=True)
        assert all(isinstance(json.loads(line), dict) and line.endswith(b"\n") for line in lines)
        assert file_limit - 1200 < journal.stat().st_size <= file_limit
        n_kept, n_sent = len(answers(journal)), len(server.done())
        assert n_sent - n_kept <= 2 * 4, "it stopped with those in flight"
        assert len(told["queries"]) == 2 * n_sent, "what could not be written down was paid for all the same"

        resumed = write(server, N_CHUNKS, journal=journal)
        assert len(server.done()) == n_sent + N_CHUNKS - n_kept
    assert len(resumed) == 2 * N_CHUNKS


def test_a_disk_that_is_full_from_the_start_is_told_before_anything_is_paid_for(tmp_path: Path) -> None:
    with fault_server() as server:
        told, _ = in_that_process(url=server.url, chunks=4, journal=str(tmp_path / "j"), file_limit=10)
        assert told["error"] == "GenerationError"
        assert "cannot be used" in told["message"]
        assert server.log == []
