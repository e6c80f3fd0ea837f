"""LanceDB's five rows, and reranked hybrid, before and after tuning: each with p value and interval, and a page.

python tests/benchmarks/query_types.py --data FOLDER [--base MODEL] [--tuned MODEL] [--reranker MODEL] [--out FOLDER]

``FOLDER`` is a BEIR folder with the splits train and test. What is not given is made of train: the tuned model at
default settings, and a cross-encoder from the base model's body. Asked are ``--queries`` of test, drawn by seed among
all of its chunks, and ``--depth`` finds are reranked.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

import numpy as np

from embedtune import ExactSearch, QADataset, as_embedder, compare, tune
from embedtune.demo import packaged_minilm
from embedtune.report import write_report

NEAR, RANDOM = 3, 2
"""Wrong chunks of each question that teach the cross-encoder: found by the base model, and any."""
QUERY_TYPES = ("vector", "fts", "hybrid", "reranked_vector", "reranked_fts", "reranked_hybrid")


def main() -> None:
    """Tune and train what is missing, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="Base model; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--tuned", help="Tuned model; tuned on train if not given.")
    parser.add_argument("--reranker", help="Cross-encoder; trained on train if not given.")
    parser.add_argument("--queries", type=int, default=300, help="Questions of test that are asked.")
    parser.add_argument("--depth", type=int, default=30, help="Finds that are reranked.")
    parser.add_argument("--pairs", type=int, default=3000, help="Questions of train that teach the cross-encoder.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("query_types"), help="Models, figures and page.")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    base = given.base or str(packaged_minilm())
    train = QADataset.load(given.data, split="train")
    tuned = given.tuned or str(tune(base, train, path=given.out / "tuned").path)
    reranker = given.reranker or trained_reranker(base, train, given.out / "reranker", given.pairs, given.seed)
    test = drawn(QADataset.load(given.data, split="test"), given.queries, given.seed)
    started, cpu = time.monotonic(), time.process_time()
    comparison = compare(
        *(base, tuned, test, QUERY_TYPES),
        reranker=reranker,
        depth=given.depth,
        cache=given.out / "cache",
        seed=given.seed,
    )
    seconds = {"compare_wall_s": time.monotonic() - started, "compare_cpu_s": time.process_time() - cpu}
    page = write_report(comparison, test, given.out / "report")
    (given.out / "figures.json").write_text(json.dumps({**seconds, **comparison.to_json()}, indent=1))
    for query_type in QUERY_TYPES:
        row = comparison.row(query_type, "hit_rate", 5)
        sys.stdout.write(
            f"{query_type:<16} {row.base:.3f} -> {row.tuned:.3f}  {row.difference:+.3f} "
            f"({row.low:+.3f} to {row.high:+.3f})  p={row.p:.2g}\n"
        )
    sys.stdout.write(f"{comparison.verdict}: {comparison.reason}\n{seconds}\n{page}\n")


def drawn(dataset: QADataset, n_queries: int, seed: int) -> QADataset:
    """Some queries, among all chunks."""
    chosen = random.Random(seed).sample(list(dataset.queries), min(n_queries, len(dataset)))
    return dataset.subset(chosen)


def trained_reranker(base: str, train: QADataset, folder: Path, n_queries: int, seed: int) -> str:
    """A cross-encoder on the body of an embedding model, told right answers from near and from random chunks."""
    import torch
    from datasets import Dataset
    from sentence_transformers import CrossEncoder
    from sentence_transformers.cross_encoder import CrossEncoderTrainer, CrossEncoderTrainingArguments
    from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

    has_gpu = torch.cuda.is_available()
    no_dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}  # a quarter of the time, no gain
    model = CrossEncoder(base, num_labels=1, max_length=256, config_kwargs=no_dropout)
    arguments = CrossEncoderTrainingArguments(
        output_dir=str(folder.with_name("reranker-run")),
        num_train_epochs=1,
        per_device_train_batch_size=64,
        learning_rate=2e-4,  # at 5e-5, usual for larger bodies, it has learned nothing after 1,000 questions
        warmup_ratio=0.1,
        bf16=has_gpu or torch.cpu._is_amx_tile_supported(),
        use_cpu=not has_gpu,
        save_strategy="no",
        report_to="none",
        seed=seed,
    )
    rows = labelled_pairs(base, drawn(train, n_queries, seed), seed)
    loss = BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(NEAR + RANDOM)))
    CrossEncoderTrainer(model=model, args=arguments, train_dataset=Dataset.from_dict(rows), loss=loss).train()
    model.save_pretrained(str(folder))
    return str(folder)


def labelled_pairs(base: str, train: QADataset, seed: int) -> dict[str, list[object]]:
    """Each question with one right answer, some of the chunks that the base model finds, and some random ones."""
    draw, chunks = np.random.default_rng(seed), list(train.corpus)
    found = ExactSearch(train.corpus, as_embedder(base)).search(list(train.queries.values()), 30)
    rows: dict[str, list[object]] = {"query": [], "text": [], "label": []}
    for (query, question), near in zip(train.queries.items(), found, strict=True):
        right = {train.corpus[chunk] for chunk in train.relevant_docs[query]}  # texts: equal chunks are no negatives
        wrong = [chunk for chunk in near if train.corpus[chunk] not in right]
        negatives = [*draw.choice(wrong, NEAR, replace=False), *draw.choice(chunks, RANDOM)]
        answer = train.corpus[next(iter(train.relevant_docs[query]))]
        for text in (answer, *(train.corpus[chunk] for chunk in negatives)):
            rows["query"].append(question)
            rows["text"].append(text)
            rows["label"].append(float(text in right))
    return rows


if __name__ == "__main__":
    main()
