"""Asks an LLM many things at once: one answer each, every one of them in the journal before it is used."""

import asyncio
import logging
from collections.abc import Hashable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from embedtune.errors import BudgetExceededError, GenerationError, LLMRequestError
from embedtune.generation.pacing import Gate, backoff
from embedtune.generation.prompting import Rung
from embedtune.generation.spend import Reservation, expected_prompt_tokens
from embedtune.generation.stage import A, StageRun
from embedtune.llm_failures import failure_kind, llm_request_error
from embedtune.protocols import AsyncLLM, BaseLLM, LLMAnswer, LLMRequest

__all__ = ["MOST_TOKENS", "LiveRun", "is_shape_refused"]

logger = logging.getLogger(__name__)

_LONGEST_PAUSE = 300.0
"""A server that asks for more is not worth waiting for with a program open."""

_LONGEST_REQUEST = 900.0
"""Seconds for one request as a whole: a client's timeout begins again with each byte that drips in."""

_UNANSWERED_IN_A_ROW = 3
"""So many requests given up, with no answer to any other between: the server is down, and the rest would fail alike."""

_TRIES_UNREACHED = 3
"""At an address where nothing has ever answered."""

MOST_TOKENS = 2048
"""Reckoned for an answer whose length nobody bounds."""

_SHAPE_REFUSED = frozenset({400, 415, 422, 501})
"""Statuses with which servers refuse a response format; the same request as plain text tells whether it was that."""

_KNOWN_RUNGS: "WeakKeyDictionary[BaseLLM, Rung]" = WeakKeyDictionary()
"""What was learnt of a server in this process."""


@dataclass(kw_only=True)
class LiveRun(StageRun[A]):
    """A stage that asks for one answer at a time, many at once."""

    llm: BaseLLM
    """Asked by ``acomplete`` where it has it, else by ``chat_completion`` on threads."""
    gate: Gate
    """Keeps the limits per minute."""
    stop_reason: GenerationError | None = None
    _n_answers: int = 0
    _n_given_up: int = 0
    _last_failure: str = ""
    _asks: Iterator[A] = field(default_factory=lambda: iter(()))

    async def run(self, asks: Iterable[A]) -> None:
        """Ask all; after a stop, those in flight still come home.

        Raises:
            GenerationError: If the run had to stop; what was taken before stays taken.
        """
        self._asks = iter(asks)
        self._rung = _known_rung(self.llm) if isinstance(self.llm, AsyncLLM) else Rung.TEXT
        self.gate.begin()
        self._threads = ThreadPoolExecutor(self.delivery.concurrency, thread_name_prefix="embedtune-llm")
        workers = [asyncio.ensure_future(self._work()) for _ in range(self.delivery.concurrency)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)
            self._threads.shutdown(wait=False, cancel_futures=True)
            if isinstance(self.llm, AsyncLLM):
                await self.llm.aclose()
        if self.stop_reason is not None:
            raise self.stop_reason

    async def _work(self) -> None:
        """Take asks from the common list until it is empty; nothing is awaited between looking and taking.

        After a stop the journal still answers: what it holds is paid for.
        """
        for ask in self._asks:
            if (answer := self.journal.answer(ask.key)) is not None:
                self.budget.count_journaled(self.stage, answer)
                self._took(ask, answer)
                await asyncio.sleep(0)
            elif self.stop_reason is None:
                await self._settle(ask)
            else:
                continue
            self.step()

    def _took(self, ask: A, answer: LLMAnswer) -> None:
        try:
            self.take(ask, answer)
        except GenerationError as error:  # whoever takes the answers sees that going on makes no sense
            self._stop(error)

    def _stop(self, error: GenerationError) -> None:
        self.stop_reason = self.stop_reason or error
        self.gate.stopped.set()

    async def _settle(self, ask: A) -> None:
        """Ask until there is an answer, or a reason why there is none."""
        n_failures = 0
        n_answers_before = self._n_answers
        while self.stop_reason is None:
            rung = self._rung
            request = ask.request(rung)
            try:
                answer = await self._send(request)
            except _StoppedError:
                return
            except LLMRequestError as error:
                if self._stepped_down(error, rung):
                    continue
                n_failures += 1
                self._last_failure = str(error)
                if not await self._try_again(error, n_failures):
                    self._give_up(ask, error, n_failures, n_answers_before)
                    return
            except BudgetExceededError as error:
                self._stop(self._told_with_last_failure(error))
            else:
                await self._arrived(ask, answer)
                return

    def _told_with_last_failure(self, error: BudgetExceededError) -> BudgetExceededError:
        """What eats the money may be requests that break off; then their reason is what a user must know."""
        if not self._last_failure:
            return error
        return BudgetExceededError(f"{error} The last request that failed: {self._last_failure}")

    async def _arrived(self, ask: A, answer: LLMAnswer) -> None:
        self._n_answers += 1
        self._n_given_up = 0
        try:
            await self.journal.keep(ask.key, answer, self.stage)
        except GenerationError as error:
            self._stop(error)
        finally:  # a full disk and Ctrl-C lose nothing that is paid for: it is in the partial data set
            self._took(ask, answer)

    async def _send(self, request: LLMRequest) -> LLMAnswer:
        tokens = expected_prompt_tokens(request.prompt)
        await self.gate.passage(tokens)
        if self.stop_reason is not None:
            raise _StoppedError
        bound = request.max_tokens or MOST_TOKENS
        reservation = await self.budget.reserve(request, self.stage, bound)
        if self.stop_reason is not None:  # while it waited for room
            self.budget.take_back(reservation)
            raise _StoppedError
        try:
            answer = await self._answer(request)
        except BaseException as error:
            self.budget.drop(reservation, is_unknown=_may_be_charged(error))
            raise
        return self._counted(reservation, answer, tokens)

    def _counted(self, reservation: Reservation, answer: LLMAnswer, expected: float) -> LLMAnswer:
        if answer.prompt_tokens is not None:
            self.gate.tokens.correct(expected - answer.prompt_tokens - (answer.completion_tokens or 0))
        if answer.pause_seconds:
            self._pause(answer.pause_seconds)
        return self.budget.settle(reservation, answer)

    async def _answer(self, request: LLMRequest) -> LLMAnswer:
        try:
            if isinstance(self.llm, AsyncLLM):
                return _checked(await asyncio.wait_for(self.llm.acomplete(request), _LONGEST_REQUEST))
            loop = asyncio.get_running_loop()
            return _checked(await loop.run_in_executor(self._threads, _chat, self.llm, request.prompt))
        except (BudgetExceededError, LLMRequestError):
            raise
        except Exception as error:  # a user's LLM may raise anything
            raise _as_request_error(error) from error

    def _stepped_down(self, error: LLMRequestError, rung: Rung) -> bool:
        """Whether the answer's shape may be what was refused, so that less is asked for now."""
        if rung is Rung.TEXT or not is_shape_refused(error):
            return self._rung < rung
        if self._rung == rung:
            self._rung = Rung(rung - 1)
            if isinstance(self.llm, Hashable):
                _KNOWN_RUNGS[self.llm] = self._rung
            logger.info("the LLM refused %s (%s); asking for %s", rung.name, error, self._rung.name)
        return True

    async def _try_again(self, error: LLMRequestError, n_failures: int) -> bool:
        kind = failure_kind(error)
        if kind == "stop" and not (error.status == 422 and self._n_answers):  # then it is about this one text
            self._stop(error)
        if kind != "heals" or n_failures > self.delivery.retries:
            return False
        if error.unreachable and not self._n_answers and n_failures >= _TRIES_UNREACHED:
            self._stop(error)
            return False
        if error.retry_after is not None:
            self._pause(error.retry_after)
        await self.gate.wait(max(backoff(n_failures), error.retry_after or 0.0))
        self.budget.stage(self.stage).repeats += self.stop_reason is None
        return self.stop_reason is None

    def _pause(self, seconds: float) -> None:
        if seconds > _LONGEST_PAUSE:
            self._stop(
                GenerationError(
                    f"The server asks to wait {seconds:.0f} seconds before the next request; more than "
                    f"{_LONGEST_PAUSE:.0f} are not waited for. With journal=... the same call goes on later."
                )
            )
        self.gate.pause(seconds)

    def _give_up(self, ask: A, error: LLMRequestError, n_failures: int, n_answers_before: int) -> None:
        tries = f" (after {n_failures} tries)" if n_failures > 1 else ""
        self.fail(ask, f"{error}{tries}")
        if failure_kind(error) == "heals" and self.stop_reason is None:
            self._n_given_up += 1
            is_down = self._n_given_up >= _UNANSWERED_IN_A_ROW and self._n_answers == n_answers_before
            if is_down and next(self._asks, None) is not None:  # with nothing left to ask there is nothing to stop
                self._stop(error)
        if self.delivery.on_failure == "raise":
            self._stop(error)


