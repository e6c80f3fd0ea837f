"""The picture of a training, ``training.svg``: the loss after each step and the choosing metric at each candidate."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from embedtune import TuneResult
from embedtune.texts import printable
from embedtune.tuner import ValidationPoint
from embedtune_sentence_transformers.drawing import (
    ACCENT,
    GRID,
    INK,
    MUTED,
    PAPER,
    PLAIN,
    STRONG,
    Scale,
    circle,
    fitted,
    line,
    path,
    scale_of,
    smoothed,
    text,
    thinned,
    width_of,
)

__all__ = ["CURVE_FILE", "curve_svg", "write_curve"]

CURVE_FILE = "training.svg"
"""In the model folder, beside the card that shows it."""

_WIDTH, _HEIGHT = 760.0, 462.0
_LEFT, _RIGHT = 64.0, 626.0
"""Of both panels; beside them stand the ticks' labels and the names of the lines."""
_LOSS, _METRIC = (96.0, 226.0), (274.0, 404.0)
"""Top and bottom of the panels."""
_SMOOTHED_FROM = 10
"""With fewer steps a mean over some says no more than the steps themselves."""
_LEAST_SPAN = 0.05
"""Of the metric's axis."""


def write_curve(folder: Path, result: TuneResult, name: str) -> None:
    """Write ``training.svg`` into the model folder.

    Args:
        folder: The model folder.
        result: Of the run that made it.
        name: What to call the base model.
    """
    (folder / CURVE_FILE).write_text(curve_svg(result, name), encoding="utf-8")


def curve_svg(result: TuneResult, name: str) -> str:
    """The picture: a self-contained SVG without script, fonts or links, on a paper of its own.

    Args:
        result: What is shown.
        name: What to call the base model.
    """
    shown = _Shown(result)
    look = {"role": "img", "aria-labelledby": "title desc", "font-family": "system-ui, 'Segoe UI', sans-serif"}
    size = {"viewBox": f"0 0 {_WIDTH:g} {_HEIGHT:g}", "width": f"{_WIDTH:g}", "height": f"{_HEIGHT:g}"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, **look})
    title = f"Training of {printable(name)}"
    SubElement(svg, "title", {"id": "title"}).text = title
    SubElement(svg, "desc", {"id": "desc"}).text = shown.told()
    frame = {"x": "0.5", "y": "0.5", "width": f"{_WIDTH - 1:g}", "height": f"{_HEIGHT - 1:g}", "rx": "8"}
    SubElement(svg, "rect", {**frame, "fill": PAPER, "stroke": GRID})
    text(svg, 24, 32, fitted(title, 16, _WIDTH - 48), size=16, weight="600")
    text(svg, 24, 52, fitted(shown.outcome(), 12, _WIDTH - 48), fill=MUTED)
    x = Scale(0, shown.last, _LEFT, _RIGHT)
    _draw_losses(svg, shown, x)
    _draw_metric(svg, shown, x)
    for value, label in shown.ticks(x).items():
        text(svg, x(value), _METRIC[1] + 18, label, fill=MUTED, anchor="middle")
    text(svg, (_LEFT + _RIGHT) / 2, _METRIC[1] + 40, shown.axis, anchor="middle")
    indent(svg, " ")
    return tostring(svg, encoding="unicode") + "\n"


