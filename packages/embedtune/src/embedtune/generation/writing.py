"""Questions on chunks, written by an LLM: asked for, topped up, judged, and put together as a data set."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tqdm.auto import tqdm

from embedtune.dataset import QADataset
from embedtune.dataset_checks import named
from embedtune.errors import BudgetExceededError, GenerationError
from embedtune.generation.anywhere import run_anywhere
from embedtune.generation.assembling import assemble
from embedtune.generation.batches import BatchRun
from embedtune.generation.harvest import Harvest, Kept
from embedtune.generation.journal import Journal
from embedtune.generation.judging import JudgeAsk, read_judgement
from embedtune.generation.live import LiveRun
from embedtune.generation.pacing import Gate
from embedtune.generation.prompting import QuestionAsk
from embedtune.generation.report import GenerationReport
from embedtune.generation.spend import Budget
from embedtune.generation.stage import A
from embedtune.generation.task import Task, check_deliverable
from embedtune.protocols import BaseLLM, BatchLLM, LLMAnswer

__all__ = ["write_questions"]

logger = logging.getLogger(__name__)


def write_questions(task: Task) -> QADataset:
    """See `QADataset.from_llm`."""
    check_deliverable(task)
    with Journal(task.delivery.journal) as journal:
        return _Writer(task, journal).write()


class _Writer:
    """One run: what its stages share."""

    def __init__(self, task: Task, journal: Journal) -> None:
        delivery = task.delivery
        self.task = task
        self.journal = journal
        self.budget = Budget(delivery.prices, delivery.max_cost, delivery.max_requests)
        self.budget.count_earlier(journal.n_answers, journal.prompt_tokens, journal.completion_tokens)
        self.harvest = Harvest(task.quality, self.budget.stage("questions"))
        self.failures: dict[str, str] = {}
        self.first_unjudged = ""
        self.gates: dict[int, Gate] = {}

    def write(self) -> QADataset:
        """Ask, top up, judge, put together; an error that stops it carries what there is as ``partial``."""
        start = time.monotonic()
        stopped: str | None = None
        try:
            self._ask()
            self._judge()
        except (GenerationError, KeyboardInterrupt) as error:
            stopped = str(error) or "interrupted"
            if not (isinstance(error, BudgetExceededError) and self.task.delivery.on_failure == "continue"):
                error.partial = self._dataset(start, stopped)  # type: ignore[union-attr]  # what is paid for is kept
                raise
        dataset = self._dataset(start, stopped)
        if dataset is None:
            reasons = (kept.reason for kept in self.harvest.by_chunk.values() if not kept)
            reason = stopped or next(reasons, "all were asked of too many chunks")
            raise (BudgetExceededError if stopped else GenerationError)(
                f"No question was written on any of {len(self.task.corpus)} chunks. The first reason: {reason}"
            )
        if stopped:
            logger.warning("stopped: %s", stopped)
        without = dataset.report.failures if isinstance(dataset.report, GenerationReport) else {}
        if without:
            logger.warning(
                "no question on %d of %d chunks (%s); the first reason: %s",
                *(len(without), len(self.task.corpus), named(without), next(iter(without.values()))),
            )
        return dataset

    def _ask(self) -> None:
        for round_number in range(self.task.quality.top_ups + 1):
            if not (wanting := list(self._wanting())):
                return
            asks = (self._question_ask(chunk, round_number) for chunk in wanting)
            name = "writing questions" if round_number == 0 else "asking for what is missing"
            self._run(self.task.llm, asks, len(wanting), "questions", name, self.harvest.take, self._fail)

    def _wanting(self) -> Iterator[str]:
        """The chunks with fewer questions than asked for, of which more may come."""
        for chunk in self.task.chunks:
            kept = self.harvest.by_chunk.get(chunk, Kept())
            if chunk not in self.failures and not kept.is_refused and len(kept) < self.task.n_questions:
                yield chunk

    def _question_ask(self, chunk: str, round_number: int) -> QuestionAsk:
        return self.task.ask(chunk, self.harvest.by_chunk.get(chunk, Kept()), round_number)

    def _fail(self, ask: QuestionAsk, reason: str) -> None:
        self.harvest.by_chunk.setdefault(ask.chunk, Kept()).reason = reason
        self.failures[ask.chunk] = reason

    def _judge(self) -> None:
        judge = self.task.judge
        if judge is None:
            return
        judged = [chunk for chunk in self.task.chunks if self.harvest.by_chunk.get(chunk)]
        asks = (self._judge_ask(judge, chunk) for chunk in judged)
        self._run(judge, asks, len(judged), "judge", "judging questions", self._take_judgement, self._not_judged)
        if unread := self.budget.stage("judge").unread:
            logger.warning(
                "the questions on %d of %d chunks are kept unjudged; the first reason: %s",
                *(unread, len(judged), self.first_unjudged),
            )

    def _judge_ask(self, judge: BaseLLM, chunk: str) -> JudgeAsk:
        kept = self.harvest.by_chunk[chunk]
        return JudgeAsk(
            chunk=chunk,
            text=self.task.corpus[chunk],
            questions=tuple(kept.questions + kept.keywords),
            max_tokens=self.task.max_answer_tokens(judge),
            seed=self.task.delivery.seed,
            llm=judge.fingerprint,
        )

    def _take_judgement(self, ask: JudgeAsk, answer: LLMAnswer) -> None:
        verdicts = read_judgement(answer, len(ask.questions))
        if verdicts is None:
            self._not_judged(ask, "the judgement cannot be read")
            return
        refused = {text for text, verdict in zip(ask.questions, verdicts, strict=True) if not verdict}
        self.harvest.drop(ask.chunk, refused, "not answered by the chunk (judge)")

    def _not_judged(self, ask: JudgeAsk, reason: str) -> None:
        self.first_unjudged = self.first_unjudged or reason
        self.budget.stage("judge").unread += 1

    def _run(
        self,
        llm: BaseLLM,
        asks: Iterable[A],
        n_asks: int,
        stage: str,
        name: str,
        take: Callable[[A, LLMAnswer], None],
        fail: Callable[[A, str], None],
    ) -> None:
        delivery = self.task.delivery
        with tqdm(total=n_asks, desc=name, unit="chunk", disable=not delivery.progress) as bar:

            def step() -> None:
                bar.update()
                if self.budget.cost is not None:
                    bar.set_postfix_str(f"cost {self.budget.cost:.4f}", refresh=False)

            shared: dict[str, Any] = {"delivery": delivery, "budget": self.budget, "journal": self.journal}
            shared |= {"stage": stage, "take": take, "fail": fail, "step": step}
            if isinstance(llm, BatchLLM) and (delivery.batch or self.journal.open_batches(llm.fingerprint)):
                BatchRun[A](llm=llm, **shared).run(asks)
            else:
                run = LiveRun[A](llm=llm, gate=self._gate(llm), **shared)
                run_anywhere(lambda: run.run(asks))

    def _gate(self, llm: BaseLLM) -> Gate:
        delivery = self.task.delivery
        return self.gates.setdefault(id(llm), Gate(delivery.requests_per_minute, delivery.tokens_per_minute))

    def _dataset(self, start: float, stopped: str | None) -> QADataset | None:
        return assemble(self.task, self.harvest, self.budget, stopped, time.monotonic() - start)
