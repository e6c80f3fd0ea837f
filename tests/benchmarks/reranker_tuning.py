"""What tuning a reranker on one's own questions gives: a search's first find, before and after, with paired intervals.

python tests/benchmarks/reranker_tuning.py --data FOLDER [--base MODEL] [--embedder MODEL] [--pairs 3000] [--out FOLDER]

``FOLDER`` is a BEIR folder with the splits train and test. ``--pairs`` questions of train, drawn by seed, tune the base
at the defaults; ``--queries`` of test, drawn by seed, are asked among all of its chunks, and ``--depth`` finds are
reranked. A base that is a cross-encoder is measured before and after. One without a score layer, as the packaged
all-MiniLM-L6-v2 is, has no order of its own: before is the search without reranking, which the tuned one is held
against in either case.
"""

import argparse
import json
import random
import sys
import time
from pathlib import Path

from embedtune import ExactSearch, QADataset, as_embedder, tune
from embedtune.caches import CachedEmbedder
from embedtune.comparison.pairing import clusters_of
from embedtune.demo import packaged_minilm
from embedtune.evaluation import Evaluation, evaluate_search
from embedtune.reranking import RerankedSearch
from embedtune.resolve import as_reranker
from embedtune.statistics import paired_difference

METRICS = ("hit_rate@1", "hit_rate@5", "ndcg@10")


def main() -> None:
    """Tune, ask, print a line for each metric."""
    given = arguments()
    given.out.mkdir(parents=True, exist_ok=True)
    embedder = CachedEmbedder(as_embedder(given.embedder or str(packaged_minilm())), given.out / "cache")
    train, test = (QADataset.load(given.data, split=name) for name in ("train", "test"))
    test = drawn(test, given.queries, given.seed)
    result = tune(
        *(given.base or str(packaged_minilm()), drawn(train, given.pairs, given.seed)),
        path=given.out / "reranker",
        tuner="reranker",
        embedder=embedder,
        depth=given.depth,
        seed=given.seed,
    )
    started = time.monotonic()
    search = ExactSearch(test.corpus, embedder)
    rerankers = {"tuned": str(result.path)} | ({"base": given.base} if has_order(given.base) else {})
    found = {"search": evaluate_search(search, test, 1, cut_offs=(1, 5, 10))}
    for name, reranker in rerankers.items():
        reranked = RerankedSearch(search, test.corpus, as_reranker(reranker), given.depth)
        found[name] = evaluate_search(reranked, test, 1, cut_offs=(1, 5, 10))
    sys.stdout.write(
        f"{result.n_pairs} pairs, {result.seconds:.0f} s, step {result.record.chosen_step}, kept_base "
        f"{result.kept_base}; on validation {dict(result.record.metrics_before)} -> "
        f"{dict(result.record.metrics_after)}; {len(test)} test questions reranked in {time.monotonic() - started:.0f} "
        "s\n"
    )
    figures = [row for name in found if name != "tuned" for row in rows(name, found[name], found["tuned"], test)]
    (given.out / "figures.json").write_text(json.dumps(figures, indent=1))


def arguments() -> argparse.Namespace:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--base", help="A cross-encoder, or a body; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--embedder", help="Searches; the packaged all-MiniLM-L6-v2 if not given.")
    parser.add_argument("--pairs", type=int, default=3000, help="Questions of train that tune.")
    parser.add_argument("--queries", type=int, default=300, help="Questions of test that are asked.")
    parser.add_argument("--depth", type=int, default=30, help="Finds that are reranked.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("reranker_tuning"), help="Model and figures.")
    return parser.parse_args()


def drawn(dataset: QADataset, n_queries: int, seed: int) -> QADataset:
    """Some queries, among all chunks."""
    return dataset.subset(random.Random(seed).sample(list(dataset.queries), min(n_queries, len(dataset))))


def has_order(base: str | None) -> bool:
    """Whether the base ranks before it is tuned."""
    from embedtune_sentence_transformers.reranker import kind_without_score  # torch: seconds

    return base is not None and kind_without_score(base) is None


def rows(before: str, one: Evaluation, other: Evaluation, test: QADataset) -> list[dict[str, object]]:
    """A line for each metric, printed and as figures."""
    told = []
    for metric in METRICS:
        paired = paired_difference(other.per_query[metric] - one.per_query[metric], clusters_of(test))
        first, second = one.metrics[metric], other.metrics[metric]
        sys.stdout.write(
            f"{before} -> tuned, {metric:<10} {first:.3f} -> {second:.3f}  {paired.difference:+.3f} "
            f"({paired.low:+.3f} to {paired.high:+.3f})  p={paired.p:.2g}\n"
        )
        told.append({"before": before, "metric": metric, "base": first, "tuned": second, **paired.__dict__})
    return told


if __name__ == "__main__":
    main()