@dataclass(frozen=True)
class _Shown:
    """What the picture says of a result."""

    result: TuneResult

    @property
    def metric(self) -> str:
        """The choosing one."""
        return str(self.result.record.configuration["metric"])

    @property
    def folds(self) -> int:
        """Of a cross-validation; else 0."""
        return int(self.result.record.configuration.get("cross_validation_folds") or 0)

    @property
    def by_epoch(self) -> bool:
        """Folds and a last run on everything have steps of their own each: their passes are what can be compared."""
        return self.folds > 0

    @property
    def axis(self) -> str:
        """What runs from left to right."""
        return "passes over the training pairs" if self.by_epoch else "optimiser step"

    @property
    def base(self) -> ValidationPoint:
        """The base model."""
        return self.result.history[0]

    @property
    def kept(self) -> ValidationPoint:
        """The candidate whose weights are in the folder."""
        record = self.result.record
        chosen = (0, 1.0) if record.kept_base else (record.chosen_step, record.chosen_share)
        return next((p for p in self.result.history if (p.step, p.share) == chosen), self.base)

    @cached_property
    def losses(self) -> list[tuple[float, float]]:
        """Where each step is on the axis, and its loss."""
        n_steps = len(self.result.losses)
        places: Sequence[float] = range(1, n_steps + 1)
        if self.by_epoch:
            places = [self._passes_of_losses * place / n_steps for place in places]
        return [point for point in zip(places, self.result.losses, strict=True) if math.isfinite(point[1])]

    @property
    def _passes_of_losses(self) -> float:
        """After a cross-validation the last run ends where a checkpoint was chosen."""
        ends_early = self.kept is not self.base and self.kept.share == 1
        return self.kept.epoch if ends_early else max(point.epoch for point in self.result.history)

    @property
    def last(self) -> float:
        """The right end of the axis."""
        return max(*(place for place, _ in self.losses), *map(self.place, self.result.history), 0) or 1

    def ticks(self, x: Scale) -> dict[float, str]:
        """Of the axis."""
        return x.ticks(8, least_step=0.0 if self.by_epoch else 1.0)

    def place(self, point: ValidationPoint) -> float:
        """Where a candidate is on the axis."""
        return point.epoch if self.by_epoch else point.step

    def value(self, point: ValidationPoint) -> float:
        """A candidate's metric."""
        return point.metrics[self.metric]

    def name(self, point: ValidationPoint) -> str:
        """Such as ``step 60, 50% of the way``: from the base's weights to those of that step."""
        if point is self.base:
            return "base model"
        step = f"pass {point.epoch:.2f}" if self.by_epoch else f"step {point.step:,}"
        return step if point.share == 1 else f"{step}, {point.share:.0%} of the way"

    def outcome(self) -> str:
        """One line: base and kept."""
        queries = self.result.record.configuration["validation_queries"]
        told = f"{self.metric} on {queries:,} validation queries: base {self.value(self.base):.3f}"
        if self.kept is self.base:
            return f"{told}, kept: no gain beyond chance"
        return f"{told}, kept {self.value(self.kept):.3f} ({self.name(self.kept)})"

    def loss_heading(self) -> str:
        """Whose losses they are."""
        if not self.by_epoch:
            return "Training loss"
        return "Training loss, last fold" if self.kept is self.base else "Training loss, last run on all pairs"

    def told(self) -> str:
        """The picture in words."""
        values = "; ".join(f"{self.name(p)} {self.value(p):.3f}" for p in self.result.history[1:])
        ends = f"from {self.losses[0][1]:.3g} to {self.losses[-1][1]:.3g}" if self.losses else "not recorded"
        steps = len(self.result.losses)
        return f"{self.loss_heading()} of {steps:,} steps: {ends}. {self.outcome()}. Candidates: {values or 'none'}."


