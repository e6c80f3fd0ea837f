"""Paired intervals, tests and sample sizes, over clusters of queries."""

from embedtune.statistics.exact import mcnemar_p, unseen_share
from embedtune.statistics.multiple import holm
from embedtune.statistics.paired import FEW_CLUSTERS, PairedDifference, paired_difference, paired_differences
from embedtune.statistics.power import (
    clustered_standard_error,
    design_effect,
    detectable_difference,
    questions_needed,
)

__all__ = [
    "FEW_CLUSTERS",
    "PairedDifference",
    "clustered_standard_error",
    "design_effect",
    "detectable_difference",
    "holm",
    "mcnemar_p",
    "paired_difference",
    "paired_differences",
    "questions_needed",
    "unseen_share",
]
