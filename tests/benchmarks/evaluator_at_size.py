"""What evaluating costs beside the bare matrix product, and beside other libraries' evaluators; encoding excluded.

python tests/benchmarks/evaluator_at_size.py [--queries 10000] [--chunks 100000] [--dim 384] [--rounds 3] [--json FILE]

Seconds are of the processor, all threads together, medians over rounds in which everything takes its turn. Peak
memory is above what the embeddings take, each in a process of its own. The evaluators of sentence-transformers and
LlamaIndex get their vectors from a table, at sizes that they finish.
"""

import argparse
import json
import multiprocessing
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from embedtune import QADataset, evaluate
from embedtune.evaluation import DEFAULT_CUT_OFFS, evaluate_dims
from embedtune.metrics import metric_names, per_query
from embedtune.protocols import Vectors
from embedtune.search import ExactSearch

DIMS = (64, 128, 256, 384)
BARE_ROWS = 512
"""The best of 32 to 2,000 rows at once for 100,000 chunks, or near it."""
ST_QUERIES, ST_CHUNKS = 2_000, 100_000
LLAMA_QUERIES, LLAMA_CHUNKS = 200, 2_000

Job = Callable[["Table"], object]


class Table:
    """Random unit vectors by text, ``q0`` and ``c0`` and on; each query is near one chunk, one of ten near three.

    Args:
        n_queries: Number of queries.
        n_chunks: Number of chunks, at least that of the queries.
        dim: Numbers in a vector.
    """

    fingerprint = None
    similarity = "cosine"

    def __init__(self, n_queries: int, n_chunks: int, dim: int) -> None:
        rng = np.random.default_rng(0)
        self.documents = unit(rng, n_chunks, dim)
        self.queries = unit(rng, n_queries, dim) * np.float32(0.8) + self.documents[:n_queries] * np.float32(0.2)
        self.corpus = {f"c{i}": f"c{i}" for i in range(n_chunks)}
        self.texts = {f"q{i}": f"q{i}" for i in range(n_queries)}
        others = [[f"c{(i * 7 + n) % n_chunks}" for n in (1, 2)] if i % 10 == 0 else [] for i in range(n_queries)]
        self.relevant = {f"q{i}": list(dict.fromkeys([f"c{i}", *others[i]])) for i in range(n_queries)}

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        """The table's rows themselves where all are asked for: no encoding, no copy."""
        return self._rows(self.queries, texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        """As `embed_queries`."""
        return self._rows(self.documents, texts)

    def _rows(self, vectors: Vectors, texts: Sequence[str]) -> Vectors:
        return vectors if len(texts) == len(vectors) else vectors[[int(text[1:]) for text in texts]]


def unit(rng: np.random.Generator, n: int, dim: int) -> Vectors:
    """Random directions, float32 (n, dim)."""
    vectors = rng.standard_normal((n, dim), dtype=np.float32)
    vectors /= np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return vectors


# What is measured


def bare_product(table: Table) -> None:
    """The product alone, some rows at a time, into one array."""
    out = np.empty((BARE_ROWS, len(table.documents)), dtype=np.float32)
    for start in range(0, len(table.queries), BARE_ROWS):
        block = table.queries[start : start + BARE_ROWS]
        np.matmul(block, table.documents.T, out=out[: len(block)])


def ranks_and_metrics(table: Table) -> dict[str, float]:
    """All metrics at 1, 3, 5 and 10, from vectors; no results to look at."""
    found = ExactSearch(table.corpus, table).rank(list(table.texts), list(table.relevant.values()))
    grades = [[1.0] * len(chunks) for chunks in table.relevant.values()]
    values = per_query([ranking.ranks for (ranking,) in found], grades, metric_names(DEFAULT_CUT_OFFS))
    return {name: float(value.mean()) for name, value in values.items()}


def evaluation(table: Table) -> dict[str, float]:
    """`evaluate`: the same, with the data set's checks, a row for each query and its first five results."""
    return dict(evaluate(table, QADataset(table.texts, table.corpus, table.relevant)).metrics)


def evaluation_by_dims(table: Table) -> None:
    """`evaluate_dims` at four sizes."""
    dims = [dim for dim in DIMS if dim <= table.documents.shape[1]]
    evaluate_dims(table, QADataset(table.texts, table.corpus, table.relevant), dims)


def sentence_transformers(table: Table) -> dict[str, float]:
    """InformationRetrievalEvaluator at its defaults, with the same cut-offs."""
    import torch
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    class Stub:
        similarity_fn_name = "cosine"
        similarity = staticmethod(lambda a, b: torch.nn.functional.normalize(a) @ torch.nn.functional.normalize(b).T)
        model_card_data = type("Card", (), {"set_evaluation_metrics": lambda *_: None})()

        def encode_query(self, texts: Sequence[str], **_: object) -> torch.Tensor:
            return torch.from_numpy(table.embed_queries(texts))

        def encode_document(self, texts: Sequence[str], **_: object) -> torch.Tensor:
            return torch.from_numpy(table.embed_documents(texts))

    cut_offs = list(DEFAULT_CUT_OFFS)
    names = ("mrr_at_k", "ndcg_at_k", "accuracy_at_k", "precision_recall_at_k", "map_at_k")
    relevant = {query: set(chunks) for query, chunks in table.relevant.items()}
    options: dict[str, Any] = dict.fromkeys(names, cut_offs)
    judge = InformationRetrievalEvaluator(table.texts, table.corpus, relevant, write_csv=False, **options)
    found: dict[str, float] = judge(Stub())  # type: ignore[arg-type]
    return {f"hit_rate@{k}": found[f"cosine_accuracy@{k}"] for k in cut_offs} | {"mrr@10": found["cosine_mrr@10"]}


def llama_index(table: Table) -> dict[str, float]:
    """RetrieverEvaluator over a VectorStoreIndex in memory; the index is filled with vectors that are there."""
    from llama_index.core import VectorStoreIndex
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.evaluation import RetrieverEvaluator
    from llama_index.core.schema import TextNode

    class Stub(BaseEmbedding):
        def _get_query_embedding(self, query: str) -> list[float]:
            return [float(x) for x in table.embed_queries([query])[0]]

        def _get_text_embedding(self, text: str) -> list[float]:
            raise AssertionError("every node has its vector")

        async def _aget_query_embedding(self, query: str) -> list[float]:
            return self._get_query_embedding(query)

    nodes = [
        TextNode(id_=chunk, text=text, embedding=vector)
        for (chunk, text), vector in zip(table.corpus.items(), table.documents.tolist(), strict=True)
    ]
    retriever = VectorStoreIndex(nodes, embed_model=Stub()).as_retriever(similarity_top_k=10)
    names = ["hit_rate", "mrr", "recall", "ap", "ndcg"]
    judge = RetrieverEvaluator.from_metric_names(names, retriever=retriever)
    found = [judge.evaluate(query, table.relevant[query]) for query in table.texts]
    return {
        f"{name}@10": float(np.mean([row.metric_dict[name].score for row in found])) for name in ("hit_rate", "mrr")
    }


# How


def in_turn(jobs: dict[str, Job], table: Table, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds of processor and clock by job; the jobs take turns, and what they return must agree."""
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in jobs}
    answers: dict[str, object] = {}
    for job in jobs.values():
        job(Table(4, 8, table.documents.shape[1]))  # imports are no part of it
    for _ in range(rounds):
        for name, job in jobs.items():
            cpu, wall = time.process_time(), time.perf_counter()
            answers[name] = job(table)
            seconds[name].append((time.process_time() - cpu, time.perf_counter() - wall))
    metrics = [answer for answer in answers.values() if isinstance(answer, dict)]
    for name in set.intersection(*map(set, metrics)):
        values = [answer[name] for answer in metrics]
        assert max(values) - min(values) < 1e-3, (name, values)
    return {
        name: {"cpu_s": median(cpu for cpu, _ in pairs), "wall_s": median(wall for _, wall in pairs)}
        for name, pairs in seconds.items()
    }


def peak_above_embeddings(job: str, sizes: tuple[int, int, int]) -> float:
    """MB that a job takes at most above what is there before it, in a fresh process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (job, sizes))


def _peak(job: str, sizes: tuple[int, int, int]) -> float:
    globals()[job](Table(4, 8, sizes[2]))  # imports are no part of it
    table = Table(*sizes)
    before = _memory_mb("VmRSS")
    globals()[job](table)
    return _memory_mb("VmHWM") - before


def _memory_mb(field: str) -> float:
    # Linux alone has it; resource.getrusage would give the parent's peak where that is higher.
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0]) * 1024 / 1e6


