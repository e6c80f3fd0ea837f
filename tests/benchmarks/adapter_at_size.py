"""The query adapter on a corpus that is a file: a million chunks and two thousand queries by default.

python tests/benchmarks/adapter_at_size.py [--chunks 1000000] [--queries 2000] [--dim 384] [--out FOLDER]

Chunks are drawn in clusters, as texts on some thousand subjects lie, and written as float32 by blocks. Each query is
one chunk with noise, turned by a fixed matrix that the adapter may undo. Training runs in a process of its own, whose
largest resident memory is told beside time and retrieval on other queries, over all chunks.
"""

import argparse
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from embedtune.adapter.candidates import candidate_values
from embedtune.adapter.choosing import Fold, Problem, fit_adapter
from embedtune.adapter.pooling import ChunkVectors, Rows
from embedtune.protocols import Vectors

BLOCK, SUBJECTS, FOLDS, TURN = 50_000, 5_000, 3, 3.0


def main() -> None:
    """Write the vectors, train in a child, tell."""
    given = arguments()
    if given.child:
        train(given.out, given.queries)
        return
    given.out.mkdir(parents=True, exist_ok=True)
    write_chunks(given.out / "chunks.npy", given.chunks, given.dim)
    subprocess.run([sys.executable, __file__, "--child", *sys.argv[1:]], check=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--dim", type=int, default=384)
    parser.add_argument("--out", type=Path, default=Path("adapter_at_size"), help="Takes the vectors' file.")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def write_chunks(file: Path, n_chunks: int, dim: int) -> None:
    """Rows of length 1 around the directions of subjects."""
    draw = np.random.default_rng(0)
    subjects = draw.standard_normal((SUBJECTS, dim), dtype=np.float32)
    array = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(n_chunks, dim))
    for start in range(0, n_chunks, BLOCK):
        part = array[start : start + BLOCK]
        part[:] = subjects[draw.integers(SUBJECTS, size=len(part))]
        part += draw.standard_normal(part.shape, dtype=np.float32) * np.float32(0.8)
        part /= np.linalg.norm(part, axis=1, keepdims=True)


def asked(chunks: Vectors, rows: Rows, seed: int) -> Vectors:
    """One query for each of some chunks."""
    dim = chunks.shape[1]
    turn = np.eye(dim, dtype=np.float32)
    turn += np.random.default_rng(1).standard_normal((dim, dim), dtype=np.float32) * np.float32(TURN / dim**0.5)
    noise = np.random.default_rng(seed).standard_normal((len(rows), dim), dtype=np.float32) * np.float32(0.9 / dim**0.5)
    queries = (chunks[rows] + noise) @ turn
    return np.asarray(queries / np.linalg.norm(queries, axis=1, keepdims=True), dtype=np.float32)


def train(out: Path, n_queries: int) -> None:
    """Train on some queries, score others."""
    array = np.load(out / "chunks.npy", mmap_mode="r")
    rows = np.random.default_rng(2).choice(len(array), 2 * n_queries, replace=False)
    trained, held = rows[:n_queries], rows[n_queries:]
    chunks, numbers = ChunkVectors(array, "cosine"), np.arange(n_queries)
    problem = Problem(asked(array, trained, 3), chunks, [np.array([row]) for row in trained], numbers.tolist())
    parts = np.array_split(np.random.default_rng(4).permutation(n_queries), FOLDS)
    nothing = np.empty(0, dtype=np.intp)
    folds = [Fold(np.setdiff1d(numbers, part), np.sort(part), nothing) for part in parts]
    wall, cpu = time.monotonic(), time.process_time()
    fit = fit_adapter(problem, folds, progress=True)
    wall, cpu = time.monotonic() - wall, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answers = [np.array([row]) for row in held]
    values = candidate_values(asked(array, held, 5), [fit.factors], [1.0], chunks, answers, "hit_rate@5").mean(axis=1)
    told = f"{fit.best}{', identity kept' if fit.kept_base_reason else ''}"
    sys.stdout.write(
        f"{len(array):,} chunks x {array.shape[1]}, {n_queries:,} queries: {wall / 60:.1f} min wall, "
        f"{cpu / 60:.1f} min CPU, peak {peak:,.0f} MiB resident, pages of the file among them; {told}; "
        f"hit_rate@5 on other queries {values[0]:.3f} -> {values[1]:.3f}\n"
    )


if __name__ == "__main__":
    main()
