"""LlamaIndex, from a CSV of questions and answers to a tuned embedding model and a better retriever.

    python llamaindex_finetune.py faq.csv    # with the columns "question" and "answer"; ./faq.csv if none is given

The answers become nodes. Four of five answers are for training, with their questions; the questions on the others,
which training never sees, are asked before and after, once in memory and once in LanceDB. The tuned model is left in
./tuned_model, and the tables in ./lancedb.

Environment variables change what it works on: EMBEDTUNE_BASE_MODEL (a hub name or a folder), and EMBEDTUNE_LLM, a
reference such as "openai:gpt-6-luna": that LLM then writes the training questions, for a CSV that has too few.

Needs: pip install "embedtune[llama-index,openai]" llama-index-vector-stores-lancedb
"""

import csv
import os
import random
import sys
from pathlib import Path

from llama_index.core import StorageContext, VectorStoreIndex
from llama_index.core.schema import TextNode
from llama_index.vector_stores.lancedb import LanceDBVectorStore

from embedtune import evaluate
from llama_index.embeddings.embedtune import (
    EmbeddingQAFinetuneDataset,
    EmbedtuneEmbedding,
    SentenceTransformersFinetuneEngine,
    generate_qa_embedding_pairs,
)

BASE_MODEL = os.environ.get("EMBEDTUNE_BASE_MODEL", "BAAI/bge-small-en-v1.5")
LLM = os.environ.get("EMBEDTUNE_LLM")
TUNED_MODEL = "tuned_model"
TOP_K = 5


def read_rows(path):
    with open(path, newline="", encoding="utf-8") as file:
        return [(row["question"], row["answer"]) for row in csv.DictReader(file)]


def make_nodes(rows, path):
    """One node for each answer. An index embeds a node's metadata with its text, so the path is kept out of that."""
    source = {"file_path": str(Path(path).absolute())}
    answers = dict.fromkeys(answer for _, answer in rows)
    return [TextNode(text=text, metadata=source, excluded_embed_metadata_keys=["file_path"]) for text in answers]


def split_nodes(nodes, share=0.2):
    """By answer, so that no answer has questions on both sides."""
    shuffled = random.Random(0).sample(nodes, len(nodes))
    n_held_out = max(round(share * len(nodes)), 1)
    return shuffled[n_held_out:], shuffled[:n_held_out]


def pairs(rows, asked, corpus):
    """The questions on the nodes in ``asked``, to be found among those in ``corpus``."""
    node_ids = {node.text: node.node_id for node in asked}
    found = {f"q{number}": row for number, row in enumerate(rows) if row[1] in node_ids}
    return EmbeddingQAFinetuneDataset(
        queries={query: question for query, (question, _) in found.items()},
        corpus={node.node_id: node.text for node in corpus},
        relevant_docs={query: [node_ids[answer]] for query, (_, answer) in found.items()},
    )


def hit_rates(nodes, embed_model, held_out, table):
    """Share of the questions whose answer is among the first five: in memory, and in LanceDB."""
    store = LanceDBVectorStore(uri="lancedb", table_name=table, mode="overwrite")
    indexes = (
        VectorStoreIndex(nodes, embed_model=embed_model),
        VectorStoreIndex(
            nodes, embed_model=embed_model, storage_context=StorageContext.from_defaults(vector_store=store)
        ),
    )
    retrievers = [index.as_retriever(similarity_top_k=TOP_K) for index in indexes]
    return [evaluate(retriever, held_out.to_qa_dataset(), top_k=TOP_K).hit_rate for retriever in retrievers]


def main():
    path = sys.argv[1] if len(sys.argv) > 1 else "faq.csv"
    rows = read_rows(path)
    nodes = make_nodes(rows, path)
    train_nodes, held_out_nodes = split_nodes(nodes)
    if LLM:
        train = generate_qa_embedding_pairs(train_nodes, LLM, output_path="train_pairs.json")
    else:
        train = pairs(rows, train_nodes, train_nodes)
    held_out = pairs(rows, held_out_nodes, nodes)
    print(f"{len(train.queries)} questions to train on, {len(held_out.queries)} to report on, {len(nodes)} answers")

    # No val_dataset: a part of the training questions, or all of them in turn, choose the checkpoint. The questions
    # that were held out then report what was gained; had they chosen, they would flatter it.
    engine = SentenceTransformersFinetuneEngine(train, model_id=BASE_MODEL, model_output_path=TUNED_MODEL)
    engine.finetune()

    for name, embed_model in (("base", EmbedtuneEmbedding(BASE_MODEL)), ("tuned", engine.get_finetuned_model())):
        in_memory, in_lancedb = hit_rates(nodes, embed_model, held_out, table=name)
        print(f"{name:<6} hit rate@{TOP_K}: {in_memory:.3f} in memory, {in_lancedb:.3f} in LanceDB")


if __name__ == "__main__":
    main()
