"""What a comparison holds."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from embedtune.evaluation import Evaluation

__all__ = ["Comparison", "ComparisonRow", "Finding", "SliceRow", "Verdict"]

Verdict = Literal["ship", "do not ship: worse", "no difference within the margin", "cannot tell"]
"""What the interval of the primary metric says; see `embedtune.compare`."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One metric of one query type."""

    query_type: str
    """``vector``, ``fts``, ``hybrid``, ``reranked_vector``, ``reranked_fts``, ``reranked_hybrid``."""
    metric: str
    """``hit_rate``, ``mrr``, ``ndcg``, ``recall`` or ``map``."""
    k: int
    """Cut-off rank."""
    base: float
    """Mean of the base model."""
    tuned: float
    """Mean of the tuned model."""
    difference: float
    """Tuned minus base."""
    low: float
    """Lower end of the paired 95% interval of the difference."""
    high: float
    """Upper end."""
    p: float
    """Two-sided p value: sign flips over clusters, or McNemar's exact test where each cluster is one question."""
    p_holm: float | None = None
    """``p`` of the primary metric, adjusted by Holm over the query types that the model can change; None elsewhere."""
    wins: int = 0
    """Questions on which the tuned model is better."""
    losses: int = 0
    """Questions on which it is worse."""
    ties: int = 0
    """Questions on which both are equal."""


@dataclass(frozen=True, kw_only=True)
class SliceRow:
    """The primary metric on some of the questions: exploratory, and corrected for nothing."""

    slice: str
    """``document``, ``query length``, ``lexical overlap`` or ``style``."""
    value: str
    """Which part, as in ``"1 to 4 words"``."""
    query_type: str
    """As in `ComparisonRow`."""
    n_queries: int
    """Questions in it."""
    base: float
    """Mean of the base model."""
    tuned: float
    """Mean of the tuned model."""
    difference: float
    """Tuned minus base."""
    low: float
    """Lower end of the paired 95% interval of the difference."""
    high: float
    """Upper end."""
    n_clusters: int = 0
    """Documents or groups in it, of a document its groups of chunks; under 30 the interval is unreliable."""
    exploratory: bool = True
    """Always: of many parts some differ by chance, so none of them decides anything."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Something measured that may explain the figures."""

    name: str
    """``leak``, ``collapse``, ``prompt``, ``truncation``, ``false negatives``, ``learning rate`` or
    ``near duplicates``."""
    told: str
    """The measurement in a sentence, and what to do about it."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Base against tuned."""

    verdict: Verdict
    """Of the primary metric, ``hit_rate@top_k`` of `primary`."""
    reason: str
    """The verdict's figures in a sentence."""
    rows: tuple[ComparisonRow, ...]
    """All metrics of all query types, on all questions."""
    deciding: ComparisonRow
    """The row of the verdict: on the questions that no model has seen, unless all were seen."""
    n_queries: int
    """Questions asked of both."""
    n_clusters: int
    """Documents, or connected groups, among them; the unit that intervals draw."""
    n_seen: int
    """Questions that one of the models has seen in training or selection."""
    evaluations: Mapping[str, tuple[Evaluation, Evaluation]] = field(repr=False)
    """Base's and tuned's evaluation by query type."""
    primary: str
    """The query type of the verdict: the first that the model can change."""
    top_k: int
    """The cut-off of the primary metric."""
    margin: float
    """A difference that does not matter, as a fraction."""
    n_needed: int | None = None
    """Questions that would show a difference of `margin` with 80% power; None where it is told or cannot be known."""
    detectable: float | None = None
    """The smallest difference that these questions show with 80% power; None where it is told or cannot be known."""
    notes: tuple[str, ...] = ()
    """What a reader must know of the questions, such as that a model wrote them."""
    slices: tuple[SliceRow, ...] = ()
    """The primary metric on parts of the questions."""
    findings: tuple[Finding, ...] = ()
    """What may explain a model that is worse, or no better."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Models with fingerprints, engine, reranker, depth, seed and versions; JSON can hold it."""

    def row(self, query_type: str, metric: str, k: int) -> ComparisonRow:
        """The row of one metric.

        Raises:
            KeyError: If there is none.
        """
        for row in self.rows:
            if (row.query_type, row.metric, row.k) == (query_type, metric, k):
                return row
        raise KeyError(f"{query_type} {metric}@{k}")

    def to_json(self) -> dict[str, Any]:
        """The comparison without its per-query rows, for ``json.dump``."""
        figures = ("n_queries", "n_clusters", "n_seen", "primary", "top_k", "margin", "n_needed", "detectable")
        return {
            **{name: getattr(self, name) for name in ("verdict", "reason", *figures)},
            "deciding": asdict(self.deciding),
            "notes": list(self.notes),
            "rows": [asdict(row) for row in self.rows],
            "slices": [asdict(row) for row in self.slices],
            "findings": [asdict(finding) for finding in self.findings],
            "settings": dict(self.settings),
        }
