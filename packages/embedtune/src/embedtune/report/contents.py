"""What a report shows, computed once for all its forms."""

import logging
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from embedtune.comparison import Comparison, ComparisonRow
from embedtune.dataset import QADataset
from embedtune.overview import Overview, Sample, overview, sample_queries
from embedtune.report.changes import changed_questions
from embedtune.report.ranks import Curve, Movement, curve_of, movement_of

__all__ = ["Contents"]

logger = logging.getLogger(__name__)

_SAMPLES = 6


@dataclass(frozen=True)
class Contents:
    """A comparison, its data set, and what follows from both; each part is computed when it is first asked for."""

    comparison: Comparison
    """Base against tuned."""
    names: tuple[str, str] = ("base", "tuned")
    """What the reader calls the two models."""
    dataset: QADataset | None = field(default=None, repr=False)
    """Questions and chunks; None where the comparison alone is shown."""

    @property
    def primary(self) -> ComparisonRow:
        """The row that the verdict is about."""
        return self.comparison.deciding

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Hit rate over k by query type."""
        return {query_type: curve_of(*both) for query_type, both in self.comparison.evaluations.items()}

    @cached_property
    def movements(self) -> dict[str, Movement]:
        """Rank movement by query type."""
        return {query_type: movement_of(self.comparison, query_type) for query_type in self.comparison.evaluations}

    @cached_property
    def changed(self) -> tuple[list[int], int]:
        """As of `changed_questions`."""
        return changed_questions(self.comparison)

    @cached_property
    def overview(self) -> Overview | None:
        """The data set's figures; minutes for a million chunks."""
        if self.dataset is None:
            return None
        logger.info("looking for duplicates among %d chunks", len(self.dataset.corpus))
        return overview(self.dataset)

    @cached_property
    def samples(self) -> list[Sample]:
        """Some questions with their chunks."""
        return [] if self.dataset is None else sample_queries(self.dataset, _SAMPLES)

    @property
    def settings(self) -> Mapping[str, Any]:
        """Those of the comparison, and what wrote the report."""
        from embedtune import __version__  # the package imports its parts

        asked = {"primary": self.comparison.primary, "top_k": self.comparison.top_k, "margin": self.comparison.margin}
        written = {"embedtune": __version__, "numpy": np.__version__, "python": platform.python_version()}
        return {**asked, **self.comparison.settings, "written with": written}
