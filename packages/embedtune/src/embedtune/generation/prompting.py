"""What is asked of the LLM about one chunk, in which shape, and under which key its answer is kept."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any, Protocol

from embedtune.prompts import fill_template
from embedtune.protocols import LLMRequest

__all__ = ["Ask", "QuestionAsk", "Rung", "key_of", "styles_of"]

_UNSENDABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_KEY_PARTS = (
    *("text", "template", "n_questions", "n_keywords", "avoid", "language"),
    *("max_tokens", "temperature", "seed", "llm", "round_number"),
)
_QUESTIONS, _KEYWORDS = "questions", "keyword_queries"


class Rung(IntEnum):
    """How an answer's shape is asked for: as much as the server can do."""

    TEXT = 0
    """Lines."""
    JSON = 1
    """Some JSON object."""
    SCHEMA = 2
    """JSON after a schema."""


class Ask(Protocol):
    """One thing to be asked of the LLM."""

    @property
    def key(self) -> str:
        """32 hex digits that stand for everything that changes the answer."""

    def request(self, rung: Rung) -> LLMRequest:
        """The request, in the shape of a rung."""


@dataclass(frozen=True, kw_only=True)
class QuestionAsk:
    """Asks for questions on one chunk."""

    chunk: str
    """Id of the chunk."""
    text: str
    """Its text."""
    template: str
    n_questions: int
    n_keywords: int
    avoid: tuple[str, ...] = ()
    """Questions on the chunk that are there already."""
    round_number: int = 0
    """How often the chunk was asked about before."""
    language: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    seed: int = 0
    llm: str = ""
    """The LLM's fingerprint."""

    @property
    def key(self) -> str:
        """Of chunk text, template, counts, LLM and parameters; not of the rung, which is the server's matter."""
        return key_of("questions", {name: getattr(self, name) for name in _KEY_PARTS})

    def request(self, rung: Rung) -> LLMRequest:
        """The template with the chunk in it, and below it the shape of the answer."""
        context = sendable(self.text)
        prompt = fill_template(self.template, context, self.n_questions + self.n_keywords)
        return LLMRequest(
            prompt="\n".join([prompt.rstrip("\n"), *self._wishes(), self._shape(rung)]) + "\n",
            schema=self._schema() if rung is Rung.SCHEMA else None,
            json_object=rung is Rung.JSON,
            max_tokens=self.max_tokens,
            temperature=self.temperature,
            seed=self.seed,
        )

    def _wishes(self) -> list[str]:
        wishes: list[str] = []
        if self.n_keywords:
            kinds = f"{self.n_keywords} of them" if self.n_questions else "each"
            terms = "two to five search terms, as people type them"
            wishes.append(f"Write {kinds} not as a question but as a keyword query: {terms}.")
        wishes.append(f"Write in {self.language or 'the language of the passage'}.")
        if self.avoid:
            there = "\n".join(f"- {question}" for question in self.avoid)
            wishes.append(f"These are there already; write others:\n{there}")
        elif self.round_number:  # the same words again would get the same answer from a careful server
            wishes.append("An earlier answer held nothing that could be used. Write the search queries themselves.")
        return wishes

    def _shape(self, rung: Rung) -> str:
        if rung is Rung.TEXT:
            mark = ", keyword queries with 'keywords:' in front" if self.n_keywords else ""
            return f"One per line{mark}, nothing else."
        # No example: small models copy it.
        lists = " and ".join(f'"{name}", a list of {count} strings' for name, count in self._counts().items())
        return f"Answer with JSON alone: an object with {lists}."

    def _counts(self) -> dict[str, int]:
        counts = {_QUESTIONS: self.n_questions, _KEYWORDS: self.n_keywords}
        return {name: count for name, count in counts.items() if count}

    def _schema(self) -> dict[str, Any]:
        counts = self._counts()
        lists = {
            name: {"type": "array", "items": {"type": "string"}, "minItems": count, "maxItems": count}
            for name, count in counts.items()
        }
        return {"type": "object", "properties": lists, "required": list(counts), "additionalProperties": False}


def sendable(text: str) -> str:
    """A text as it may stand in a request: without control characters and halves of surrogate pairs."""
    return _UNSENDABLE.sub("\ufffd", text)


def key_of(stage: str, parts: Mapping[str, Any]) -> str:
    """32 hex digits of everything that changes an answer."""
    told = json.dumps([stage, dict(parts)], ensure_ascii=True, sort_keys=True)
    return hashlib.sha256(told.encode("ascii")).hexdigest()[:32]


def styles_of(text: str, shares: Mapping[str, float], n_questions: int, seed: int) -> list[str]:
    """The styles of the questions on one chunk, drawn by its text, so that other chunks change nothing.

    Args:
        text: The chunk's text.
        shares: Share by style, summing to 1.
        n_questions: How many are drawn, spread evenly over the shares.
        seed: Same seed, same draw.
    """
    digest = hashlib.sha256(f"{seed}\0{text}".encode("utf-8", "surrogatepass")).digest()
    start = int.from_bytes(digest[:8], "big") / 2**64
    places = ((start + i / n_questions) % 1.0 for i in range(n_questions))
    return sorted((_style_at(place, shares) for place in places), key=list(shares).index)


def _style_at(place: float, shares: Mapping[str, float]) -> str:
    styles: Sequence[str] = list(shares)
    for style in styles:
        if place < shares[style]:
            return style
        place -= shares[style]
    return styles[-1]
