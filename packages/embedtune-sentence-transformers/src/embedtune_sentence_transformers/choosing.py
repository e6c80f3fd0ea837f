"""Which candidate becomes the tuned model: the best on the validation queries, if it is better beyond chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embedtune.never_worse import why_chance
from embedtune.tuner import ValidationPoint
from embedtune_sentence_transformers.scoring import Candidates

__all__ = ["Choice", "choose"]


@dataclass(frozen=True)
class Choice:
    """What the validation says."""

    history: tuple[ValidationPoint, ...]
    """All candidates, the base model first, over the queries of all folds."""
    index: int
    """The chosen candidate's place in the history; 0 is the base model."""
    stop_at: int
    """Its validation point."""
    kept_base_reason: str | None
    """Why the base model is kept, if it is."""

    @property
    def point(self) -> ValidationPoint:
        """The chosen candidate's figures."""
        return self.history[self.index]


def choose(runs: Sequence[Candidates], clusters: Sequence[int], metric: str) -> Choice:
    """The best candidate over the queries of all folds, or the base model if the gain may well be chance.

    Args:
        runs: The candidates of each fold, in the same order in each.
        clusters: The cluster of each validation query, fold after fold.
        metric: The choosing one.
    """
    history = []
    for points in zip(*(run.points for run in runs), strict=True):
        means = {name: float(np.mean([v for p in points for v in p.values[name]])) for name in points[0].values}
        history.append(ValidationPoint(points[0].step, points[0].epoch, means, points[0].share))
    best = max(range(len(history)), key=lambda index: (history[index].metrics[metric], -index))
    reason = None
    if best == 0:
        reason = f"no candidate had a better {metric} on the {len(clusters)} validation queries"
    else:
        gains = np.concatenate(
            [np.subtract(run.points[best].values[metric], run.points[0].values[metric]) for run in runs]
        )
        reason = why_chance(f"step {history[best].step}", gains, clusters, metric)
    chosen = 0 if reason else best
    return Choice(tuple(history), chosen, runs[0].points[chosen].index, reason)
