r"""What an answer of an LLM holds: JSON or lines, whole or cut, with all that models put around questions.

>>> read_answer('```json\n{"questions": ["What is Lance?"]}\n```').questions
['What is Lance?']
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from embedtune.texts import fold

__all__ = ["ReadAnswer", "parse_questions", "read_answer"]

# Up to the last closing tag (some servers cut the opening one off), or from an opening tag that is never closed.
_REASONING = re.compile(
    r"\A.*</(?:think(?:ing)?|reasoning)>|<(?:think(?:ing)?|reasoning)>.*\Z", re.DOTALL | re.IGNORECASE
)
_MARKER = re.compile(
    r"^\s*(?:[-*\u2022>#]+\s+|\**\(?\d{1,2}[.):](?!\d)\s*|\**\s*(?:Q|question|query|frage)\s*\d*\s*[:.)]\s*)+",
    re.IGNORECASE,
)
_KEYWORDS = re.compile(r"^\**(?:keywords?|keyword quer(?:y|ies))\**\s*:\s*", re.IGNORECASE)
_QUOTES = "\"'`*\u201c\u201d\u201e\u00ab\u00bb"
_QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e")
_STRING = re.compile(r'"((?:[^"\\]|\\.)*)"(\s*:)?', re.DOTALL)
_ITEM_NAMES = ("question", "query", "text")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")

_TO_THE_READER = re.compile(
    r"^(?:i['\u2019]?m sorry|sorry\b|i (?:can(?:no|['\u2019])t|am unable|apologi[sz]e)|as an ai\b|"
    r"(?:would|do|did|can|could|shall|should) (?:you|i)\b.{0,40}\b(?:like|want|prefer|help|else|assist|more questions|"
    r"need (?:more|any|further|help)|provide|rephrase|clarify)\b|"
    r"(?:is|was) there anything else\b|(?:how|what) (?:else )?can i (?:help|do for you)\b|let me know\b)",
    re.IGNORECASE,
)
"""What a model says to whoever asked it, also where it ends in a question mark."""


@dataclass(frozen=True)
class ReadAnswer:
    """The questions in an answer, and what in it is none."""

    questions: list[str] = field(default_factory=list)
    """In the order given, without repeats."""
    keywords: list[str] = field(default_factory=list)
    """Keyword queries, in the order given, without repeats."""
    refused: list[str] = field(default_factory=list)
    """What the model says to whoever asked it: a refusal, an offer."""


def read_answer(answer: str) -> ReadAnswer:
    """The questions in an answer, from JSON if there is some in it, else line by line.

    Args:
        answer: The model's message; JSON may stand in a fence, among prose, one object a line, or be cut off in
            the middle.
    """
    said = _REASONING.sub("", answer)
    # An example of the shape, echoed from the prompt, holds no words.
    found = [(kind, text) for kind, text in _from_json(said) if re.search(r"\w", text)]
    if not found:
        return _collected(_from_lines(said))
    return _collected([(kind, _stripped(text)) for kind, text in found if not text.rstrip().endswith(":")])


def parse_questions(answer: str, at_most: int) -> list[str]:
    r"""The questions in an answer: without numbering, bullets, quotes, preamble, fences or repeats.

    A line counts as a question if it ends in a question mark; where no line does, lines under a marker
    (``1.``, ``-``, ``Q1:``) do, for search queries that are no sentences.

    Args:
        answer: The model's message.
        at_most: How many are kept, in the order given.

    >>> parse_questions("Here are 2 questions:\n1. What is Lance?\n2) **How is it stored?**", 2)
    ['What is Lance?', 'How is it stored?']
    """
    read = read_answer(answer)
    return [text for text in read.questions + read.keywords if len(text.encode("utf-8")) >= 8][:at_most]


def _collected(found: list[tuple[str, str]]) -> ReadAnswer:
    read = ReadAnswer()
    seen: set[str] = set()
    for kind, text in found:
        if not text or (key := fold(text)) in seen:
            continue
        seen.add(key)
        if kind == "question" and _TO_THE_READER.search(text):
            read.refused.append(text)
        else:
            (read.keywords if kind == "keyword" else read.questions).append(text)
    return read


def _from_lines(answer: str) -> list[tuple[str, str]]:
    lines = [" ".join(line.split()) for line in answer.splitlines()]
    lines = [line for line in lines if line and not line.startswith("```")]
    asked: list[tuple[str, str]] = []
    marked: list[tuple[str, str]] = []
    for line in lines:
        bare = _MARKER.sub("", line).strip()
        if keywords := _KEYWORDS.match(bare):
            asked += [("keyword", _stripped(text)) for text in bare[keywords.end() :].split(";")]
        elif (text := _stripped(line)).endswith(_QUESTION_MARKS) or _TO_THE_READER.search(text):
            asked.append(("question", text))
        elif _MARKER.match(line) and not text.endswith(":"):
            marked.append(("question", text))
    is_answered = any(kind == "keyword" or text.endswith(_QUESTION_MARKS) for kind, text in asked)
    return asked if is_answered else asked + marked


def _stripped(text: str) -> str:
    """One line without marker, quotes and control characters."""
    # Runs of white space go first: the marker's pattern would try every part of a long one.
    line = " ".join(_CONTROL.sub(" ", text).split())
    return " ".join(_MARKER.sub("", line).strip().strip(_QUOTES).split())


def _from_json(answer: str) -> Iterator[tuple[str, str]]:
    """The strings of all JSON values in the answer; of one that was cut off, those that are whole."""
    decoder = json.JSONDecoder()
    place = _json_start(answer, 0)
    while place is not None:
        try:
            value, end = decoder.raw_decode(answer, place)
        except (ValueError, RecursionError):
            if answer[place:].count('"') >= 2 and _looks_cut(answer[place:]):
                yield from _from_cut_json(answer[place:])
            return
        yield from _strings(value, "question")
        place = _json_start(answer, end)


def _json_start(answer: str, start: int) -> int | None:
    """Where an object, or an array of strings or objects, begins; prose has brackets too."""
    found = re.compile(r'\{\s*"|\[\s*["{]').search(answer, start)
    return None if found is None else found.start()


def _looks_cut(text: str) -> bool:
    return bool(re.match(r'\{\s*"[a-z_]+"\s*:\s*\[|\[\s*["{]', text, re.IGNORECASE))


def _from_cut_json(text: str) -> Iterator[tuple[str, str]]:
    kind = "question"
    for match in _STRING.finditer(text):
        if match[2]:
            kind = _kind_of(match[1], kind)
            continue
        try:
            yield kind, json.loads(f'"{match[1]}"', strict=False)
        except ValueError:
            continue


def _strings(value: object, kind: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, str):
        yield kind, value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item, kind)
    elif isinstance(value, dict):
        named = [name for name in _ITEM_NAMES if isinstance(value.get(name), str)]
        for name in named[:1] or value:
            yield from _strings(value[name], _kind_of(str(name), kind))


def _kind_of(name: str, kind: str) -> str:
    return "keyword" if "keyword" in name.casefold() else kind
