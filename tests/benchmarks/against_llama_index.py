"""The engine against the real llama-index-finetuning 0.4.2: parameters, files, and hit rates on the same pairs.

python tests/benchmarks/against_llama_index.py --upstream PYTHON --data FOLDER [--base MODEL] [--pairs 300] [--val 100]

``PYTHON`` is an interpreter with ``llama-index-finetuning==0.4.2``, ``mistralai<2``, ``datasets`` and ``accelerate``;
``FOLDER`` a BEIR folder with the splits train and test. Both train one epoch with their defaults otherwise; a third
set of questions, which neither has seen, reports.
"""

import argparse
import inspect
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

from embedtune import QADataset, evaluate
from embedtune.demo import packaged_minilm
from llama_index.embeddings.embedtune import (
    EmbeddingQAFinetuneDataset,
    SentenceTransformersFinetuneEngine,
    generate_qa_embedding_pairs,
)

UPSTREAM = """
import inspect, json, sys, time
from llama_index.finetuning import (
    EmbeddingQAFinetuneDataset, SentenceTransformersFinetuneEngine, generate_qa_embedding_pairs
)
base = sys.argv[1]
def told(function):
    found = inspect.signature(function).parameters.values()
    return [[p.name, None if p.default is p.empty else repr(p.default)] for p in found if p.name != "self"]
train = EmbeddingQAFinetuneDataset.from_json("train.json")
val = EmbeddingQAFinetuneDataset.from_json("val.json")
train.save_json("train_of_upstream.json")
started = time.monotonic()
engine = SentenceTransformersFinetuneEngine(
    train, model_id=base, model_output_path="upstream", val_dataset=val, epochs=1, device="cpu"
)
engine.finetune()
json.dump({
    "engine": told(SentenceTransformersFinetuneEngine.__init__),
    "generate": told(generate_qa_embedding_pairs),
    "pairs": [[text, ids] for text, ids in train.query_docid_pairs],
    "seconds": time.monotonic() - started,
}, open("told.json", "w"))
"""


def main() -> None:
    """Train both, print the comparison; exit with 1 where a promise is not kept."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True, help="An interpreter with llama-index-finetuning==0.4.2.")
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--pairs", type=int, default=300, help="Questions to train on.")
    parser.add_argument("--val", type=int, default=100, help="Questions that choose.")
    arguments = parser.parse_args()
    base = arguments.base or str(packaged_minilm())
    split = QADataset.load(arguments.data, split="train").split(val=0.2, test=0)
    assert split.val is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        train, val = part(split.train, arguments.pairs), part(split.val, arguments.val)
        train.save_json(folder / "train.json")
        val.save_json(folder / "val.json")
        command = [arguments.upstream, "-c", UPSTREAM, base]
        subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)
        told = json.loads((folder / "told.json").read_text())
        kept = {
            "engine: names, order, defaults": told["engine"] == parameters(SentenceTransformersFinetuneEngine.__init__),
            "generator: all but template and output_path": same_generator(told["generate"]),
            "upstream reads our file": [tuple(pair) for pair in told["pairs"]] == train.query_docid_pairs,
            "we read upstream's file": EmbeddingQAFinetuneDataset.from_json(folder / "train_of_upstream.json") == train,
        }
        for promise, holds in kept.items():
            sys.stdout.write(f"{'yes' if holds else 'NO':<4}{promise}\n")
        started = time.monotonic()
        engine = SentenceTransformersFinetuneEngine(
            train, model_id=base, model_output_path=str(folder / "ours"), val_dataset=val, epochs=1, device="cpu"
        )
        engine.finetune()
        seconds = {"base": 0.0, "upstream": told["seconds"], "ours": time.monotonic() - started}
        test = QADataset.load(arguments.data, split="test")
        queries = list(islice(test.queries, 500))
        answers = [chunk for query in queries for chunk in test.relevant_docs[query]]
        test = test.subset(queries, dict.fromkeys([*answers, *islice(test.corpus, 1500)]))
        for name, model in (("base", base), ("upstream", str(folder / "upstream")), ("ours", str(folder / "ours"))):
            rates = [evaluate(model, dataset).hit_rate for dataset in (val.to_qa_dataset(), test)]
            sys.stdout.write(
                f"{name:<9} hit rate@5: {rates[0]:.3f} on {len(val.queries)} that chose, {rates[1]:.3f} on {len(test)} "
                f"of {len(test.corpus)} chunks; {seconds[name]:.0f} s\n"
            )
    sys.exit(0 if all(kept.values()) else 1)


def part(dataset: QADataset, n_queries: int) -> EmbeddingQAFinetuneDataset:
    """The first queries with the chunks that answer them."""
    queries = list(islice(dataset.queries, n_queries))
    chunks = dict.fromkeys(chunk for query in queries for chunk in dataset.relevant_docs[query])
    known = dataset.subset(queries, chunks)
    return EmbeddingQAFinetuneDataset(
        queries=known.queries, corpus=known.corpus, relevant_docs=known.relevant_docs
    )  # without metadata: nothing that upstream has not


def parameters(function: object) -> list[list[str | None]]:
    """Names and defaults of what can be given by position."""
    found = inspect.signature(function).parameters.values()  # type: ignore[arg-type]
    return [
        [p.name, None if p.default is p.empty else repr(p.default)]
        for p in found
        if p.name != "self" and p.kind is p.POSITIONAL_OR_KEYWORD
    ]


def same_generator(told: list[list[str | None]]) -> bool:
    """Whether names, order and defaults agree but for the two that differ."""
    ours = parameters(generate_qa_embedding_pairs)
    different = {name for (name, default), (_, other) in zip(told, ours, strict=True) if default != other}
    names_agree = [name for name, _ in told] == [name for name, _ in ours]
    return names_agree and different == {"qa_generate_prompt_tmpl", "output_path"}


if __name__ == "__main__":
    main()
