"""LangChain's example, whole: real articles, real questions, a real splitter, a real tuning, a retriever."""

import csv
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from embedtune import QADataset, read_record
from embedtune.testing import CannedLLM
from rooms import ROOT
from small_models import first_layer_of

EXAMPLE = ROOT / "examples" / "langchain_finetune.py"
ARTICLES = ("a00", "a02", "a04", "a06")


@pytest.fixture
def work(tmp_path: Path, test_data: Path) -> Path:
    """A working folder with German Wikipedia articles in ``docs``, and what people asked on them."""
    dataset = QADataset.load(test_data / "xquad_de", split="train")
    (tmp_path / "docs").mkdir()
    for article in ARTICLES:
        paragraphs = [text for chunk, text in dataset.corpus.items() if chunk.startswith(article)]
        (tmp_path / "docs" / f"{article}.md").write_text("\n\n".join(paragraphs), encoding="utf-8")
    with open(tmp_path / "docs" / "questions.csv", "w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["question", "source", "quote"])
        asked = [(query, chunk) for query, (chunk,) in dataset.relevant_docs.items() if chunk.startswith(ARTICLES)]
        for query, chunk in asked[::3]:
            rows.writerow([dataset.queries[query], f"{chunk[:3]}.md", dataset.corpus[chunk][:60]])
    return tmp_path


@pytest.mark.slow
def test_the_example_runs_whole(work: Path, minilm: Path) -> None:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "EMBEDTUNE_BASE_MODEL": str(first_layer_of(minilm, work / "base")),
    }
    done = subprocess.run([sys.executable, str(EXAMPLE)], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    told = re.search(r"(\d+) questions to train on, (\d+) to test on, (\d+) chunks", done.stdout)
    assert told
    n_train, n_test, n_chunks = map(int, told.groups())
    assert n_train + n_test == 41
    assert n_test >= 8
    assert n_chunks > 5 * len(ARTICLES)
    rates = dict(re.findall(r"(before|after) +hit rate@5 of the retriever: ([01]\.\d{3})", done.stdout))
    assert 0.1 < float(rates["before"]) <= 1
    assert float(rates["after"]) > 0.1
    assert re.search(r"^(ship|do not ship|[a-z ]+): .*hit_rate@5", done.stdout, re.MULTILINE)
    assert re.search(r"^-> a0\d\.md: ", done.stdout, re.MULTILINE)
    record = read_record(work / "tuned_model")
    assert record is not None
    assert len(record.seen.queries) == n_train


def test_without_real_questions_an_llm_writes_them_and_the_next_run_asks_nothing(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(work)
    example = runpy.run_path(str(EXAMPLE))
    documents = example["read_documents"]("docs")[:4]
    llm = CannedLLM([f"1. Was sagt Abschnitt {n} über das Spiel?\n2. Wer gewann in Teil {n}?" for n in range(4)])
    dataset = example["questions"](documents, work / "none.csv", llm)
    assert len(dataset) == 8
    again = example["questions"](documents, work / "none.csv", CannedLLM([]))
    assert again.queries == dataset.queries


def test_equal_runs_give_equal_ids(work: Path) -> None:
    """Trap 3: splitters drop ids; the data set of one run must fit the index of the next."""
    example = runpy.run_path(str(EXAMPLE))
    first, second = (
        example["questions"](example["read_documents"](work / "docs"), work / "docs" / "questions.csv", None)
        for _ in range(2)
    )
    assert first.relevant_docs == second.relevant_docs
    assert len(first.corpus) == len(example["read_documents"](work / "docs"))
