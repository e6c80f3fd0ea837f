"""Does tuning ever hand over a worse model? Few pairs, a foreign language, and labels that mean nothing.

python tests/benchmarks/never_worse.py --data FOLDER [--pairs N] [--shuffled] [--seeds 3] [--base MODEL]
    [--tuner adapter] [--cache FOLDER]

``FOLDER`` is a BEIR folder with the splits train and test. Tunes at the defaults on ``N`` training questions drawn by
seed (all if not given), with ``--shuffled`` each on another's answers, and asks base and tuned model all test questions
over all chunks.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import numpy as np

from embedtune import QADataset, evaluate, tune
from embedtune.comparison.pairing import clusters_of
from embedtune.demo import packaged_minilm
from embedtune.statistics import paired_difference


def main() -> None:
    """Tune by seed, print a line for each and the mean."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--pairs", type=int, help="Training questions, drawn by seed; all if not given.")
    parser.add_argument("--shuffled", action="store_true", help="Each question on another's answers.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--tuner", default="sentence-transformers")
    parser.add_argument("--cache", type=Path, help="Keeps vectors between runs; of the adapter's tuning too.")
    given = parser.parse_args()
    base = given.base or str(packaged_minilm())
    train, test = (QADataset.load(given.data, split=name) for name in ("train", "test"))
    before, clusters = evaluate(base, test, cache=given.cache).per_query["hit_rate@5"], clusters_of(test)
    options = {"cache": given.cache} if given.tuner == "adapter" else {}
    differences = []
    for seed in range(given.seeds):
        pairs = drawn(train, given.pairs, seed, is_shuffled=given.shuffled)
        with tempfile.TemporaryDirectory() as folder:
            result = tune(base, pairs, path=Path(folder) / "tuned", seed=seed, tuner=given.tuner, **options)
            after = evaluate(str(result.path), test, cache=given.cache).per_query["hit_rate@5"]
        paired = paired_difference(after - before, clusters)
        differences.append(paired.difference)
        sys.stdout.write(
            f"seed {seed}: {len(pairs)} questions, hit_rate@5 {before.mean():.4f} -> {after.mean():.4f} "
            f"({paired.difference:+.4f}, {paired.low:+.4f} to {paired.high:+.4f}), kept_base {result.kept_base}, "
            f"{result.record.kept_base_reason or f'step {result.record.chosen_step}'}\n"
        )
        sys.stdout.flush()
    sys.stdout.write(f"mean difference {np.mean(differences):+.4f}\n")


def drawn(train: QADataset, n_pairs: int | None, seed: int, *, is_shuffled: bool) -> QADataset:
    """Some of the questions with their chunks; the corpus is what they are answered by."""
    rng = random.Random(seed)
    queries = rng.sample(list(train.queries), min(n_pairs or len(train), len(train)))
    answers = [train.relevant_docs[query] for query in queries]
    if is_shuffled:
        rng.shuffle(answers)
    chunks = {chunk: train.corpus[chunk] for found in answers for chunk in found}
    metadata = {chunk: train.metadata[chunk] for chunk in chunks if chunk in train.metadata}
    return QADataset(
        {query: train.queries[query] for query in queries},
        chunks,
        dict(zip(queries, answers, strict=True)),
        metadata=metadata,
    )


if __name__ == "__main__":
    main()
