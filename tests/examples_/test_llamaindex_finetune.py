"""The example for LlamaIndex, whole, on real questions and paragraphs."""

import csv
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from embedtune import QADataset
from rooms import ROOT
from servers import Reply, Request, chat_answer, scripted_server

pytest.importorskip("llama_index.vector_stores.lancedb")

EXAMPLE = ROOT / "examples" / "llamaindex_finetune.py"
N_PARAGRAPHS = 12


@pytest.fixture
def faq(tmp_path: Path, test_data: Path) -> Path:
    """Questions on German paragraphs, two on each."""
    dataset = QADataset.load(test_data / "xquad_de", split="train")
    rows = {}
    for query, (chunk, *_) in dataset.relevant_docs.items():
        rows.setdefault(chunk, []).append((dataset.queries[query], dataset.corpus[chunk][:200]))
    with open(tmp_path / "faq.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["question", "answer"])
        writer.writerows(row for found in list(rows.values())[:N_PARAGRAPHS] for row in found[:2])
    return tmp_path / "faq.csv"


@pytest.mark.slow
def test_the_example_runs_whole(faq: Path, minilm: Path) -> None:
    environment = {
        **{name: value for name, value in os.environ.items() if name != "EMBEDTUNE_LLM"},
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "EMBEDTUNE_BASE_MODEL": str(minilm),
    }
    command = [sys.executable, str(EXAMPLE), "faq.csv"]
    done = subprocess.run(command, cwd=faq.parent, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert re.match(rf"\d+ questions to train on, \d+ to report on, {N_PARAGRAPHS} answers\n", done.stdout)
    rates = re.findall(r"(base|tuned) +hit rate@5: ([01]\.\d{3}) in memory, ([01]\.\d{3}) in LanceDB", done.stdout)
    assert [name for name, _, _ in rates] == ["base", "tuned"]
    assert all(in_memory == in_lancedb for _, in_memory, in_lancedb in rates), "vectors of length 1 rank alike"
    assert (faq.parent / "tuned_model" / "embedtune.json").is_file()
    for warning in ("flattered", "embedded with another text", "not in the corpus"):
        assert warning not in done.stderr


def test_an_llm_may_write_the_training_questions(faq: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes' ids are kept, so that what it asks is found in the index."""

    def write(request: Request) -> Reply:
        passage = request.body["messages"][0]["content"]
        words = re.findall(r"[A-ZÄÖÜ]\w{6,}", passage)
        return Reply(chat_answer(f"1. Was steht dort über {words[-1]} und {words[-2]}?"))

    monkeypatch.chdir(faq.parent)
    example = runpy.run_path(str(EXAMPLE))
    nodes = example["make_nodes"](example["read_rows"]("faq.csv"), "faq.csv")
    train_nodes, _ = example["split_nodes"](nodes)
    with scripted_server(write) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "sk-local")
        train = example["generate_qa_embedding_pairs"](train_nodes, "openai:m", output_path="train_pairs.json")
    assert set(train.corpus) == {node.node_id for node in train_nodes}
    assert train.queries
