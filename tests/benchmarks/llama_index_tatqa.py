"""The engine with every argument at its default but the model: train on ``train``, report on ``test``.

python tests/benchmarks/llama_index_tatqa.py --data FOLDER [--base MODEL] [--limit N] [--out FOLDER] [--json FILE]

``FOLDER`` is a BEIR folder with the splits train and test, such as TAT-QA's. It prints hit rates of base and tuned
model with the paired interval, resampled by document.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from embedtune import QADataset, compare
from embedtune.demo import packaged_minilm
from llama_index.embeddings.embedtune import SentenceTransformersFinetuneEngine


def main() -> None:
    """Tune, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--limit", type=int, help="Only so many questions of each split.")
    parser.add_argument("--out", help="Working folder, in which exp_finetune is written; a temporary one if not given.")
    parser.add_argument("--json", help="Write the comparison to this file.")
    arguments = parser.parse_args()
    base = arguments.base or str(packaged_minilm())
    train, test = (limited(QADataset.load(arguments.data, split=split), arguments.limit) for split in ("train", "test"))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(arguments.out or folder).absolute()
        file = None if arguments.json is None else Path(arguments.json).absolute()
        place.mkdir(parents=True, exist_ok=True)
        os.chdir(place)
        started = time.monotonic()
        engine = SentenceTransformersFinetuneEngine(train, model_id=base)
        engine.finetune()
        seconds = time.monotonic() - started
        comparison = compare(base, engine.get_finetuned_model(), test)
        os.chdir(Path(folder).parent)
    figures = {"tuning_wall_s": seconds, **comparison.to_json()}
    if file is not None:
        file.write_text(json.dumps(figures, indent=1))
    sys.stdout.write(f"{len(train)} questions trained, {len(test)} asked, {seconds:.0f} s of tuning\n")
    for row in figures["rows"]:
        sys.stdout.write(
            f"{row['metric']}@{row['k']:<3} {row['base']:.4f} -> {row['tuned']:.4f}  "
            f"{row['difference']:+.4f} ({row['low']:+.4f} to {row['high']:+.4f})\n"
        )
    sys.stdout.write(f"{comparison.verdict}: {comparison.reason}\n")


def limited(dataset: QADataset, limit: int | None) -> QADataset:
    """The first questions; with a limit, among their own chunks alone."""
    if limit is None:
        return dataset
    queries = list(islice(dataset.queries, limit))
    chunks = dict.fromkeys(chunk for query in queries for chunk in dataset.relevant_docs[query])
    return dataset.subset(queries, chunks)


if __name__ == "__main__":
    main()
