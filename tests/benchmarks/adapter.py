"""The query adapter against the base model, full tuning and LlamaIndex's EmbeddingAdapterFinetuneEngine.

python tests/benchmarks/adapter.py --data FOLDER [--pairs N] [--full MODEL] [--peer PYTHON] [--out FOLDER] [--json FILE]

``FOLDER`` is a BEIR folder with the splits train and test. The adapter is trained on the pairs twice: with nothing
embedded yet, and with all vectors in a cache; the difference is encoding. The peer gets the same pairs, 25 epochs as
in its published example, and all else at its defaults, in a process of its own; its calls of the embedding model are
timed apart. ``--full`` is a model that was tuned on the same pairs, as ``tuning.py`` leaves them with their times
beside. All are asked all test questions over all chunks.

The peer lives in a venv of its own, made in ``--out`` unless ``--peer`` names the interpreter of one; what it has
trained is kept there.
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from tuning import interval, measured, peer_of_our_own, write_pairs

from embedtune import QADataset, evaluate, tune
from embedtune.adapter.fitting import Factors
from embedtune.adapter.query_adapter import AdaptedEmbedder, QueryAdapter
from embedtune.caches import cached
from embedtune.comparison.pairing import clusters_of
from embedtune.demo import packaged_minilm
from embedtune.protocols import Embedder
from embedtune.resolve import as_embedder

METRICS = ("hit_rate@5", "ndcg@10")
PEER_EPOCHS = 25
PEER = """
import json, sys, time
import numpy, torch
from llama_index.embeddings.huggingface import HuggingFaceEmbedding
from llama_index.finetuning import EmbeddingAdapterFinetuneEngine, EmbeddingQAFinetuneDataset
base, train, out, epochs, live_epochs = sys.argv[1:]
dataset = EmbeddingQAFinetuneDataset.from_json(train)
live_calls, calls, spent, known = 2 * len(dataset.queries) * int(live_epochs) + 1, 0, 0.0, {}
class Timed(HuggingFaceEmbedding):
    def _get_query_embedding(self, query):
        return timed(super()._get_query_embedding, query)
    def _get_text_embedding(self, text):
        return timed(super()._get_text_embedding, text)
def timed(embed, text):
    global calls, spent
    calls += 1
    key = embed.__name__, text
    if calls <= live_calls:
        started = time.process_time()
        known[key] = embed(text)
        spent += time.process_time() - started
    return known[key]
model = Timed(model_name=base, device="cpu")
torch.manual_seed(0)
wall, cpu = time.monotonic(), time.process_time()
engine = EmbeddingAdapterFinetuneEngine(dataset, model, epochs=int(epochs), model_output_path=out, device="cpu")
engine.finetune()
more = spent * (int(epochs) / int(live_epochs) - 1)
seconds = {"wall_s": time.monotonic() - wall + more, "cpu_s": time.process_time() - cpu + more}
told = {**seconds, "encoding_cpu_s": spent + more, "live_epochs": int(live_epochs)}
numpy.save(out + "/matrix.npy", engine.model.linear.weight.detach().numpy())
open(out + "/told.json", "w").write(json.dumps(told))
"""


def main() -> None:
    """Train, score, print."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    base, test = str(packaged_minilm()), QADataset.load(given.data, split="test")
    pairs = write_pairs(QADataset.load(given.data, split="train"), given.pairs, 0, given.out)
    seconds = ours(base, QADataset.load(pairs), given.out)
    embedder = cached(as_embedder(base), given.out / "scoring")
    models = {"base": embedder, "adapter": AdaptedEmbedder(embedder, given.out / "adapter")}
    if given.full is not None:
        models["full"] = as_embedder(given.full)
        seconds["full"] = seconds_beside(given.full)
    if given.peer != "none":
        models["peer"], seconds["peer"] = peer(base, pairs, embedder, given)
    values = {name: evaluate(model, test).per_query for name, model in models.items()}
    summary = summarised(values, seconds, clusters_of(test))
    sys.stdout.write(table(summary))
    if given.json is not None:
        given.json.write_text(json.dumps(summary, indent=1) + "\n")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--pairs", type=int, help="Training questions, drawn by seed 0; all if not given.")
    parser.add_argument("--full", help="A model folder that was tuned on the same pairs.")
    parser.add_argument("--peer", help="An interpreter with the peer's packages, or none; a venv is made if not given.")
    parser.add_argument(
        "--live-epochs",
        type=int,
        default=PEER_EPOCHS,
        help="Epochs in which the peer embeds, as it does in all; in the others it is given the vectors of these, and "
        "their embedding is reckoned by them.",
    )
    parser.add_argument("--json", type=Path, help="Write all figures to this file.")
    parser.add_argument("--out", type=Path, default=Path("adapter"), help="Working folder.")
    return parser.parse_args()


def ours(base: str, train: QADataset, out: Path) -> dict[str, dict[str, float]]:
    """Seconds with nothing embedded, and with everything."""
    shutil.rmtree(out / "cache", ignore_errors=True)
    as_embedder(base).embed_queries(["loads the weights"])
    found = {}
    for name in ("adapter with encoding", "adapter"):
        wall, cpu = time.monotonic(), time.process_time()
        tune(base, train, path=out / "adapter", tuner="adapter", cache=out / "cache", progress=False)
        found[name] = {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu}
    return found


def peer(base: str, pairs: Path, embedder: Embedder, given: argparse.Namespace) -> tuple[Embedder, dict[str, float]]:
    """The peer's map as an embedder of ours, and its seconds."""
    folder = given.out / "peer"
    if not (folder / "told.json").exists():
        folder.mkdir(exist_ok=True)
        python = given.peer or peer_of_our_own(given.out / "peer-venv")
        measured(
            [python, "-c", PEER, base, str(pairs), str(folder), str(PEER_EPOCHS), str(given.live_epochs)],
            given.out / "peer.log",
        )
    matrix = np.load(folder / "matrix.npy")
    identity = np.eye(len(matrix), dtype=np.float32)
    adapter = QueryAdapter(Factors(matrix - identity, identity), embedder.fingerprint, identity[0])
    return AdaptedEmbedder(embedder, adapter), json.loads((folder / "told.json").read_text())


def seconds_beside(model: str) -> dict[str, float]:
    """What ``tuning.py`` wrote beside the model."""
    file = Path(f"{model}.json")
    if not file.is_file():
        return {}
    told = json.loads(file.read_text())
    return {name: told[name] for name in ("wall_s", "cpu_s")}


def summarised(
    values: Mapping[str, Mapping[str, np.ndarray]], seconds: Mapping[str, Mapping[str, float]], clusters: list[int]
) -> dict[str, object]:
    """Means, paired intervals, seconds and their ratios."""
    couples = [("base", "adapter"), ("base", "full"), ("adapter", "full"), ("peer", "adapter"), ("base", "peer")]
    summary: dict[str, object] = {
        "means": {name: {metric: float(found[metric].mean()) for metric in METRICS} for name, found in values.items()},
        "intervals": {
            f"{after} - {before}": [interval([values[before]], [values[after]], name, clusters) for name in METRICS]
            for before, after in couples
            if before in values and after in values
        },
        "seconds": seconds,
    }
    if "peer" in seconds:
        theirs = seconds["peer"]["cpu_s"]
        summary["peer / ours, CPU seconds"] = {name: theirs / told["cpu_s"] for name, told in seconds.items() if told}
    return summary


def table(summary: Mapping[str, object]) -> str:
    """The summary as lines."""
    return json.dumps(summary, indent=1, default=float) + "\n"


if __name__ == "__main__":
    main()
