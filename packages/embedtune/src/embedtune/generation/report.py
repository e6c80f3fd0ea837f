"""What became of every request and every question: the report that goes with a generated data set."""

from collections.abc import Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["GenerationReport", "StageSpend"]


class StageSpend(BaseModel):
    """The requests of one stage (``questions``, ``judge``) and what they cost."""

    requests: int = 0
    """Sent by this run, repeats included."""
    repeats: int = 0
    """Of these, sent again after a failure that could heal."""
    answers: int = 0
    """Answers that arrived in this run."""
    from_journal: int = 0
    """Answers taken from the journal: paid for by an earlier run."""
    cut: int = 0
    """Answers that ended at the limit of tokens."""
    refused: int = 0
    """Answers in which the model or the server's filter refused."""
    unread: int = 0
    """Answers that could not be made sense of, by a judge: its questions are kept."""
    prompt_tokens: int = 0
    """Tokens read, for the answers of the journal too."""
    completion_tokens: int = 0
    """Tokens written, reasoning included, in the answers of the journal too."""
    tokens_estimated: bool = False
    """Whether the LLM did not tell its tokens, and these are upper bounds by the length of the texts."""
    cost: float | None = None
    """In the currency of the prices, that of the journal's answers included; None without prices."""

    def count(self, prompt_tokens: int, completion_tokens: int, cost: float | None) -> None:
        """Add an answer of this run."""
        self.answers += 1
        self.count_tokens(prompt_tokens, completion_tokens, cost)

    def count_tokens(self, prompt_tokens: int, completion_tokens: int, cost: float | None) -> None:
        """Add the tokens of an answer, of this run or of the journal."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def __str__(self) -> str:
        """One line."""
        counted = {"repeated": self.repeats, "cut": self.cut, "refused": self.refused, "unread": self.unread}
        told = [f"{self.requests} requests", *(f"{count} {name}" for name, count in counted.items() if count)]
        if self.from_journal:
            told.append(f"{self.from_journal} answers from the journal")
        cost = "" if self.cost is None else f", cost {self.cost:.4f}"
        about = "at most " if self.tokens_estimated else ""
        return f"{', '.join(told)}; {about}{self.prompt_tokens} tokens read, {self.completion_tokens} written{cost}"


class GenerationReport(BaseModel):
    """How a data set's questions were written. It is saved beside the data set, and loaded with it."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["generation"] = "generation"
    llm: str
    """Class and model of the LLM."""
    seed: int = 0
    chunks: int
    """Chunks with text; equal texts are asked about once."""
    asked: int
    """Questions asked for."""
    written: int
    """Questions in the data set."""
    merged: int = 0
    """Questions asked of several chunks, which now have all of them as answers; how many were taken up by another."""
    dropped: Mapping[str, int] = Field(default_factory=dict)
    """Questions dropped, by reason."""
    styles: Mapping[str, int] = Field(default_factory=dict)
    """Questions in the data set, by style."""
    overlap: float | None = None
    """Median share of a question's words that stand in its chunk: near 1, full-text search would do."""
    failures: Mapping[str, str] = Field(default_factory=dict)
    """Chunks without a question, each with its reason."""
    stages: Mapping[str, StageSpend] = Field(default_factory=dict)
    """Requests, tokens and cost by stage."""
    cost: float | None = None
    """Of all stages, the journal's answers included; None without prices."""
    seconds: float = 0.0
    """Wall time of this run."""
    stopped: str | None = None
    """Why the run ended before all chunks were asked about."""
    filtered_by: tuple[str, ...] = ()
    """Fingerprints of the embedders that chose among the questions; they must not be judged on these."""

    def __str__(self) -> str:
        """A few lines for a terminal or a log."""
        lines = [f"{self.written} questions on {self.chunks} chunks ({self.asked} asked for) by {self.llm}"]
        lines += [f"stopped: {self.stopped}"] if self.stopped else []
        if self.dropped or self.merged:
            reasons = [f"{count} {reason}" for reason, count in self.dropped.items()]
            reasons += [f"{self.merged} merged"] if self.merged else []
            lines.append("dropped: " + ", ".join(reasons))
        if self.failures:
            chunk, reason = next(iter(self.failures.items()))
            lines.append(f"no question on {len(self.failures)} chunks, the first {chunk!r}: {reason}")
        lines += [f"{name}: {spend}" for name, spend in self.stages.items()]
        if self.filtered_by:
            lines.append(f"a round trip with {len(self.filtered_by)} model(s) chose among the questions")
        if self.overlap is not None:
            lines.append(f"words shared with the chunk: {self.overlap:.0%} in the median")
        return "\n".join([*lines, f"{self.seconds:.1f} s"])
