"""What writing questions would cost, before any request."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.errors import GenerationError
from embedtune.generation.harvest import Kept
from embedtune.generation.journal import Journal
from embedtune.generation.judging import JudgeAsk
from embedtune.generation.options import Delivery, Prices, QuestionQuality
from embedtune.generation.prompting import QuestionAsk, Rung
from embedtune.generation.spend import expected_prompt_tokens, most_prompt_tokens
from embedtune.generation.task import Task, make_task
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from embedtune.protocols import BaseLLM

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["SpendEstimate", "UnaskedLLM", "estimate", "estimate_task"]

_TOKENS_PER_ANSWER = 10
_TOKENS_PER_VERDICT = 3
_TOKENS_PER_QUESTION = 22
"""A question of a dozen words as JSON. A model that reasons writes many times more: a journal with answers tells."""


@dataclass(frozen=True, kw_only=True)
class SpendEstimate:
    """What is to be expected, and the most that it can be; only repeats after failures are left out of both."""

    chunks: int
    """Chunks with text."""
    requests: int
    """One for each text that the journal does not answer, and one for the judge."""
    from_journal: int
    """Texts that the journal answers."""
    prompt_tokens: int
    """Expected, by the length of the texts: tokenizers differ by a fifth and more."""
    completion_tokens: int
    """Expected; from the mean of the journal's answers where it has some."""
    cost: float | None
    """Of the expected tokens; None without prices."""
    max_cost: float | None
    """If every prompt had a token per byte, every answer went to its limit, and every chunk were topped up; None
    without prices."""
    minutes: float | None
    """At the limits per minute; None without limits."""

    def __str__(self) -> str:
        """A few lines for a terminal."""
        lines = [f"{self.requests} requests on {self.chunks} chunks"]
        if self.from_journal:
            lines[0] += f" ({self.from_journal} answers are in the journal)"
        lines.append(f"about {self.prompt_tokens} tokens read, {self.completion_tokens} written")
        if self.cost is not None:
            lines.append(f"cost about {self.cost:.4f}, {self.max_cost:.4f} at most")
        if self.minutes is not None:
            lines.append(f"{self.minutes:.1f} minutes at the limits")
        return "\n".join(lines)


class UnaskedLLM(BaseLLM):
    """Stands for an LLM that is not chosen yet."""

    def chat_completion(self, prompt: str) -> str:
        """Nobody can ask it."""
        raise GenerationError("No LLM is chosen; this one only stands in an estimate.")


def estimate(
    nodes: Iterable[object],
    llm: object | None = None,
    qa_generate_prompt_tmpl: str = DEFAULT_PROMPT_TMPL,
    num_questions_per_chunk: int = 2,
    *,
    requests_per_minute: float | None = None,
    tokens_per_minute: float | None = None,
    journal: str | Path | None = None,
    prices: Prices | None = None,
    batch: bool = False,
    seed: int = 0,
    quality: QuestionQuality | None = None,
    plugins: "PluginManager | None" = None,
) -> SpendEstimate:
    """What `QADataset.from_llm` would send and cost with the same arguments; nothing is sent.

    Args:
        nodes: As there, and so are the others.
        llm: Tells which answers of the journal are its own; without one none is.
        qa_generate_prompt_tmpl: The template.
        num_questions_per_chunk: Questions asked for.
        requests_per_minute: Limit on requests.
        tokens_per_minute: Limit on tokens, read and written.
        journal: A journal that may hold answers already.
        prices: What tokens cost.
        batch: Whether the prices of batches hold.
        seed: As it will be.
        quality: As it will be.
        plugins: Where converters and LLMs are looked up.

    Raises:
        DatasetError: If there is no chunk with text, or the template lacks a field.

    >>> from embedtune import TextChunk
    >>> estimate([TextChunk.from_chunk("Use an index.")], prices=Prices(prompt=1, completion=4)).requests
    1
    """
    delivery = Delivery(
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        journal=None if journal is None else Path(journal),
        prices=prices,
        batch=batch,
        seed=seed,
    )
    template, n_questions = qa_generate_prompt_tmpl, num_questions_per_chunk
    return estimate_task(
        make_task(nodes, llm or UnaskedLLM(), template, n_questions, delivery, quality or QuestionQuality(), plugins)
    )


def estimate_task(task: Task) -> SpendEstimate:
    """As `estimate`, of a task that is checked already."""
    journal = task.delivery.journal
    with Journal(journal if journal is not None and journal.expanduser().exists() else None) as kept:
        open_asks = [ask for chunk in task.chunks if (ask := task.ask(chunk, Kept(), 0)).key not in kept]
        per_answer = kept.completion_tokens / kept.n_answers if kept.completion_tokens else _expected_answer(task)
    return _summed(task, open_asks, per_answer)


def _expected_answer(task: Task) -> float:
    return _TOKENS_PER_ANSWER + _TOKENS_PER_QUESTION * task.n_questions


def _judge_asks(task: Task, asks: list[QuestionAsk]) -> list[JudgeAsk]:
    """What the judge will be asked, with questions of the usual length."""
    if task.judge is None:
        return []
    questions = ("How many words does a question of the usual length have in the end?",) * task.n_questions
    return [
        JudgeAsk(chunk=ask.chunk, text=ask.text, questions=questions, max_tokens=None, seed=0, llm="") for ask in asks
    ]


def _summed(task: Task, asks: list[QuestionAsk], per_answer: float) -> SpendEstimate:
    judged = _judge_asks(task, asks)
    prompts = [ask.request(Rung.SCHEMA).prompt for ask in asks]
    verdicts = [ask.request(Rung.SCHEMA).prompt for ask in judged]
    n_prompt = sum(map(expected_prompt_tokens, prompts + verdicts))
    n_answer = round(per_answer * len(asks)) + len(judged) * (
        _TOKENS_PER_ANSWER + _TOKENS_PER_VERDICT * task.n_questions
    )
    rounds = task.quality.top_ups + 1
    most = (
        sum(map(most_prompt_tokens, prompts)) * rounds + sum(map(most_prompt_tokens, verdicts)),
        task.max_answer_tokens(task.llm) * (len(asks) * rounds + len(judged)),
    )
    delivery, prices = task.delivery, task.delivery.prices
    n_requests = len(asks) + len(judged)
    by_limit = ((delivery.requests_per_minute, n_requests), (delivery.tokens_per_minute, n_prompt + n_answer))
    return SpendEstimate(
        chunks=len(task.corpus),
        requests=n_requests,
        from_journal=len(task.ids_by_text) - len(asks),
        prompt_tokens=n_prompt,
        completion_tokens=n_answer,
        cost=None if prices is None else prices.cost(n_prompt, n_answer, batch=delivery.batch),
        max_cost=None if prices is None else prices.cost(*most, batch=delivery.batch),
        minutes=max((amount / limit for limit, amount in by_limit if limit), default=None),
    )
