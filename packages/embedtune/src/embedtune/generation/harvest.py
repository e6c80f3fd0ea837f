"""What the answers gave: questions by chunk, and the reasons of those that were not kept."""

from collections import Counter
from dataclasses import dataclass, field

from embedtune.errors import GenerationError
from embedtune.generation.answers import read_answer
from embedtune.generation.filters import asks_the_same, why_dropped
from embedtune.generation.misspelling import misspelt
from embedtune.generation.options import QuestionQuality
from embedtune.generation.prompting import QuestionAsk
from embedtune.generation.report import StageSpend
from embedtune.protocols import LLMAnswer

__all__ = ["Harvest", "Kept"]

_CUT = frozenset({"length", "max_tokens"})
_REFUSED = frozenset({"content_filter", "refusal"})

_USELESS_AT_FIRST = 10
"""If so many first answers hold nothing to keep, the others will not either, and each of them costs money."""


@dataclass
class Kept:
    """What there is on one chunk."""

    questions: list[str] = field(default_factory=list)
    keywords: list[str] = field(default_factory=list)
    reason: str = "it was not asked about"
    """Why there is nothing, as long as there is nothing."""
    is_refused: bool = False
    """Whether the LLM refused: it would refuse again."""

    def __len__(self) -> int:
        return len(self.questions) + len(self.keywords)


class Harvest:
    """Takes answers and keeps what is a good question on its chunk.

    Args:
        quality: Which filters are on.
        spend: Counts cut and refused answers.
    """

    def __init__(self, quality: QuestionQuality, spend: StageSpend) -> None:
        self.quality = quality
        self.by_chunk: dict[str, Kept] = {}
        self.dropped: Counter[str] = Counter()
        self._spend = spend
        self._n_answers = 0
        self._is_useful = False

    def take(self, ask: QuestionAsk, answer: LLMAnswer) -> None:
        """Keep what an answer gives for its chunk.

        Raises:
            GenerationError: If the first answers all hold nothing.
        """
        self._n_answers += 1
        kept = self.by_chunk.setdefault(ask.chunk, Kept())
        read = read_answer(answer.text)
        refused = (answer.finish or "") in _REFUSED or bool(read.refused and not read.questions + read.keywords)
        cut = (answer.finish or "") in _CUT
        self._spend.cut += cut
        self._spend.refused += refused
        # A model that was asked for keyword queries alone answers with a list of "questions" too.
        keywords = read.keywords or (read.questions if not ask.n_questions else [])
        questions = read.questions if ask.n_questions else []
        reasons = Counter({"said to the reader": len(read.refused)}) if read.refused else Counter()
        reasons += self._keep(kept.questions, questions, "question", ask, ask.n_questions)
        reasons += self._keep(kept.keywords, keywords, "keyword", ask, ask.n_keywords)
        self.dropped += reasons
        kept.is_refused = refused
        if not kept:
            kept.reason = _reason(answer, ask, reasons, refused=refused, cut=cut)
        self._is_useful = self._is_useful or bool(kept)
        if not self._is_useful and self._n_answers >= _USELESS_AT_FIRST:
            raise GenerationError(
                f"None of the first {self._n_answers} answers holds a question that can be kept; the last one: "
                f"{kept.reason}. Look at the model and the prompt before more is paid for."
            )

    def _keep(self, kept: list[str], found: list[str], kind: str, ask: QuestionAsk, most: int) -> Counter[str]:
        """Add to ``kept`` in place; the reasons of what is not added."""
        reasons: Counter[str] = Counter()
        room, near = most, self.quality.near_duplicates
        for text in found:
            reason = why_dropped(text, kind, ask.text, self.quality)
            if reason is None and any(asks_the_same(text, other, near) for other in kept):
                reason = "repeated"
            if reason is None and room == 0:
                reason = "more than asked for"
            if reason is None:
                kept.append(text)
                room -= 1
            else:
                reasons[reason] += 1
        return reasons

    def drop(self, chunk: str, texts: set[str], reason: str) -> None:
        """Take questions on a chunk back."""
        kept = self.by_chunk[chunk]
        kept.questions = [text for text in kept.questions if text not in texts]
        kept.keywords = [text for text in kept.keywords if text not in texts]
        self.dropped[reason] += len(texts)
        if not kept:
            kept.reason = reason

    def styled(self, chunk: str, styles: list[str], seed: int) -> list[tuple[str, str]]:
        """The questions on a chunk with their styles, typing errors made where they were wanted."""
        kept = self.by_chunk.get(chunk, Kept())
        n_natural = styles.count("natural")
        found = [(text, "natural") for text in kept.questions[:n_natural]]
        found += [(misspelt(text, seed), "misspelt") for text in kept.questions[n_natural:]]
        return found + [(text, "keyword") for text in kept.keywords]


def _reason(answer: LLMAnswer, ask: QuestionAsk, reasons: "Counter[str]", *, refused: bool, cut: bool) -> str:
    if cut:
        limit = f"{ask.max_tokens} tokens" if ask.max_tokens else "the LLM's limit of tokens"
        return f"the answer was cut at {limit} (reasoning counts too: raise the limit, or lower the reasoning effort)"
    if refused:
        return "the LLM refused"
    if reasons:
        return "nothing of the answer was kept: " + ", ".join(f"{count} {reason}" for reason, count in reasons.items())
    return (
        f"the answer held no question: {' '.join(answer.text.split())[:80]!r}"
        if answer.text.strip()
        else "the answer was empty"
    )