def _draw_losses(svg: Element, shown: _Shown, x: Scale) -> None:
    top, bottom = _LOSS
    _draw_panel(svg, shown.loss_heading(), _LOSS, map(x, shown.ticks(x)))
    if not shown.losses:
        text(svg, (_LEFT + _RIGHT) / 2, (top + bottom) / 2, "no losses recorded", fill=MUTED, anchor="middle")
        return
    y = scale_of([loss for _, loss in shown.losses], bottom, top)
    _draw_values(svg, y)
    places = [x(place) for place, _ in shown.losses]
    are_few = len(shown.losses) < _SMOOTHED_FROM
    raw = [(place, y(loss)) for place, (_, loss) in zip(places, shown.losses, strict=True)]
    path(svg, thinned(raw), STRONG if are_few else PLAIN, 2 if are_few else 1)
    legend = [("line", STRONG if are_few else PLAIN, "each step")]
    if not are_few:
        window = max(len(shown.losses) // 12, 3) | 1
        means = smoothed([loss for _, loss in shown.losses], window)
        path(svg, thinned(list(zip(places, map(y, means), strict=True))), STRONG, 2)
        legend.append(("line", STRONG, f"mean of {window:,} steps"))
    _draw_legend(svg, top, legend)


def _draw_metric(svg: Element, shown: _Shown, x: Scale) -> None:
    top, bottom = _METRIC
    history = shown.result.history
    y = scale_of([shown.value(point) for point in history], bottom, top, least_span=_LEAST_SPAN, most=1.0)
    folds = f", all {shown.folds} folds" if shown.by_epoch else ""
    _draw_panel(svg, f"{shown.metric} on validation{folds}", _METRIC, map(x, shown.ticks(x)))
    _draw_values(svg, y)
    base = y(shown.value(shown.base))
    line(svg, (_LEFT, base), (_RIGHT, base), MUTED, dashes="5 4")
    steps = [point for point in history if point.share == 1]
    places = {id(point): (x(shown.place(point)), y(shown.value(point))) for point in history}
    if len(steps) > 1:
        path(svg, thinned([places[id(point)] for point in steps]), STRONG, 1.5)
    kept = places[id(shown.kept)]
    if shown.kept is not shown.base:
        line(svg, (kept[0] + 8, kept[1]), (_RIGHT + 8, kept[1]), ACCENT, dashes="1 3")
    for point in history:
        told = f"{shown.name(point)}: {shown.metric} {shown.value(point):.4f}"
        fill = STRONG if point.share == 1 else PAPER
        circle(svg, *places[id(point)], radius=3.5, told=told, fill=fill, stroke=STRONG, width="1.5")
    circle(svg, *kept, radius=7.5, fill="none", stroke=ACCENT, width="2")
    _draw_names(svg, shown, base, kept[1])
    legend = [("dot", STRONG, "checkpoint"), ("ring", ACCENT, "kept")]
    if len(steps) < len(history):
        legend.insert(1, ("dot", PAPER, "between base and last step"))
    _draw_legend(svg, top, legend)


def _draw_names(svg: Element, shown: _Shown, base: float, kept: float) -> None:
    """Base and kept beside the panel, at their heights, one below the other."""
    if shown.kept is shown.base:
        text(svg, _RIGHT + 14, base + 4, f"base, kept {shown.value(shown.base):.3f}", fill=ACCENT)
        return
    apart = max(0.0, 15 - abs(base - kept)) / 2 * (1 if base >= kept else -1)
    text(svg, _RIGHT + 14, base + 4 + apart, f"base {shown.value(shown.base):.3f}", fill=MUTED)
    text(svg, _RIGHT + 14, kept + 4 - apart, f"kept {shown.value(shown.kept):.3f}", fill=ACCENT, weight="600")


def _draw_panel(svg: Element, heading: str, panel: tuple[float, float], places: Iterable[float]) -> None:
    top, bottom = panel
    text(svg, 24, top - 12, heading, size=13, weight="600")
    for place in places:
        line(svg, (place, top), (place, bottom), GRID)
    line(svg, (_LEFT, bottom), (_RIGHT, bottom), INK)


def _draw_values(svg: Element, y: Scale) -> None:
    for value, label in y.ticks(5).items():
        line(svg, (_LEFT, y(value)), (_RIGHT, y(value)), GRID)
        text(svg, _LEFT - 8, y(value) + 4, label, fill=MUTED, anchor="end")


def _draw_legend(svg: Element, top: float, entries: Sequence[tuple[str, str, str]]) -> None:
    """Above a panel, ending where the picture does: a mark and what it means, one beside the other."""
    mark, gap = 28.0, 14.0
    x = _WIDTH - 24 - sum(mark + width_of(words, 12) for _, _, words in entries) - gap * (len(entries) - 1)
    y = top - 12
    for kind, colour, words in entries:
        if kind == "line":
            line(svg, (x, y - 4), (x + 22, y - 4), colour, **{"stroke-width": "1" if colour == PLAIN else "2"})
        else:
            is_ring = kind == "ring"
            fill, stroke = ("none", colour) if is_ring else (colour, STRONG)
            circle(svg, x + 15, y - 4, radius=6 if is_ring else 3.5, fill=fill, stroke=stroke, width="1.5")
        text(svg, x + mark, y, words, fill=MUTED)
        x += mark + width_of(words, 12) + gap
