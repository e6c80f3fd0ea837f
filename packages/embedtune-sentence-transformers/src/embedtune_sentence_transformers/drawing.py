"""The little of SVG that a diagram of two panels needs: scales with round ticks, lines, points, texts that fit."""

import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element, SubElement

import numpy as np

__all__ = [
    "ACCENT",
    "GRID",
    "INK",
    "MUTED",
    "PAPER",
    "PLAIN",
    "STRONG",
    "Scale",
    "circle",
    "fitted",
    "line",
    "path",
    "scale_of",
    "short",
    "smoothed",
    "text",
    "thinned",
    "width_of",
]

# Of the report's page, on its light paper: each stands out from the paper by 4.5 : 1 and more, GRID and PLAIN excepted.
PAPER, INK, MUTED, GRID = "#ffffff", "#1b1d20", "#5a6068", "#dcdfe3"
STRONG, PLAIN, ACCENT = "#0a6590", "#8fb3c7", "#a8480f"

MOST_POINTS = 500
"""Of a line: more than the picture has pixels for only make the file larger."""


@dataclass(frozen=True)
class Scale:
    """Values to pixels along one axis.

    >>> Scale(0, 60, 100, 400)(30)
    250.0
    """

    low: float
    """The value at ``start``."""
    high: float
    """The value at ``end``, above ``low``."""
    start: float
    """Pixels."""
    end: float
    """Pixels; less than ``start`` for an axis that goes up."""

    def __call__(self, value: float) -> float:
        """Where a value is."""
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self, most: int, least_step: float = 0.0) -> dict[float, str]:
        """Round values within the scale with their labels.

        Args:
            most: So many ticks at most.
            least_step: They lie so far apart at least: 1 where values are whole.

        >>> Scale(0, 60, 0, 1).ticks(5)
        {0.0: '0', 20.0: '20', 40.0: '40', 60.0: '60'}
        >>> list(Scale(0.512, 0.658, 0, 1).ticks(5).values())
        ['0.55', '0.60', '0.65']
        """
        step = max(_round_step((self.high - self.low) / most), least_step)
        slack = step * 1e-6
        first, last = math.ceil((self.low - slack) / step), math.floor((self.high + slack) / step)
        return {index * step: _label(index * step, step) for index in range(first, last + 1)}


def scale_of(
    values: Sequence[float], start: float, end: float, *, least_span: float = 0.0, most: float = math.inf
) -> Scale:
    """A scale that values fill, with a little room around; it never goes below 0 for values that do not.

    Args:
        values: At least one.
        start: Pixels of the lowest value.
        end: Pixels of the highest.
        least_span: From the lowest to the highest value of the scale at least: noise is not to fill the picture.
        most: What no value can be above.
    """
    low, high = min(values), max(values)
    # Of equal values 5% to both sides are shown; a scale that is finer than its values' labels would tell nothing.
    span = max(high - low, least_span, (0.1 if high == low else 1e-3) * abs(high)) or 0.1
    middle = (low + high) / 2
    bottom, top = middle - 0.58 * span, min(middle + 0.58 * span, most)
    return Scale(max(bottom, 0.0) if low >= 0 else bottom, top, start, end)


def _round_step(least: float) -> float:
    """The next of 1, 2, 5, 10, ... times a power of ten."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least * (1 - 1e-9))


def _label(value: float, step: float) -> str:
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    if decimals > 5 or abs(value) >= 1e6:
        return f"{value:.3g}"
    return f"{value + 0.0:,.{decimals}f}"


def smoothed(values: Sequence[float], window: int) -> list[float]:
    """Mean of each value and its neighbours on both sides; at the ends of those that there are.

    Args:
        values: In order.
        window: Odd: how many values a mean is of.

    >>> smoothed([0, 3, 6, 0], 3)
    [1.5, 3.0, 3.0, 3.0]
    """
    places = np.arange(len(values))
    first, end = np.maximum(places - window // 2, 0), np.minimum(places + window // 2 + 1, len(values))
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=float))])
    means: list[float] = ((sums[end] - sums[first]) / (end - first)).tolist()
    return means


def thinned(points: Sequence[tuple[float, float]], most: int = MOST_POINTS) -> list[tuple[float, float]]:
    """At most so many of the points, the highest and the lowest of each stretch: no spike is lost."""
    if len(points) <= most:
        return list(points)
    size = math.ceil(len(points) / (most // 2))
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return [
        point
        for stretch in stretches
        for point in sorted({min(stretch, key=lambda p: p[1]), max(stretch, key=lambda p: p[1])})
    ]


def short(value: float) -> str:
    """A coordinate to a tenth of a pixel.

    >>> short(12.04), short(7.25)
    ('12', '7.2')
    """
    return f"{value:.1f}".removesuffix(".0")


def width_of(words: str, size: float) -> float:
    """Pixels that a text takes at most in about any sans-serif font: an estimate, as the fonts are the reader's."""
    wide = sum(c.isupper() or c in "mw@%—" or unicodedata.east_asian_width(c) in "WF" for c in words)
    return size * (1.1 * wide + 0.62 * (len(words) - wide))


def fitted(words: str, size: float, room: float) -> str:
    """The text, or as much of its beginning as there is room for, and an ellipsis."""
    if width_of(words, size) <= room:
        return words
    while words and width_of(words + "…", size) > room:
        words = words[:-1]
    return words + "…"


def text(parent: Element, x: float, y: float, words: str, *, size: float = 12, **attributes: str) -> None:
    """One line of text; ``anchor`` is SVG's ``text-anchor``, ``weight`` its ``font-weight``."""
    names = {"anchor": "text-anchor", "weight": "font-weight"}
    given = {names.get(name, name): value for name, value in ({"fill": INK} | attributes).items()}
    SubElement(parent, "text", {"x": short(x), "y": short(y), "font-size": short(size), **given}).text = words


def line(parent: Element, start: tuple[float, float], end: tuple[float, float], colour: str, **attributes: str) -> None:
    """A straight line; ``dashes`` is SVG's ``stroke-dasharray``."""
    places = zip(("x1", "y1", "x2", "y2"), map(short, (*start, *end)), strict=True)
    given = {name.replace("dashes", "stroke-dasharray"): value for name, value in attributes.items()}
    SubElement(parent, "line", {**dict(places), "stroke": colour, **given})


def path(parent: Element, points: Sequence[tuple[float, float]], colour: str, width: float) -> None:
    """A line through points; of a single one, a dot."""
    if len(points) == 1:
        circle(parent, *points[0], radius=width + 1.5, fill=colour)
        return
    places = " ".join(f"{short(x)},{short(y)}" for x, y in points)
    look = {"fill": "none", "stroke": colour, "stroke-width": short(width), "stroke-linejoin": "round"}
    SubElement(parent, "polyline", {"points": places, **look})


def circle(parent: Element, x: float, y: float, *, radius: float, told: str = "", **attributes: str) -> None:
    """A circle; ``told`` is shown under the pointer."""
    given = {name.replace("width", "stroke-width"): value for name, value in attributes.items()}
    mark = SubElement(parent, "circle", {"cx": short(x), "cy": short(y), "r": short(radius), **given})
    if told:
        SubElement(mark, "title").text = told