def _known_rung(llm: BaseLLM) -> Rung:
    return _KNOWN_RUNGS.get(llm, Rung.SCHEMA) if isinstance(llm, Hashable) else Rung.SCHEMA  # a dataclass is not


def is_shape_refused(error: LLMRequestError) -> bool:
    """Whether it may be the answer's shape that a server refuses, and not this one text."""
    return error.status in _SHAPE_REFUSED and (failure_kind(error) == "stop" or error.status == 501)


def _chat(llm: BaseLLM, prompt: str) -> LLMAnswer:
    try:
        return LLMAnswer(text=llm.chat_completion(prompt))
    except StopIteration as error:  # no future can carry it: whoever waits would wait for ever
        raise LLMRequestError("chat_completion raised StopIteration", heals=False) from error


def _checked(answer: LLMAnswer) -> LLMAnswer:
    """What a user's LLM returned, which may be anything."""
    if not isinstance(answer, LLMAnswer) or not isinstance(answer.text, str):
        found = f"a text of {type(answer.text).__name__}" if isinstance(answer, LLMAnswer) else type(answer).__name__
        raise LLMRequestError(f"the LLM returned {found}; expected a str", heals=False)
    return answer


class _StoppedError(Exception):
    """Another worker has ended the run: this ask is neither answered nor failed."""


def _may_be_charged(error: BaseException) -> bool:
    """Whether the server may have answered, and only the line broke."""
    if not isinstance(error, LLMRequestError):
        return True
    return not error.unreachable and (error.status or 0) < 400  # 200 with something else than an answer


def _as_request_error(error: Exception) -> LLMRequestError:
    if isinstance(error, GenerationError):  # its author has decided
        return LLMRequestError(str(error), heals=False)
    return llm_request_error(error, f"{type(error).__name__}: {error}")
