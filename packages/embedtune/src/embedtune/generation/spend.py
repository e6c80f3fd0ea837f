"""What has been spent, and what may be: limits that hold while many requests are in flight."""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from embedtune.errors import BudgetExceededError
from embedtune.generation.options import Prices
from embedtune.generation.report import StageSpend
from embedtune.protocols import LLMAnswer, LLMRequest

__all__ = ["Budget", "Reservation", "expected_prompt_tokens", "most_prompt_tokens"]

_CHARACTERS_PER_TOKEN = 3.6
"""Of ASCII text, in the vocabularies of OpenAI's, Llama's and Qwen's tokenizers; a little less than the usual 4."""

_MESSAGE_TOKENS = 32
"""Around a message: roles and separators, and a server's own preamble of structured output."""


def most_prompt_tokens(text: str) -> int:
    """An upper bound of a prompt's tokens: tokenizers that work on bytes write no more tokens than bytes."""
    return len(text.encode("utf-8", "surrogatepass")) + _MESSAGE_TOKENS


def expected_prompt_tokens(text: str) -> int:
    """A prompt's tokens, estimated without a tokenizer: 3.6 ASCII characters or one other character each.

    >>> expected_prompt_tokens("a" * 360) - expected_prompt_tokens("")
    100
    """
    n_ascii = len(text.encode("ascii", "ignore"))
    return math.ceil(n_ascii / _CHARACTERS_PER_TOKEN + (len(text) - n_ascii)) + _MESSAGE_TOKENS


@dataclass(frozen=True, eq=False)
class Reservation:
    """What a request in flight may cost at most."""

    stage: str
    prompt_tokens: int
    completion_tokens: int
    batch: bool = False


