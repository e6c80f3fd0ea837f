"""Ours against the engine of llama-index-finetuning 0.4.2: time, memory and retrieval after the same pairs.

python tests/benchmarks/tuning.py --data FOLDER [--pairs N] [--epochs 2] [--seeds 3] [--json FILE] [--out FOLDER]

``FOLDER`` is a BEIR folder with the splits train and test. By seed, one after the other, each in a process of its
own: loading, mining, validation and saving are inside the clock. Base and tuned models are asked all test questions
over all chunks. Both get the same pairs (each question with its first chunk), epochs and max_seq_length;
``--defaults`` leaves ours to its own choice of all three, ``--tenths`` also scores ours at every tenth of its
training, outside the clock. What is measured is kept in ``--out``: the same command goes on after an interruption,
and takes the peer's figures from there.

The peer lives in a venv of its own, made in ``--out`` unless ``--peer`` names the interpreter of one.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from embedtune import QADataset, evaluate
from embedtune.comparison.pairing import clusters_of
from embedtune.demo import packaged_minilm
from embedtune.statistics import paired_difference

METRICS = ("hit_rate@1", "hit_rate@5", "hit_rate@10", "mrr@10", "ndcg@10")
N_PEER_VALIDATION = 50
"""Questions of the peer's val_dataset, without which it does not train; so few that its evaluations cost little."""
MAX_SEQ_LENGTH = 256
"""Of both where they are given the same: the base's own, which the peer cannot change."""
PEER_PACKAGES = (
    "torch==2.13.0",
    "llama-index-finetuning==0.4.2",
    "mistralai<2",
    "sentence-transformers==6.2.0",
    "datasets",
    "accelerate",
    "llama-index-embeddings-huggingface",
)

SNAPSHOTS = """
import json, resource, time
from pathlib import Path
from transformers.trainer_callback import DefaultFlowCallback

def cpu():
    return time.process_time()

spent = 0.0
due = DefaultFlowCallback.on_step_end
def on_step_end(self, args, state, control, model=None, **kwargs):
    global spent
    tenths = [round(i * state.max_steps / 10) for i in range(1, 11)]
    if state.global_step in tenths:
        at = cpu()
        folder = Path(out + ".tenths") / f"{state.global_step:05d}-{Path(args.output_dir).name}"
        model.save(str(folder), create_model_card=False)
        (folder / "cpu.json").write_text(json.dumps(at - spent))
        spent += cpu() - at
    return due(self, args, state, control, **kwargs)
DefaultFlowCallback.on_step_end = on_step_end
"""
OURS = """
import sys
from embedtune import QADataset, tune
base, train, out, epochs, seed = sys.argv[1:]
{before}
tune(base, QADataset.load(train), path=out, seed=int(seed){options})
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
    """One training in a process of its own, and the tuned model's answers."""

    engine: str
    """``ours`` or ``peer``."""
    seed: int
    wall_s: float
    cpu_s: float
    """User and system time of the process and its children."""
    peak_mib: float
    """Largest resident memory."""
    per_query: Mapping[str, Sequence[float]]
    """Of each metric, on the test split."""
    tenths: Sequence[tuple[float, float]] = field(default_factory=list)
    """CPU seconds at each tenth of training, and hit_rate@5 there."""

    def mean(self, metric: str) -> float:
        """Over the test questions."""
        return float(np.mean(self.per_query[metric]))


def main() -> None:
    """Train both by seed, score, print."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    base = given.base or str(packaged_minilm())
    test = QADataset.load(given.data, split="test")
    before = evaluate(base, test, cache=given.out / "cache").per_query
    peer = given.peer or peer_of_our_own(given.out / "peer-venv")
    trainings = []
    for seed in range(given.seeds):
        for engine, python, script in ((ours_name(given), sys.executable, ours(given)), ("peer", peer, PEER)):
            trainings.append(training(engine, [python, "-c", script], seed, base, test, given))
            show(trainings[-1])
    summary = summarised(trainings, {name: before[name] for name in METRICS}, clusters_of(test), ours_name(given))
    sys.stdout.write(table(summary, trainings))
    if given.json is not None:
        content = {"base": {name: float(np.mean(before[name])) for name in METRICS}, **summary}
        content["trainings"] = [asdict(row) | {"per_query": {n: row.mean(n) for n in METRICS}} for row in trainings]
        given.json.write_text(json.dumps(content, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--peer", help="An interpreter with the peer's packages; a venv is made if not given.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--pairs", type=int, help="Training questions, drawn by seed; all if not given.")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--defaults", action="store_true", help="Ours with its own defaults.")
    parser.add_argument("--tenths", action="store_true", help="Score ours at every tenth of its training too.")
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    parser.add_argument("--out", type=Path, default=Path("tuning"), help="Working folder.")
    return parser.parse_args()


def peer_of_our_own(folder: Path) -> str:
    """The interpreter of a venv with the peer in it, made once."""
    python = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *PEER_PACKAGES], check=True)
        (folder / "complete").touch()
    return str(python)


def ours_name(given: argparse.Namespace) -> str:
    """Names the folder of our trainings of this kind."""
    return "ours" + "-defaults" * given.defaults + "-tenths" * given.tenths


def ours(given: argparse.Namespace) -> str:
    """Our script, with the peer's settings or our own."""
    same = f", epochs=int(epochs), max_seq_length={MAX_SEQ_LENGTH}, all_answers=False"
    return OURS.format(before=SNAPSHOTS if given.tenths else "", options="" if given.defaults else same)


