"""Tables of a hosted function: a server whose questions lie elsewhere than their answers, and what is asked of it."""

import random
from collections import Counter
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import lancedb
import numpy as np

from embedtune import QADataset
from embedtune.protocols import Vectors
from embedtune.testing import HashEmbedder
from embedtune_lancedb import get_registry
from lance_tables import schema_of
from servers import Reply, Request

DIM = 256
KEY = "sk-a-key-that-must-stay-here"
MODEL = "text-embedding-3-small"


@cache
def _vector(text: str, dim: int) -> Vectors:
    vector: Vectors = HashEmbedder(dim).embed_documents([text])[0]
    return vector / max(float(np.linalg.norm(vector)), 1e-9)


def hashed(request: Request) -> Reply:
    """An embeddings server whose vectors are sums of words."""
    texts, dim = request.body["input"], request.body.get("dimensions") or DIM
    if not texts:
        return Reply({"error": {"message": "'input' must not be empty", "type": "invalid_request_error"}}, status=400)
    rows = [
        {"object": "embedding", "index": place, "embedding": _vector(text, dim).tolist()}
        for place, text in enumerate(texts)
    ]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return Reply({"object": "list", "data": rows, "model": request.body["model"], "usage": usage})


def questions(n: int, seed: int = 0) -> QADataset:
    """Chunks of two words that tell and four that do not, and a question on each, of more that do not.

    By its words alone a question is nearest to chunks that share what does not tell; an adapter can learn to pass over
    that.
    """
    draw = random.Random(seed)
    topics = [draw.sample([f"word{number}" for number in range(60)], 2) for _ in range(n)]
    empty = [f"filler{number}" for number in range(6)]
    chunks = {f"c{place}": " ".join(topic + draw.choices(empty, k=4)) for place, topic in enumerate(topics)}
    queries = {f"q{place}": " ".join(topic + draw.choices(empty, k=10)) + "?" for place, topic in enumerate(topics)}
    return QADataset(queries, chunks, {f"q{place}": [f"c{place}"] for place in range(n)})


def hosted(base_url: str, **fields: object) -> Any:
    """LanceDB's function of OpenAI at another address; its key is a variable of the registry."""
    get_registry().set_var("key-of-the-tests", KEY)
    fields = {"name": MODEL, "dim": DIM, "base_url": base_url, "api_key": "$var:key-of-the-tests", **fields}
    return get_registry().get("openai").create(**fields)


def table_of(function: Any, database: Path, dataset: QADataset, name: str = "t") -> lancedb.table.Table:
    """A table of a data set's chunks, as LanceDB makes it."""
    rows = [{"id": chunk, "text": text} for chunk, text in dataset.corpus.items()]
    return lancedb.connect(str(database)).create_table(name, data=rows, schema=schema_of(function))


def texts_of(requests: Iterable[Request]) -> Counter[str]:
    """How often each text was sent."""
    return Counter(text for request in requests for text in request.body["input"])


def hit_rate(table: Any, dataset: QADataset) -> float:
    """Share of the questions whose answer is among the first five rows of a table's vector search."""
    found = [table.search(query, query_type="vector").limit(5).to_list() for query in dataset.queries.values()]
    answers = dataset.relevant_docs.values()
    hits = [any(row["id"] in right for row in rows) for rows, right in zip(found, answers, strict=True)]
    return sum(hits) / len(hits)
