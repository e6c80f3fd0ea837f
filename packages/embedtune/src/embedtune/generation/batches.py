"""Asks an LLM many things in batches: submitted, polled and fetched, over days and crashes if need be."""

import logging
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from embedtune.errors import BatchPendingError, BudgetExceededError, GenerationError, LLMRequestError
from embedtune.generation.journal import answer_record
from embedtune.generation.live import MOST_TOKENS, is_shape_refused
from embedtune.generation.prompting import Rung, key_of
from embedtune.generation.spend import Reservation
from embedtune.generation.stage import A, StageRun
from embedtune.llm_failures import failure_kind
from embedtune.protocols import BaseLLM, BatchLLM, BatchState, LLMAnswer, LLMRequest

__all__ = ["BatchRun"]

logger = logging.getLogger(__name__)

_FIRST_POLL, _LONGEST_POLL = 1.0, 60.0
_RECORDS_A_WRITE = 500


@dataclass(kw_only=True)
class BatchRun(StageRun[A]):
    """A stage that asks in batches.

    Each batch is written down under a tag before it is submitted, so that a crash at any moment neither loses a
    batch nor pays for one twice: the server is asked for the tag.
    """

    llm: BatchLLM
    """Has ``submit_batch`` and its fellows."""
    _open: dict[str, A] = field(default_factory=dict)
    _tries: dict[str, int] = field(default_factory=dict)
    _held: dict[str, Reservation] = field(default_factory=dict)
    _rung: Rung = Rung.SCHEMA
    _is_shape_refused: bool = False

    def run(self, asks: Iterable[A]) -> None:
        """Ask all, batch by batch.

        Raises:
            BatchPendingError: If batches are submitted and not done, and the delivery does not wait.
            GenerationError: If the server refuses, or a limit is reached; what was taken before stays taken.
        """
        for ask in asks:
            if (answer := self.journal.answer(ask.key)) is None:
                self._open[ask.key] = ask
            else:
                self.budget.count_journaled(self.stage, answer)
                self.take(ask, answer)
                self.step()
        while self._open:
            self._collect()
            if self._open:
                self._submit()

    def _collect(self) -> None:
        """Fetch all batches that are under way, waiting for each."""
        for tag in self.journal.open_batches(self._fingerprint):
            record = self.journal.batches[tag]
            batch = record.get("batch") or self.llm.find_batch(tag)
            if batch is None:  # the crash came before the server had it
                self._note(tag, fetched=True)
                continue
            keys = record.get("keys") or []  # unknown if the crash came right after the server had it
            self._hold(keys)
            self._fetch(tag, batch, self._awaited(batch), keys)
            self._note(tag, batch=batch, fetched=True)

    def _hold(self, keys: Iterable[str]) -> None:
        """Reckon with what was submitted by an earlier run."""
        for key in keys:
            if key in self._open and key not in self._held:
                self._held[key] = self.budget.hold(self._request(key), self.stage, self._bound(key))

    def _awaited(self, batch: str) -> BatchState:
        pause = _FIRST_POLL
        while not (state := self.llm.poll_batch(batch)).is_over:
            if not self.delivery.wait:
                raise BatchPendingError(
                    f"The batch {batch} is {state.status}: {state.n_answered} of {state.n_requests} requests are "
                    "answered. The same call with the same journal collects them when it is done."
                )
            logger.info("batch %s is %s: %d of %d", batch, state.status, state.n_answered, state.n_requests)
            time.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_POLL)
        return state

    def _fetch(self, tag: str, batch: str, state: BatchState, keys: list[str]) -> None:
        outcomes = self.llm.fetch_batch(batch)
        n_outcomes = 0
        while some := list(islice(outcomes, _RECORDS_A_WRITE)):
            n_outcomes += len(some)
            answers = [(key, outcome) for key, outcome in some if isinstance(outcome, LLMAnswer)]
            new = [(key, answer) for key, answer in answers if key not in self.journal]  # a run broke off in here
            self._keep([answer_record(key, answer, self.stage) for key, answer in new])
            for key, outcome in some:
                self._settle(key, outcome)
        if state.reason and not n_outcomes:
            self._note(tag, batch=batch, fetched=True)  # the next call submits anew
            raise GenerationError(f"The batch {batch} is {state.status}: {state.reason}")
        for key in keys:
            if key in self._held:  # it expired without a word
                self._settle(key, LLMRequestError(f"the batch is {state.status} without an answer to it", heals=True))
        if self._is_shape_refused:
            self._rung, self._is_shape_refused = Rung(self._rung - 1), False

    def _settle(self, key: str, outcome: LLMAnswer | LLMRequestError) -> None:
        held = self._held.pop(key, None)
        ask = self._open.get(key)
        if isinstance(outcome, LLMRequestError):
            if held is not None:
                self.budget.drop(held)
            self._retry(key, outcome)
        elif ask is not None:
            self.budget.settle(held or Reservation(self.stage, 0, 0, batch=True), outcome)
            del self._open[key]
            self.take(ask, outcome)
            self.step()

    def _retry(self, key: str, error: LLMRequestError) -> None:
        """Leave it to the next batch, if that can help."""
        if (ask := self._open.get(key)) is None:
            return
        if is_shape_refused(error) and self._rung > Rung.TEXT:
            self._is_shape_refused = True
            return
        self._tries[key] = self._tries.get(key, 0) + 1
        if self._tries[key] <= self.delivery.retries and failure_kind(error) == "heals":
            self.budget.stage(self.stage).repeats += 1
            return
        del self._open[key]
        self.fail(ask, str(error))
        self.step()
        if self.delivery.on_failure == "raise":
            raise error

    def _submit(self) -> None:
        """Submit what is open, as far as the limits let."""
        left = list(self._affordable())
        while left:
            tag = key_of("batch", {"keys": left, "moment": time.time_ns()})
            self._note(tag, batch=None, llm=self._fingerprint)
            batch, n_taken = self.llm.submit_batch([(key, self._request(key)) for key in left], tag)
            self._note(tag, batch=batch, keys=left[:n_taken])
            logger.info("submitted batch %s with %d requests", batch, n_taken)
            left = left[n_taken:]

    def _affordable(self) -> Iterator[str]:
        """The keys that fit below the limits, held back.

        Raises:
            BudgetExceededError: If none does.
        """
        for number, key in enumerate(self._open):
            try:
                held = self.budget.reserve_now(self._request(key), self.stage, self._bound(key), batch=True)
            except BudgetExceededError:
                if not number:
                    raise
                return
            if held is None:
                return
            self._held[key] = held
            yield key

    def _bound(self, key: str) -> int:
        return self._request(key).max_tokens or MOST_TOKENS

    def _request(self, key: str) -> LLMRequest:
        return self._open[key].request(self._rung)

    @property
    def _fingerprint(self) -> str:
        return self.llm.fingerprint if isinstance(self.llm, BaseLLM) else ""

    def _note(self, tag: str, **known: Any) -> None:
        self._keep([{"tag": tag, **known}])

    def _keep(self, records: list[dict[str, Any]]) -> None:
        try:
            self.journal.keep_now(records)
        except OSError as error:
            raise GenerationError(f"The journal {str(self.journal.path)!r} cannot be written: {error}.") from error
