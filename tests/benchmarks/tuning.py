"""Ours against the engine of llama-index-finetuning 0.4.2: time, memory and retrieval after the same pairs.

python tests/benchmarks/tuning.py --data FOLDER --peer PYTHON [--pairs N] [--epochs 2] [--seeds 3] [--json FILE]

``FOLDER`` is a BEIR folder with the splits train and test; ``PYTHON`` the interpreter of a venv with
``torch==2.13.0 llama-index-finetuning==0.4.2 "mistralai<2" sentence-transformers==6.2.0 datasets accelerate
llama-index-embeddings-huggingface``. By seed, one after the other, each in a process of its own: loading, mining,
validation and saving are inside the clock. Base and tuned models are asked all test questions over all chunks.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from embedtune import Evaluation, QADataset, evaluate
from embedtune.comparison.pairing import clusters_of
from embedtune.demo import packaged_minilm
from embedtune.statistics import paired_difference

METRICS = ("hit_rate@1", "hit_rate@5", "hit_rate@10", "mrr@10", "ndcg@10")
N_PEER_VALIDATION = 50
"""Questions of the peer's val_dataset, without which it does not train; so few that its evaluations cost little."""

OURS = """
import sys
from embedtune import QADataset, tune
base, train, out, epochs, seed = sys.argv[1:]
tune(base, QADataset.load(train), path=out, epochs=int(epochs), seed=int(seed))
"""
PEER = """
import sys
from transformers import set_seed
from llama_index.finetuning import EmbeddingQAFinetuneDataset, SentenceTransformersFinetuneEngine
base, train, out, epochs, seed = sys.argv[1:]
set_seed(int(seed))
SentenceTransformersFinetuneEngine(
    EmbeddingQAFinetuneDataset.from_json(train), model_id=base, model_output_path=out,
    val_dataset=EmbeddingQAFinetuneDataset.from_json(train.replace("train", "val")), epochs=int(epochs), device="cpu",
).finetune()
"""


@dataclass(frozen=True, kw_only=True)
class Training:
    """One training in a process of its own."""

    engine: str
    """``ours`` or ``peer``."""
    seed: int
    wall_s: float
    cpu_s: float
    """User and system time of the process and its children."""
    peak_mib: float
    """Largest resident memory."""
    metrics: dict[str, float]
    """On the test split."""


def main() -> None:
    """Train both by seed, score, print."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    base = given.base or str(packaged_minilm())
    test = QADataset.load(given.data, split="test")
    before = evaluate(base, test, cache=given.out / "cache")
    trainings, found = [], {"ours": [], "peer": []}
    for seed in range(given.seeds):
        folder = given.out / f"seed-{seed}"
        train = write_pairs(QADataset.load(given.data, split="train"), given.pairs, seed, folder)
        for engine, python, script in (("ours", sys.executable, OURS), ("peer", given.peer, PEER)):
            words = [base, str(train), str(folder / engine), str(given.epochs), str(seed)]
            wall, cpu, peak = measured([python, "-c", script, *words], folder / f"{engine}.log")
            after = evaluate(str(folder / engine), test)
            found[engine].append(after)
            metrics = {name: after.metrics[name] for name in METRICS}
            told = Training(engine=engine, seed=seed, wall_s=wall, cpu_s=cpu, peak_mib=peak, metrics=metrics)
            trainings.append(told)
            show(told)
    clusters = clusters_of(test)
    differences = {
        "ours - base": [interval([before] * given.seeds, found["ours"], name, clusters) for name in METRICS],
        "peer - base": [interval([before] * given.seeds, found["peer"], name, clusters) for name in METRICS],
        "ours - peer": [interval(found["peer"], found["ours"], name, clusters) for name in METRICS],
    }
    summary = {"ratios, peer / ours": ratios(trainings), "differences": differences}
    sys.stdout.write(json.dumps(summary, indent=1) + "\n")
    if given.json is not None:
        content = {"base": dict(before.metrics), "trainings": [asdict(row) for row in trainings], **summary}
        given.json.write_text(json.dumps(content, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--peer", required=True, help="An interpreter with llama-index-finetuning==0.4.2.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--pairs", type=int, help="Training questions, drawn by seed; all if not given.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    parser.add_argument("--out", type=Path, default=Path("tuning"), help="Working folder.")
    return parser.parse_args()


def write_pairs(train: QADataset, n_pairs: int | None, seed: int, folder: Path) -> Path:
    """Both read LlamaIndex's JSON: the training questions with the chunks that answer them, and the peer's 50."""
    folder.mkdir(parents=True, exist_ok=True)
    queries = random.Random(seed).sample(list(train.queries), min(n_pairs or len(train), len(train)))
    for name, some in (("train", queries), ("val", queries[:N_PEER_VALIDATION])):
        chunks = dict.fromkeys(chunk for query in some for chunk in train.relevant_docs[query])
        train.subset(some, chunks).save(folder / f"{name}.json")
    return folder / "train.json"


def measured(command: Sequence[str], log: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak memory in MiB of a process."""
    started = time.monotonic()
    with open(log, "w", encoding="utf-8") as told:
        process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env={**os.environ, "CI": ""})
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command[0]} failed; see {log}")
    return time.monotonic() - started, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def show(training: Training) -> None:
    """A line of the table."""
    metrics = "  ".join(f"{name} {value:.4f}" for name, value in training.metrics.items())
    sys.stdout.write(
        f"{training.engine:<5} seed {training.seed}: {training.wall_s:7.1f} s wall {training.cpu_s:8.1f} s CPU "
        f"{training.peak_mib:6.0f} MiB  {metrics}\n"
    )
    sys.stdout.flush()


def ratios(trainings: Sequence[Training]) -> dict[str, float]:
    """Of the medians over the seeds."""

    def median(engine: str, name: str) -> float:
        return float(np.median([getattr(row, name) for row in trainings if row.engine == engine]))

    return {name: median("peer", name) / median("ours", name) for name in ("wall_s", "cpu_s", "peak_mib")}


def interval(
    base: Sequence[Evaluation], tuned: Sequence[Evaluation], name: str, clusters: Sequence[int]
) -> dict[str, float | str]:
    """The paired difference of each question's mean over the seeds."""
    values = [np.mean([side.per_query[name] for side in sides], axis=0) for sides in (base, tuned)]
    paired = paired_difference(values[1] - values[0], clusters)
    return {"metric": name, "difference": paired.difference, "low": paired.low, "high": paired.high, "p": paired.p}


if __name__ == "__main__":
    main()