@dataclass
class Budget:
    """Counts what is spent, and holds back what is in flight at its upper bound.

    A request whose fate is not known (it timed out, the line was cut) may have been paid for: the limit counts it
    at its upper bound, the report does not.
    """

    prices: Prices | None
    max_cost: float | None = None
    max_requests: int | None = None
    stages: dict[str, StageSpend] = field(default_factory=dict)
    _reserved: dict[Reservation, float] = field(default_factory=dict)
    _unknown: float = 0.0
    _cost: float = 0.0
    _n_requests: int = 0
    _waiting: list[asyncio.Future[None]] = field(default_factory=list)  # an Event would belong to one event loop

    def count_earlier(self, n_answers: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Count what the journal holds: a limit is on the whole job, however often it is resumed."""
        self._n_requests += n_answers
        self._cost += self._price(prompt_tokens, completion_tokens, batch=False)

    def stage(self, name: str) -> StageSpend:
        """The figures of one stage."""
        return self.stages.setdefault(name, StageSpend())

    def count_journaled(self, stage: str, answer: LLMAnswer) -> None:
        """Count an answer that an earlier run has paid for: the job's, and not this run's."""
        spend = self.stage(stage)
        spend.from_journal += 1
        prompt, completion = answer.prompt_tokens or 0, answer.completion_tokens or 0
        spend.tokens_estimated |= answer.prompt_tokens is None
        spend.count_tokens(prompt, completion, self._priced(prompt, completion, batch=False))

    @property
    def cost(self) -> float | None:
        """What the answers of this run cost; None without prices."""
        return None if self.prices is None else sum(spend.cost or 0.0 for spend in self.stages.values())

    async def reserve(self, request: LLMRequest, stage: str, most_tokens: int) -> Reservation:
        """Hold back what a request may cost; waits while answers in flight may still make room.

        Args:
            request: What is to be sent.
            stage: Name of the stage in the report.
            most_tokens: Upper bound on the tokens of its answer.

        Raises:
            BudgetExceededError: If it could pass a limit.
        """
        while (reservation := self.reserve_now(request, stage, most_tokens)) is None:
            room = asyncio.get_running_loop().create_future()
            self._waiting.append(room)
            await room
        return reservation

    def reserve_now(
        self, request: LLMRequest, stage: str, most_tokens: int, *, batch: bool = False
    ) -> Reservation | None:
        """As `reserve`; None if it does not fit now, but may when what is in flight has come.

        Raises:
            BudgetExceededError: If it could pass a limit with nothing in flight.
        """
        wanted = Reservation(stage, most_prompt_tokens(request.prompt), most_tokens, batch)
        cost = self._price(wanted.prompt_tokens, wanted.completion_tokens, batch=batch)
        if self.max_requests is not None and self._n_requests >= self.max_requests:
            raise BudgetExceededError(
                f"max_requests={self.max_requests} is reached ({self._n_requests} requests, those that the journal "
                "answers included). The same call with a higher limit and the same journal goes on from here."
            )
        if (
            self.max_cost is not None
            and self._cost + self._unknown + sum(self._reserved.values()) + cost > self.max_cost
        ):
            if self._reserved:
                return None
            raise BudgetExceededError(self._too_dear(cost))
        return self._hold(wanted, cost)

    def hold(self, request: LLMRequest, stage: str, most_tokens: int) -> Reservation:
        """Hold back what an earlier run has submitted in a batch, whatever the limits say."""
        wanted = Reservation(stage, most_prompt_tokens(request.prompt), most_tokens, batch=True)
        return self._hold(wanted, self._price(wanted.prompt_tokens, wanted.completion_tokens, batch=True))

    def _hold(self, wanted: Reservation, cost: float) -> Reservation:
        self._reserved[wanted] = cost
        self._n_requests += 1
        self.stage(wanted.stage).requests += 1
        return wanted

    def _too_dear(self, cost: float) -> str:
        unknown = f" and up to {self._unknown:.4f} of requests that broke off" if self._unknown else ""
        return (
            f"The next request could cost up to {cost:.4f}; with {self._cost:.4f} spent{unknown} that may pass "
            f"max_cost={self.max_cost}. The same call with a higher limit and the same journal goes on from here."
        )

    def settle(self, reservation: Reservation, answer: LLMAnswer) -> LLMAnswer:
        """Put an answer's cost in place of its reservation; returns it with its tokens, estimated if not told."""
        self.drop(reservation)
        stage = self.stage(reservation.stage)
        if answer.prompt_tokens is None or answer.completion_tokens is None:
            stage.tokens_estimated = True
        prompt = reservation.prompt_tokens if answer.prompt_tokens is None else answer.prompt_tokens
        told = answer.completion_tokens
        completion = most_prompt_tokens(answer.text) - _MESSAGE_TOKENS if told is None else told
        self._cost += self._price(prompt, completion, batch=reservation.batch)
        stage.count(prompt, completion, self._priced(prompt, completion, batch=reservation.batch))
        return answer

    def drop(self, reservation: Reservation, *, is_unknown: bool = False) -> None:
        """Give a reservation up, since its request failed."""
        cost = self._reserved.pop(reservation, 0.0)
        self._unknown += cost if is_unknown else 0.0
        self._make_room()

    def take_back(self, reservation: Reservation) -> None:
        """Give up a reservation whose request was never sent."""
        del self._reserved[reservation]
        self._n_requests -= 1
        self.stage(reservation.stage).requests -= 1
        self._make_room()

    def _make_room(self) -> None:
        waiting, self._waiting = self._waiting, []
        for room in waiting:
            if not room.done():
                room.set_result(None)

    def _priced(self, prompt: int, completion: int, *, batch: bool) -> float | None:
        return None if self.prices is None else self._price(prompt, completion, batch=batch)

    def _price(self, prompt: int, completion: int, *, batch: bool) -> float:
        return 0.0 if self.prices is None else self.prices.cost(prompt, completion, batch=batch)


def total(stages: Mapping[str, StageSpend], name: str) -> float:
    """A figure summed over the stages."""
    return sum(getattr(spend, name) or 0 for spend in stages.values())
