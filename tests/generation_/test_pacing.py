"""Pace: limits per minute kept evenly, and pauses that the server asks for, kept by all."""

import random
import threading
import time
from collections import Counter
from itertools import pairwise

import pytest

from embedtune import GenerationReport, QADataset
from embedtune.generation.pacing import Pace, backoff
from fault_server import Faults, fault_server
from question_runs import answer_to, openai_at, pages, write
from servers import Reply, Request, scripted_server


class Clock:
    """Time as the test wants it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sent_times(per_minute: float, minutes: float, longest_stall: float) -> list[float]:
    """When requests go that are always waiting; every two seconds or so all of them are held up for a moment."""
    clock, rng, times = Clock(), random.Random(int(per_minute)), []
    pace = Pace(per_minute, clock)
    next_stall, end = clock.now, clock.now + 60 * minutes
    while clock.now < end:
        clock.now += pace.delay(1)
        if clock.now >= next_stall:
            clock.now += rng.uniform(0, longest_stall)
            next_stall = clock.now + rng.expovariate(0.5)
        times.append(clock.now)
    return [moment for moment in times if moment < end]


def most_in_a_minute(times: list[float]) -> int:
    most = first = 0
    for last, moment in enumerate(times):
        while times[first] <= moment - 60:
            first += 1
        most = max(most, last - first + 1)
    return most


RATES = [1, 3, 10, 60, 500, 3500, 10_000]


@pytest.mark.parametrize("per_minute", RATES)
@pytest.mark.parametrize("longest_stall", [0.0, 0.15], ids=["smooth", "jerky"])
def test_no_minute_holds_more_than_the_limit_and_nearly_all_of_it_is_used(
    per_minute: int, longest_stall: float
) -> None:
    minutes = 10 if per_minute < 5000 else 3
    times = sent_times(per_minute, minutes, longest_stall)
    assert most_in_a_minute(times) <= per_minute
    assert len(times) >= int(0.98 * per_minute * minutes)


def test_a_long_rest_is_not_made_up_for_in_a_burst() -> None:
    clock = Clock()
    pace = Pace(600, clock)
    pace.delay(1)
    clock.now += 3600
    at_once = 0
    while pace.delay(1) == 0:
        at_once += 1
    assert at_once <= 4


def test_tokens_are_paced_by_their_number_and_corrected_when_it_is_known() -> None:
    clock = Clock()
    pace = Pace(6000, clock)
    assert pace.delay(600) == 0
    assert pace.delay(1) == pytest.approx(6, rel=0.02)
    pace.correct(-600)  # the answer was longer than thought
    assert pace.delay(1) == pytest.approx(12, rel=0.02)
    pace.correct(1200)
    assert pace.delay(1) == pytest.approx(0, abs=0.1)


def test_no_limit_is_no_delay() -> None:
    assert [Pace(None).delay(1e9) for _ in range(100)] == [0.0] * 100


def test_the_wait_after_failures_doubles_up_to_half_a_minute_and_never_is_the_same_for_all() -> None:
    for n_failures in range(1, 12):
        longest = min(30.0, 0.5 * 2 ** (n_failures - 1))
        waits = [backoff(n_failures) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(set(waits)) > 100


def test_the_servers_log_shows_the_pace() -> None:
    with fault_server() as server:
        write(server, 25, requests_per_minute=1800, concurrency=16)
        times = sorted(entry.at for entry in server.done())
    assert times[-1] - times[0] >= 24 * 60 / 1800 - 0.3


class Pausing:
    """Notes when each request comes, and asks for a pause with one of the first answers."""

    def __init__(self, at: int, pause: Reply | None = None, **headers: str) -> None:
        self.at, self.pause, self.headers = at, pause, headers
        self.times: list[float] = []
        self.lock = threading.Lock()

    def __call__(self, request: Request) -> Reply:
        with self.lock:
            self.times.append(time.monotonic())
            is_it = len(self.times) == self.at
        time.sleep(0.02)
        if not is_it:
            return answer_to(request)
        return self.pause or answer_to(request, **self.headers)

    @property
    def longest_silence(self) -> float:
        times = sorted(self.times)
        return max(later - earlier for earlier, later in pairwise(times))


SLOW_DOWN = {"error": {"message": "slow down"}}


@pytest.mark.parametrize(
    "pausing",
    [
        Pausing(10, Reply(SLOW_DOWN, 429, headers={"retry-after": "0.6"})),
        Pausing(10, Reply(SLOW_DOWN, 503, headers={"retry-after-ms": "600"})),
        Pausing(10, x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="600ms"),
        Pausing(10, x_ratelimit_remaining_tokens="0", x_ratelimit_reset_tokens="0.6s"),
    ],
    ids=["429 with retry-after", "503 with retry-after-ms", "no requests left", "no tokens left"],
)
def test_a_pause_that_one_answer_asks_for_is_kept_by_all(pausing: Pausing) -> None:
    with scripted_server(pausing) as server:
        dataset = QADataset.from_llm(pages(30), openai_at(server.base_url), concurrency=4, progress=False)
    assert len(dataset) == 60
    assert pausing.longest_silence > 0.5
    times = sorted(pausing.times)
    before = sum(moment < times[pausing.at - 1] + 0.5 for moment in times)
    assert before < 30, "the others did not go on meanwhile"


def test_headers_that_leave_something_ask_for_no_pause() -> None:
    pausing = Pausing(1, x_ratelimit_remaining_requests="1", x_ratelimit_reset_requests="30s")
    with scripted_server(pausing) as server:
        assert len(QADataset.from_llm(pages(6), openai_at(server.base_url), progress=False)) == 12


def test_a_chunk_that_keeps_failing_is_not_hammered() -> None:
    with fault_server(Faults(always_fails=frozenset({1}))) as server:
        write(server, 4, retries=2)
        times = [entry.at for entry in server.done() if entry.chunk == 1]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == 2
    assert all(gap >= least for gap, least in zip(gaps, (0.25, 0.5), strict=True))


def test_a_server_with_a_rate_limit_that_it_tells_is_hardly_refused_twice() -> None:
    with fault_server(Faults(per_second=60, rate_headers=True)) as server:
        dataset = write(server, 60, concurrency=8)
        done = Counter(entry.done for entry in server.done())
    assert len(dataset) == 120
    assert done["answered"] == 60
    assert done["rate_limited"] < 40
    assert isinstance(dataset.report, GenerationReport)
    assert dataset.report.stages["questions"].repeats == done["rate_limited"]
