"""LanceDB's fine-tuning example: questions on your documents, a model tuned on them, and hit rates.

    export OPENAI_API_KEY=...          # or OPENAI_BASE_URL=http://localhost:11434/v1 for a local server
    python lancedb_finetune.py data    # a folder of text, Markdown or PDF files; ./data if none is given

It follows LanceDB's own example: an LLM writes questions on each chunk, once for training and once for
validation, an open model is tuned, and three models are asked the validation questions. The data sets and
the tuned model are left in the working folder; a second run uses the questions that are there.

Environment variables change what it works on: EMBEDTUNE_BASE_MODEL (a hub name or a folder),
EMBEDTUNE_CHUNK_LIMIT (the first so many chunks only), and EMBEDTUNE_ANSWER_TOKENS (an upper bound for a small
model that runs on; one that reasons needs room).

Needs: pip install "embedtune[lancedb,llama-index,openai]" pandas
"""

import os
import sys
from pathlib import Path

import pandas as pd
from llama_index.core import SimpleDirectoryReader
from llama_index.core.node_parser import SentenceSplitter

from embedtune import QADataset, TextChunk, leaks
from embedtune_lancedb import get_registry
from embedtune_openai import Openai

BASE_MODEL = os.environ.get("EMBEDTUNE_BASE_MODEL", "BAAI/bge-small-en-v1.5")
CHUNK_LIMIT = int(os.environ.get("EMBEDTUNE_CHUNK_LIMIT", "0")) or None
ANSWER_TOKENS = int(os.environ.get("EMBEDTUNE_ANSWER_TOKENS", "0")) or None
TUNED_MODEL = "tuned_model"
TOP_K = 5


def read_chunks(folder):
    documents = SimpleDirectoryReader(input_dir=folder).load_data()
    nodes = SentenceSplitter().get_nodes_from_documents(documents)
    return [TextChunk.from_llama_index_node(node) for node in nodes][:CHUNK_LIMIT]


def questions(path, chunks, llm, per_chunk):
    """The questions in a Lance folder; where there is none yet, the LLM writes them.

    Its answers are kept in a journal: a run that is interrupted pays for none of them twice.
    """
    if Path(path).exists():
        return QADataset.load(path)
    dataset = QADataset.from_llm(chunks, llm, num_questions_per_chunk=per_chunk, journal=f"{path}.journal.jsonl")
    dataset.save(path)
    return dataset


def hit_rate(function, valset):
    """Share of questions whose chunk is among the first five."""
    results = function.evaluate(valset, top_k=TOP_K)
    return pd.DataFrame(results)["is_hit"].mean()


def main():
    chunks = read_chunks(sys.argv[1] if len(sys.argv) > 1 else "data")
    llm = Openai(max_tokens=ANSWER_TOKENS)
    trainset = questions("trainset", chunks, llm, per_chunk=2)
    valset = questions("valset", chunks, llm, per_chunk=4)
    print(f"{len(trainset)} questions to train on, {len(valset)} to validate on, {len(chunks)} chunks")

    # Both sets are written on the same chunks, as in the example that this one follows. The tuned model has then
    # seen every answer, so its hit rate flatters it; QADataset.split() makes sets that share nothing.
    seen = leaks(trainset, valset).queries_on_shared_chunks
    print(f"{len(seen)} of {len(valset)} validation questions stand on chunks that the model is trained on")

    registry = get_registry()
    model = registry.get("sentence-transformers").create(name=BASE_MODEL)
    model.finetune(trainset=trainset, path=TUNED_MODEL, epochs=4)

    base = registry.get("sentence-transformers").create(name=BASE_MODEL)
    tuned = registry.get("sentence-transformers").create(name=TUNED_MODEL)
    openai = registry.get("openai").create(name="text-embedding-3-small")
    for name, function in (("base", base), ("tuned", tuned), ("openai", openai)):
        print(f"{name:<8} hit rate@{TOP_K}: {hit_rate(function, valset):.3f}")


if __name__ == "__main__":
    main()
