"""A LangChain retriever before and after tuning its embedding model on your own documents.

    python langchain_finetune.py docs    # a folder of Markdown files; ./docs if none is given

If the folder holds a questions.csv, its real questions train and judge: the columns are question, source (the file's
name) and quote (some words of the passage that answers it). Without one, an LLM writes the questions: set
OPENAI_API_KEY, or give `questions` any chat model of LangChain's. The tuned model is left in the working folder.

Two environment variables change what it works with: EMBEDTUNE_BASE_MODEL (a hub name or a folder) and EMBEDTUNE_LLM.

Needs: pip install "embedtune[langchain,openai]" langchain-text-splitters
"""

import csv
import os
import sys
from pathlib import Path

from langchain_core.documents import Document
from langchain_core.vectorstores import InMemoryVectorStore
from langchain_text_splitters import RecursiveCharacterTextSplitter

from embedtune import QADataset, TextChunk, compare, evaluate
from langchain_embedtune import EmbedtuneEmbeddings, finetune

BASE_MODEL = os.environ.get("EMBEDTUNE_BASE_MODEL", "sentence-transformers/all-MiniLM-L6-v2")
LLM = os.environ.get("EMBEDTUNE_LLM", "openai:gpt-6-luna")
TOP_K = 5


def read_documents(folder):
    """Pieces of every file; where each stands in its file enters its id, so it is the same at the next run."""
    files = sorted(Path(folder).glob("**/*.md"))
    whole = [Document(file.read_text(encoding="utf-8"), metadata={"source": file.name}) for file in files]
    splitter = RecursiveCharacterTextSplitter(chunk_size=1000, chunk_overlap=100, add_start_index=True)
    return splitter.split_documents(whole)


def questions(documents, file, llm):
    """The real questions of a file; where there is none, the LLM writes them, and the journal keeps what it wrote."""
    chunks = [TextChunk.from_langchain_node(document) for document in documents]
    if not file.exists():
        return QADataset.from_llm(chunks, llm, num_questions_per_chunk=2, journal="answers.jsonl")
    queries, relevant = {}, {}
    with file.open(encoding="utf-8", newline="") as rows:
        for number, row in enumerate(csv.DictReader(rows)):
            answers = [c.id for c in chunks if c.metadata["source"] == row["source"] and row["quote"] in c.text]
            if answers:
                queries[f"q{number}"], relevant[f"q{number}"] = row["question"], answers
    return QADataset.from_responses(chunks, queries, relevant)


def retriever_of(documents, embeddings):
    store = InMemoryVectorStore.from_documents(documents, embeddings)
    return store.as_retriever(search_kwargs={"k": TOP_K})


def main():
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs")
    documents = read_documents(folder)
    dataset = questions(documents, folder / "questions.csv", LLM)

    # No file is on both sides. What chooses the checkpoint comes out of train; test is asked only at the end.
    split = dataset.split(val=0, test=0.3)
    print(f"{len(split.train)} questions to train on, {len(split.test)} to test on, {len(documents)} chunks")

    base = EmbedtuneEmbeddings(model=BASE_MODEL)
    tuned = finetune(split.train, base, path="tuned_model", epochs=2)

    for name, embeddings in (("before", base), ("after", tuned)):
        found = evaluate(retriever_of(documents, embeddings), split.test, top_k=TOP_K)
        print(f"{name:<8} hit rate@{TOP_K} of the retriever: {found.hit_rate:.3f}")

    comparison = compare(base, tuned, split.test, top_k=TOP_K)
    print(f"{comparison.verdict}: {comparison.reason}")

    question = next(iter(split.test.queries.values()))
    best = retriever_of(documents, tuned).invoke(question)[0]
    print(f"{question}\n-> {best.metadata['source']}: {best.page_content[:70]!r}")


if __name__ == "__main__":
    main()