def training(
    engine: str, command: list[str], seed: int, base: str, test: QADataset, given: argparse.Namespace
) -> Training:
    """Train and score, or read what an earlier run of this command left."""
    folder = given.out / f"seed-{seed}"
    kept = folder / f"{engine}.json"
    if not kept.exists():
        pairs = write_pairs(QADataset.load(given.data, split="train"), given.pairs, seed, folder)
        target = folder / engine
        words = [base, str(pairs), str(target), str(given.epochs), str(seed)]
        wall, cpu, peak = measured([*command, *words], folder / f"{engine}.log")
        per_query = evaluate(str(target), test).per_query
        told = Training(
            engine=engine,
            seed=seed,
            wall_s=wall,
            cpu_s=cpu,
            peak_mib=peak,
            per_query={name: per_query[name].tolist() for name in METRICS},
            tenths=scored_tenths(Path(f"{target}.tenths"), test),
        )
        kept.write_text(json.dumps(asdict(told)))
    return Training(**json.loads(kept.read_text()))


def scored_tenths(folder: Path, test: QADataset) -> list[tuple[float, float]]:
    """CPU seconds and hit_rate@5 of the weights at each tenth; none where none were kept."""
    found = [
        (json.loads((model / "cpu.json").read_text()), evaluate(str(model), test).metrics["hit_rate@5"])
        for model in (sorted(folder.iterdir()) if folder.is_dir() else ())
    ]
    return sorted(found)


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
    metrics = "  ".join(f"{name} {training.mean(name):.4f}" for name in METRICS)
    sys.stdout.write(
        f"{training.engine:<5} seed {training.seed}: {training.wall_s:7.1f} s wall {training.cpu_s:8.1f} s CPU "
        f"{training.peak_mib:6.0f} MiB  {metrics}\n"
    )
    sys.stdout.flush()


def summarised(
    trainings: Sequence[Training], before: Mapping[str, np.ndarray], clusters: Sequence[int], ours: str
) -> dict[str, object]:
    """Ratios of the medians, paired intervals over the seeds and in each, and the time to the peer's quality."""
    sides = {name: [row for row in trainings if row.engine == name] for name in (ours, "peer")}

    def median(engine: str, name: str) -> float:
        return float(np.median([getattr(row, name) for row in sides[engine]]))

    def against(base: Sequence[Mapping[str, object]], tuned: Sequence[Training]) -> list[dict[str, float | str]]:
        return [interval(base, [row.per_query for row in tuned], name, clusters) for name in METRICS]

    peers = [row.per_query for row in sides["peer"]]
    goal = float(np.mean([row.mean("hit_rate@5") for row in sides["peer"]]))
    times = [reached(row.tenths, goal) for row in sides[ours] if row.tenths]
    return {
        "peer / ours": {name: median("peer", name) / median(ours, name) for name in ("wall_s", "cpu_s", "peak_mib")},
        "ours - base": against([before], sides[ours]),
        "peer - base": against([before], sides["peer"]),
        "ours - peer": against(peers, sides[ours]),
        "ours - base by seed": [against([before], [row])[1] for row in sides[ours]],
        "CPU seconds to the peer's hit_rate@5": times,
        "as a share of the peer's": [seconds / median("peer", "cpu_s") for seconds in times],
    }


def reached(tenths: Sequence[tuple[float, float]], goal: float) -> float:
    """CPU seconds from where on all tenths are at or above the goal; infinite if the last is not."""
    at = float("inf")
    for seconds, value in reversed(tenths):
        if value < goal:
            break
        at = seconds
    return at


def interval(
    base: Sequence[Mapping[str, object]], tuned: Sequence[Mapping[str, object]], name: str, clusters: Sequence[int]
) -> dict[str, float | str]:
    """The paired difference of each question's mean over the seeds."""
    values = [np.mean([np.asarray(side[name]) for side in sides], axis=0) for sides in (base, tuned)]
    paired = paired_difference(values[1] - values[0], clusters)
    return {"metric": name, "difference": paired.difference, "low": paired.low, "high": paired.high, "p": paired.p}


def table(summary: Mapping[str, object], trainings: Sequence[Training]) -> str:
    """The summary as lines."""
    lines = []
    for name, found in summary.items():
        rows = found if isinstance(found, list) else [found]
        lines += [f"{name:<22}" + "  ".join(written(row) for row in rows)] if rows else []
    lines += [f"{row.engine} seed {row.seed} by tenths: {row.tenths}" for row in trainings if row.tenths]
    return "\n".join(lines) + "\n"


def written(row: object) -> str:
    """One figure or interval."""
    if not isinstance(row, dict):
        return f"{row:.3f}"
    if "low" not in row:
        return "  ".join(f"{name} {value:.2f}" for name, value in row.items())
    return f"{row['metric']} {row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f}, p {row['p']:.2g})"


if __name__ == "__main__":
    main()
