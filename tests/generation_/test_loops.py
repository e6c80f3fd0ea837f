"""From a script, inside a running event loop, from threads: without patching a loop, and with one client for all."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from embedtune import QADataset
from embedtune.errors import LLMRequestError
from embedtune.generation.anywhere import run_anywhere
from fault_server import Faults, FaultServer, fault_server
from question_runs import openai_at, own_questions, pages, shape, write
from subprocesses import run_python


async def written(server: FaultServer, n_chunks: int = 12) -> QADataset:
    """As in a notebook's cell, or in a web service: a plain call in a coroutine."""
    return write(server, n_chunks, concurrency=4)


def test_inside_a_running_loop_it_gives_the_same_as_outside() -> None:
    with fault_server() as server:
        assert shape(asyncio.run(written(server))) == shape(write(server, 12))


def test_the_loop_around_it_lives_on_with_its_other_tasks() -> None:
    ticks: list[int] = []

    async def tick() -> None:
        while True:
            ticks.append(1)
            await asyncio.sleep(0.01)

    async def work(server: FaultServer) -> QADataset:
        clock = asyncio.create_task(tick())
        await asyncio.sleep(0.03)
        before = len(ticks)
        dataset = write(server, 12)
        await asyncio.sleep(0.03)
        assert len(ticks) > before >= 1
        clock.cancel()
        return dataset

    with fault_server() as server:
        assert len(asyncio.run(work(server))) == 24


def test_in_a_thread_beside_a_running_loop_the_loop_goes_on_meanwhile() -> None:
    async def work(server: FaultServer) -> tuple[QADataset, int]:
        job = asyncio.create_task(asyncio.to_thread(write, server, 12))
        n_ticks = 0
        while not job.done():
            n_ticks += 1
            await asyncio.sleep(0.01)
        return await job, n_ticks

    with fault_server(Faults(latency=0.1)) as server:
        dataset, n_ticks = asyncio.run(work(server))
    assert len(dataset) == 24
    assert n_ticks > 5


def test_trap_16_one_client_serves_loop_after_loop() -> None:
    async def twice(server: FaultServer) -> list[QADataset]:
        return [write(server, 6, llm), write(server, 6, llm)]

    with fault_server() as server:
        llm = openai_at(server.url)
        runs = [write(server, 6, llm), *asyncio.run(twice(server)), *asyncio.run(twice(server)), write(server, 6, llm)]
    assert [len(run) for run in runs] == [12] * 6


def test_two_threads_may_write_at_the_same_time_with_one_client() -> None:
    with fault_server(Faults(latency=0.02)) as server, ThreadPoolExecutor(2) as threads:
        llm = openai_at(server.url)
        jobs = [
            threads.submit(QADataset.from_llm, pages(20, start), llm, concurrency=4, progress=False)
            for start in (0, 20)
        ]
        assert [(len(job.result()), own_questions(job.result())) for job in jobs] == [(40, []), (40, [])]


def test_an_error_comes_out_of_a_running_loop_with_what_was_paid_for() -> None:
    with fault_server(Faults(quota_after=5)) as server, pytest.raises(LLMRequestError, match="quota") as caught:
        asyncio.run(written(server))
    assert caught.value.partial is not None
    assert len(caught.value.partial) == 10


def test_no_thread_of_ours_is_left() -> None:
    before = set(threading.enumerate())
    with fault_server() as server:
        write(server, 6)
        asyncio.run(written(server, 6))
    left = [thread.name for thread in threading.enumerate() if thread not in before]
    assert [name for name in left if name.startswith("embedtune")] == []


def test_a_result_and_an_error_come_through_as_they_are() -> None:
    async def give() -> int:
        return 5

    async def fail() -> int:
        raise KeyError("mine")

    async def both() -> None:
        assert run_anywhere(give) == 5
        with pytest.raises(KeyError, match="mine") as caught:
            run_anywhere(fail)
        assert caught.value.__context__ is None

    asyncio.run(both())
    assert run_anywhere(give) == 5
    with pytest.raises(KeyError, match="mine") as caught:
        run_anywhere(fail)
    assert caught.value.__context__ is None, "no error of looking for a loop is the cause of anything"


CTRL_C_IN_A_LOOP = """
import asyncio, os, signal, threading, time
from embedtune.generation.anywhere import run_anywhere
signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a notebook, and not asyncio's own
tidied = []
async def work():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await asyncio.sleep(600)
    finally:
        tidied.append(1)
loop = asyncio.new_event_loop()
async def cell():
    try:
        run_anywhere(work)
    except KeyboardInterrupt:
        print("interrupted", len(tidied))
loop.run_until_complete(cell())
"""


def test_ctrl_c_inside_a_running_loop_lets_the_run_tidy_up() -> None:
    assert run_python(CTRL_C_IN_A_LOOP) == "interrupted 1"
