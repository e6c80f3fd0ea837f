"""When a run validates, and how many steps it has."""

import math
from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True)
class Schedule:
    """Batches and validation points of a run."""

    n_rows: int
    """As `TrainingPairs.rows` gives them."""
    epochs: int
    batch_size: int
    n_validations: int
    """Evenly spaced, the last after the last step."""

    @property
    def steps_per_epoch(self) -> int:
        """Optimiser steps in a pass over the rows; never 0."""
        return math.ceil(self.n_rows / self.batch_size)

    @property
    def even_batch_size(self) -> int:
        """The batch size that fills all steps alike: a last batch of one chunk would have no negatives."""
        return math.ceil(self.n_rows / self.steps_per_epoch)

    @property
    def total_steps(self) -> int:
        """Optimiser steps of all epochs."""
        return self.epochs * math.ceil(self.n_rows / self.even_batch_size)

    def step_of(self, index: int) -> int:
        """The step of a validation point; point 0 is step 0."""
        return round(index * self.total_steps / (self.n_validations))

    @property
    def points(self) -> dict[int, int]:
        """Validation point by step, without step 0."""
        return {self.step_of(i): i for i in range(1, self.n_validations + 1)}
