"""Cutting the text of one file into passages: at headings and paragraphs where it can be, inside them where not.

Passages are slices of the text, one after the other without overlap: nothing but blank lines and front matter
is left out.
"""

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import takewhile

from embedtune.errors import DatasetError
from embedtune.text_blocks import Block, Markup, blocks_of

__all__ = ["Passage", "cut_text"]

_PROSE_ENDS = (
    re.compile(r"\n(?=[ \t]*(?:(?:[-*+•]|\d+[.)])[ \t]|\|))"),  # before an item of a list, or a row of a table
    re.compile("(?<=[.!?\u2026])[\"'\u201d\u2019\u00bb)\\]]*\\s+|(?<=[\u3002\uff01\uff1f])"),  # a sentence, Chinese too
    re.compile(r"\s+"),
    re.compile(r"(?=\w)"),  # never before a vowel sign, which belongs to the letter ahead of it
)
"""Where a block that is too long may end, best first."""
_CODE_ENDS = (re.compile(r"\n[ \t]*\n"), re.compile(r"\n"), re.compile(r"\s+"), re.compile(r"(?=\w)"))


@dataclass(frozen=True)
class Passage:
    """A piece of a text."""

    text: str
    """As it stands in the file; never blank."""
    headings: tuple[str, ...] = ()
    """The headings that it stands under, outermost first; where it spans several sections, those they share."""


@dataclass(frozen=True)
class _Span:
    start: int
    end: int
    headings: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        return self.end - self.start


@dataclass
class _Section:
    """Headings one below the other, and the blocks up to the next heading."""

    headings: tuple[str, ...] = ()
    heading_blocks: list[Block] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)


def cut_text(text: str, *, max_characters: int = 1200, markup: Markup = "plain") -> list[Passage]:
    r"""Cut a text into passages of at most ``max_characters``.

    A heading stays with the text below it. It begins a new passage, unless the passage before it is under a
    quarter full and stands beside or above it: then the two are one, if both fit whole. Paragraphs are packed
    until the passage is full. Code in fences is cut only where it does not fit, at the end of a line; a
    paragraph that does not fit at the end of a sentence, or else of a word.

    Args:
        text: The text; line ends of any kind.
        max_characters: Most characters of a passage, at least 1.
        markup: Where headings and code are looked for: ``"markdown"``, ``"rst"``, or ``"plain"`` for nowhere.

    Raises:
        DatasetError: If ``max_characters`` is below 1.

    >>> page = "# Guide\n\n## Install\n\nRun pip install.\n\n## Use\n\nCall tune()."
    >>> for passage in cut_text(page, max_characters=40, markup="markdown"):
    ...     print(passage.headings, repr(passage.text))
    ('Guide', 'Install') '# Guide\n\n## Install\n\nRun pip install.'
    ('Guide', 'Use') '## Use\n\nCall tune().'
    """
    if max_characters < 1:
        raise DatasetError(f"max_characters must be at least 1; got {max_characters!r}.")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    spans: list[_Span] = []
    for section in _sections(blocks_of(text, markup)):
        first, *others = _packed(text, section, max_characters)
        joined = None if others or not spans else _joined(spans[-1], first, max_characters)
        spans[len(spans) - (joined is not None) :] = [joined or first, *others]
    passages = (Passage(text[span.start : span.end].strip("\n").rstrip(), span.headings) for span in spans)
    return [passage for passage in passages if passage.text]


def _sections(blocks: Sequence[Block]) -> list[_Section]:
    sections: list[_Section] = []
    path: list[tuple[int, str]] = []
    for block in blocks:
        if not sections or (block.level and sections[-1].blocks):
            sections.append(_Section())
        section = sections[-1]
        if block.level:
            path = [(level, title) for level, title in path if level < block.level] + [(block.level, block.title)]
            section.headings = tuple(title for _, title in path if title)
            section.heading_blocks.append(block)
        else:
            section.blocks.append(block)
    return sections


def _joined(before: _Span, section: _Span, max_characters: int) -> _Span | None:
    """Both as one, if the one before is too small to stand alone and they belong together."""
    pairs = takewhile(lambda pair: pair[0] == pair[1], zip(before.headings, section.headings, strict=False))
    shared = tuple(heading for heading, _ in pairs)
    if before.headings and not shared:
        return None
    if before.length >= max_characters / 4 or section.end - before.start > max_characters:
        return None
    return replace(before, end=section.end, headings=shared)


def _packed(text: str, section: _Section, max_characters: int) -> list[_Span]:
    """The passages of one section, at least one."""
    spans: list[_Span] = []
    for span in _pieces(text, section, max_characters):
        if spans and span.end - spans[-1].start <= max_characters:
            spans[-1] = replace(spans[-1], end=span.end)
        else:
            spans.append(span)
    return spans


def _pieces(text: str, section: _Section, max_characters: int) -> Iterator[_Span]:
    """What stays together: each block, the first one with the headings above it; pieces of those too long."""
    opened = section.heading_blocks[0].start if section.heading_blocks else None
    for block in section.blocks or section.heading_blocks[-1:]:
        start = block.start if opened is None else opened
        opened = None
        ends = _CODE_ENDS if block.is_code else _PROSE_ENDS
        while block.end - start > max_characters:
            stop = _cut(text, start, block, max_characters, ends)
            yield _Span(start, stop, section.headings)
            start = stop
        if start < block.end:
            yield _Span(start, block.end, section.headings)


def _cut(text: str, start: int, block: Block, max_characters: int, ends: Sequence["re.Pattern[str]"]) -> int:
    """Where to cut: at the best kind of end in the last two thirds, so that the pieces are of like length."""
    rest = block.end - start
    length = min(max_characters, math.ceil(1.2 * rest / math.ceil(rest / max_characters)))
    # Not between a heading and the text below it, unless the headings alone fill the passage.
    earliest = block.start if start < block.start < start + length * 2 // 3 else start
    earliest = max(earliest, start + length // 3)
    for pattern in ends:
        found = [match.end() for match in pattern.finditer(text, earliest, start + length)]
        if found and found[-1] > earliest:
            return found[-1]
    return start + length
