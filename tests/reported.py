"""Comparisons of known ranks, for the tests of reports."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embedtune import Comparison, ComparisonRow, QADataset
from embedtune.comparison import Finding
from embedtune.evaluation import Evaluation

TOP_K = 5
DEPTH = 10
Ranks = Sequence[tuple[int | None, int | None]]
"""Base's and tuned's rank of each question's only relevant chunk."""

EVIL = (
    "</script><script>alert(1)</script>",
    '<img src="https://example.com/x" onerror="alert(1)">',
    "<!--<script>",
    "‮right to left‬ مرحبا 👩‍👩‍👧 {{ 7*7 }} \u2028\u2029",
    "nul\x00and\x1bescape\x85",
    "'\"><svg onload=alert(1)> &amp; ]]>",
    '<a href="https://example.com">a link</a>',
)
"""Texts that are markup, code or worse to a careless reader."""


def evil_comparison() -> tuple[Comparison, QADataset]:
    """Evil in questions, ids, chunks, documents, styles, names, notes, reason and settings; also half surrogates."""
    corpus = {f"{text} {i}": f"{text} chunk {i}" for i, text in enumerate(EVIL)}
    queries = {f"q {text}": f"{text} question" for text in EVIL}
    metadata = {chunk: {"document_id": f"{chunk}\ud800"} for chunk in corpus}
    relevant = {query: [chunk] for query, chunk in zip(queries, corpus, strict=True)}
    dataset = QADataset(queries, corpus, relevant, metadata, dict.fromkeys(queries, EVIL[0]))
    told = "".join(EVIL) + "\udfff"
    fields: dict[str, Any] = {"notes": (told,), "reason": told, "findings": (Finding(name=told, told=told),)}
    comparison = compared([(None, 1)] * len(EVIL), dataset, [EVIL[0]], settings={told: told}, **fields)
    comparison.evaluations[EVIL[0]][0].rows[0]["retrieved"] = [f"{EVIL[0]}\ud83d"]
    return comparison, dataset


def dataset_of(n_questions: int, n_chunks: int = 30, **fields: Any) -> QADataset:
    """Questions on the first chunks; no two texts are equal, nearly or fully."""
    corpus = {f"c{i}": f"Chunk {i} on {_word(i)}, {_word(i + 7919)} and {_word(i + 104729)}." for i in range(n_chunks)}
    queries = {f"q{i}": f"What of {_word(i)}, number {i}?" for i in range(n_questions)}
    relevant = {query: [f"c{i % n_chunks}"] for i, query in enumerate(queries)}
    return QADataset(queries, corpus, relevant, **fields)


def _word(number: int) -> str:
    return "".join(chr(ord("a") + (number * 48271 >> shift) % 26) for shift in range(0, 24, 3))


def compared(ranks: Ranks, dataset: QADataset, query_types: Sequence[str] = ("vector",), **fields: Any) -> Comparison:
    """The comparison in which every question has these ranks, over each query type."""
    evaluations = (_evaluation(dataset, [one for one, _ in ranks]), _evaluation(dataset, [other for _, other in ranks]))
    rows = [_row(query_type, name, *evaluations) for query_type in query_types for name in evaluations[0].per_query]
    given: dict[str, Any] = {
        "verdict": "cannot tell",
        "reason": "a reason in words",
        "rows": tuple(rows),
        "deciding": next(row for row in rows if row.metric == "hit_rate" and row.k == TOP_K),
        "n_queries": len(ranks),
        "n_clusters": len(ranks),
        "n_seen": 0,
        "evaluations": dict.fromkeys(query_types, evaluations),
        "primary": query_types[0],
        "top_k": TOP_K,
        "margin": 0.01,
    }
    return Comparison(**given | fields)


def _evaluation(dataset: QADataset, ranks: Sequence[int | None]) -> Evaluation:
    rows, ids = [], list(dataset.corpus)
    for place, (query, rank) in enumerate(zip(dataset.queries, ranks, strict=True)):
        relevant = dataset.relevant_docs[query]
        # Others than for the question before, as far as the corpus reaches.
        near = (ids[(place * (TOP_K + 1) + step) % len(ids)] for step in range(TOP_K + 1))
        retrieved = [chunk for chunk in near if chunk not in relevant][:TOP_K]
        if rank is not None and rank <= TOP_K:
            retrieved = [*retrieved[: rank - 1], relevant[0], *retrieved[rank - 1 :]][:TOP_K]
        row = {"query_id": query, "query": dataset.queries[query], "expected": relevant, "retrieved": retrieved}
        rows.append({**row, "rank": rank, "is_hit": rank is not None and rank <= TOP_K, "seen": False})
    cut_offs = (1, TOP_K, DEPTH)
    hits = {f"hit_rate@{k}": np.array([float(rank is not None and rank <= k) for rank in ranks]) for k in cut_offs}
    found = np.array([1 / rank if rank else 0.0 for rank in ranks])
    return Evaluation(tuple(rows), {**hits, f"mrr@{DEPTH}": found}, TOP_K, (), DEPTH)


def _row(query_type: str, name: str, base: Evaluation, tuned: Evaluation) -> ComparisonRow:
    metric, _, k = name.partition("@")
    means = {"base": base.metrics[name], "tuned": tuned.metrics[name]}
    difference = means["tuned"] - means["base"]
    ends = {"difference": difference, "low": difference - 0.05, "high": difference + 0.05, "p": 0.5}
    return ComparisonRow(query_type=query_type, metric=metric, k=int(k), **means, **ends)