def ratios(figures: dict[str, dict[str, float]], to: str) -> dict[str, float]:
    """Seconds of processor of each, over those of one."""
    return {name: row["cpu_s"] / figures[to]["cpu_s"] for name, row in figures.items()}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", help="Write the figures to this file.")
    arguments = parser.parse_args()
    sizes = (arguments.queries, arguments.chunks, arguments.dim)
    own: dict[str, Job] = {
        job.__name__: job for job in (bare_product, ranks_and_metrics, evaluation, evaluation_by_dims)
    }
    rounds = arguments.rounds
    parts = [
        ("bare_product", sizes, in_turn(own, Table(*sizes), rounds)),
        compared(sentence_transformers, (min(ST_QUERIES, sizes[0]), min(ST_CHUNKS, sizes[1]), sizes[2]), rounds),
        compared(llama_index, (min(LLAMA_QUERIES, sizes[0]), min(LLAMA_CHUNKS, sizes[1]), sizes[2]), rounds),
    ]
    figures: dict[str, Any] = {
        "parts": [
            {"sizes": part, "figures": found, "ratios": ratios(found, to), "to": to} for to, part, found in parts
        ],
        "peak_mb": {name: peak_above_embeddings(name, sizes) for name in own},
    }
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(figures, indent=1))
    show(figures)


def compared(other: Job, sizes: tuple[int, int, int], rounds: int) -> tuple[str, tuple[int, int, int], Any]:
    """Another library's evaluator beside ours."""
    jobs: dict[str, Job] = {"evaluation": evaluation, other.__name__: other}  # type: ignore[attr-defined]
    return "evaluation", sizes, in_turn(jobs, Table(*sizes), rounds)


def show(figures: dict[str, Any]) -> None:
    """Print the tables."""
    for part in figures["parts"]:
        n_queries, n_chunks, dim = part["sizes"]
        sys.stdout.write(f"\n{n_queries:,} queries x {n_chunks:,} chunks x {dim}; ratios to {part['to']}\n")
        for name, row in part["figures"].items():
            sys.stdout.write(
                f"  {name:24s} {row['cpu_s']:8.2f} s cpu {row['wall_s']:8.2f} s wall {part['ratios'][name]:8.2f}\n"
            )
    sys.stdout.write("\npeak memory above the embeddings\n")
    for name, mb in figures["peak_mb"].items():
        sys.stdout.write(f"  {name:24s} {mb:8.0f} MB\n")


if __name__ == "__main__":
    main()
