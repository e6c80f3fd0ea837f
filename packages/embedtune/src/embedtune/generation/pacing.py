"""When the next request may go: limits per minute, and pauses that the server asks for."""

import asyncio
import contextlib
import random
import time
from collections.abc import Callable

__all__ = ["Gate", "Pace", "backoff"]

_MARGIN = 1.012
"""A limit is run a little below: arrivals at the server jitter, and its window must not hold more than the limit."""

_CATCH_UP_SECONDS = 0.2
"""How much of a delay of our own is made up for; more would put a burst into one of the server's windows."""

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0


def backoff(n_failures: int) -> float:
    """Seconds to wait after so many failures: doubling from half a second to half a minute, each halved at random."""
    return float(min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** (n_failures - 1)) * random.uniform(0.5, 1.0))


class Pace:
    """Spaces requests evenly, so that no minute holds more than the limit.

    A bucket that is filled once a minute would send all of it in the first seconds; the next one would follow so
    closely that the server's own window holds both.

    Args:
        per_minute: Units a minute: requests, or tokens; None is no limit.
        clock: Seconds, monotonic.
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds_per_unit = None if per_minute is None else 60.0 / per_minute * _MARGIN
        self._clock = clock
        self._next = clock()

    def delay(self, units: float) -> float:
        """Take the next place, and tell the seconds until it comes."""
        if self._seconds_per_unit is None:
            return 0.0
        now = self._clock()
        place = max(self._next, now - _CATCH_UP_SECONDS)
        self._next = place + units * self._seconds_per_unit
        return max(place - now, 0.0)

    def correct(self, units: float) -> None:
        """Give units back, or take more, once it is known how many there were."""
        if self._seconds_per_unit is not None:
            self._next -= units * self._seconds_per_unit


class Gate:
    """Lets requests through at their pace, and none while the server asks for a pause, or after a stop.

    All stages that ask one LLM go through one gate, each in an event loop of its own.
    """

    def __init__(self, requests_per_minute: float | None, tokens_per_minute: float | None) -> None:
        self.requests = Pace(requests_per_minute)
        self.tokens = Pace(tokens_per_minute)
        self._closed_until = 0.0
        self.begin()

    def begin(self) -> None:
        """Begin a stage, in the running event loop."""
        self.stopped = asyncio.Event()
        self._turn = asyncio.Lock()

    def pause(self, seconds: float) -> None:
        """Let nothing through for so long."""
        self._closed_until = max(self._closed_until, time.monotonic() + seconds)

    async def passage(self, tokens: float) -> None:
        """Wait until the next request may go; returns at once after a stop."""
        # One after the other: places that were given out ahead would all come due in a moment when the loop stalls,
        # as it does while a client is made, and go out as one burst.
        async with self._turn:
            await self.wait(max(self.requests.delay(1.0), self.tokens.delay(tokens)))
            while (rest := self._closed_until - time.monotonic()) > 0 and not self.stopped.is_set():
                await self.wait(rest)

    async def wait(self, seconds: float) -> None:
        """Sleep, but wake up at a stop."""
        if seconds > 0 and not self.stopped.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.stopped.wait(), seconds)
