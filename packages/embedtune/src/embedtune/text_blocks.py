"""The blocks of a text file: headings, code in fences, paragraphs. No more of Markdown or reStructuredText is read."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

__all__ = ["Block", "Markup", "blocks_of"]

Markup = Literal["markdown", "rst", "plain"]
"""Where headings and code are looked for; in plain text, nowhere."""

_ATX = re.compile(r" {0,3}(#{1,6})(?=[ \t]|$)(.*)$")
_SETEXT = re.compile(r" {0,3}(=+|-{2,})[ \t]*$")
_NO_TITLE = re.compile(r"\s*(?:[-*+>|] |\||\d+[.)] )|\s*$")
_RST_LINE = re.compile(r"""([=\-~^"'`:.*+#_<>])\1{2,}[ \t]*$""")
# Fences of any indent: mkdocs puts them into tabs and notes.
_FENCE = re.compile(r"[ \t]*(?:>[ \t]?)*(`{3,}(?=[^`]*$)|~{3,})")
_FRONT_MATTER = re.compile(r"---[ \t]*\n(?:(?:[\w\"'$@-][^\n]*:|#)[^\n]*\n(?:[^\n]*\n)*?)?(?:---|\.\.\.)[ \t]*(?:\n|$)")
_CLOSING = re.compile(r"[ \t]#+$")
_ANCHOR = re.compile(r"\{[#.:][^{}]*\}$")


@dataclass(frozen=True)
class Block:
    """Characters ``start`` to ``end`` of a text; between blocks there are blank lines alone."""

    start: int
    end: int
    level: int = 0
    """1 for the outermost heading; 0 for what is no heading."""
    title: str = ""
    """Of a heading, without its marks."""
    is_code: bool = False
    """Whether it is code in a fence."""


@dataclass(frozen=True)
class _Line:
    start: int
    text: str

    @property
    def is_blank(self) -> bool:
        return not self.text.strip()

    @property
    def end(self) -> int:
        return self.start + len(self.text.rstrip())


def blocks_of(text: str, markup: Markup) -> list[Block]:
    r"""The blocks in their order; front matter of Markdown (``---``, YAML, ``---``) is none of them.

    Args:
        text: The text, its lines ended by ``\n``.
        markup: What it is written in.

    >>> [(block.level, block.title) for block in blocks_of("# One\ntext\n\nTwo\n---\n", "markdown")]
    [(1, 'One'), (0, ''), (2, 'Two')]
    """
    begin = 0
    if markup == "markdown" and (front := _FRONT_MATTER.match(text)):
        begin = front.end()
    lines = list(_lines(text, begin))
    reader = {"markdown": _Markdown(), "rst": _RestructuredText(), "plain": _Plain()}[markup]
    blocks: list[Block] = []
    i = 0
    while i < len(lines):
        if lines[i].is_blank:
            i += 1
            continue
        block, i = reader.read(lines, i)
        blocks.append(block)
    return blocks


def _lines(text: str, begin: int) -> Iterator[_Line]:
    for line in text[begin:].split("\n"):
        yield _Line(begin, line)
        begin += len(line) + 1


class _Plain:
    """Paragraphs between blank lines."""

    def read(self, lines: list[_Line], i: int) -> tuple[Block, int]:
        """The block that begins at line ``i``, which is not blank, and the line after it."""
        stop = i + 1
        while stop < len(lines) and not lines[stop].is_blank and not self._interrupts(lines[stop]):
            stop += 1
        return Block(lines[i].start, lines[stop - 1].end), stop

    def _interrupts(self, line: _Line) -> bool:
        return False


class _Markdown(_Plain):
    """ATX and setext headings, and fences."""

    def read(self, lines: list[_Line], i: int) -> tuple[Block, int]:
        """As in plain text."""
        line = lines[i]
        if found := _ATX.match(line.text):
            return Block(line.start, line.end, len(found[1]), _title(_CLOSING.sub("", found[2].strip()))), i + 1
        if fence := _FENCE.match(line.text):
            return self._read_fence(lines, i, fence[1])
        below = lines[i + 1] if i + 1 < len(lines) else None
        if below and (found := _SETEXT.match(below.text)) and not _NO_TITLE.match(line.text):
            return Block(line.start, below.end, 1 if found[1][0] == "=" else 2, _title(line.text)), i + 2
        return super().read(lines, i)

    def _read_fence(self, lines: list[_Line], i: int, mark: str) -> tuple[Block, int]:
        closing = re.compile(rf"[ \t]*(?:>[ \t]?)*{re.escape(mark[0])}{{{len(mark)},}}[ \t]*$")
        stop = i + 1
        while stop < len(lines) and not closing.match(lines[stop].text):
            stop += 1
        last = min(stop, len(lines) - 1)
        while lines[last].is_blank:  # a fence that is never closed takes all that is left
            last -= 1
        return Block(lines[i].start, lines[last].end, is_code=True), stop + 1

    def _interrupts(self, line: _Line) -> bool:
        return bool(_ATX.match(line.text) or _FENCE.match(line.text))


class _RestructuredText(_Plain):
    """Titles with a line of punctuation below, or below and above; which mark is which level, each file decides."""

    def __init__(self) -> None:
        self._levels: dict[tuple[str, bool], int] = {}

    def read(self, lines: list[_Line], i: int) -> tuple[Block, int]:
        """As in plain text."""
        over = _RST_LINE.match(lines[i].text)
        at = i + 1 if over else i
        if at + 1 < len(lines) and not lines[at].is_blank:
            under = _RST_LINE.match(lines[at + 1].text)
            fits = under and len(lines[at + 1].text.rstrip()) >= len(lines[at].text.strip())
            if under and fits and (over is None or over[1] == under[1]):
                level = self._levels.setdefault((under[1], over is not None), len(self._levels) + 1)
                return Block(lines[i].start, lines[at + 1].end, level, _title(lines[at].text)), at + 2
        return super().read(lines, i)


def _title(text: str) -> str:
    """A heading without emphasis and anchors around it.

    >>> _title("**Graph RAG** {#graph}")
    'Graph RAG'
    """
    return _ANCHOR.sub("", text.strip()).strip("*_` \t")
