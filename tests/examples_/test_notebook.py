"""The notebook, in a real kernel, which has an event loop running: real articles, real questions over the wire."""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from embedtune import QADataset, read_record
from rooms import ROOT
from servers import Reply, Request, ScriptedServer, chat_answer, scripted_server
from small_models import first_layer_of

NOTEBOOK = ROOT / "examples" / "embedding_tuner.ipynb"
ARTICLES = ("a00", "a02", "a04", "a06", "a08")


@pytest.fixture(scope="module")
def articles(test_data: Path) -> QADataset:
    """German Wikipedia paragraphs, with what people asked on them."""
    whole = QADataset.load(test_data / "xquad_de", split="train")
    queries = [query for query, (chunk,) in whole.relevant_docs.items() if chunk.startswith(ARTICLES)]
    return whole.subset(queries, [chunk for chunk in whole.corpus if chunk.startswith(ARTICLES)])


@pytest.fixture
def llm(articles: QADataset) -> Iterator[ScriptedServer]:
    """A server that writes, on a passage, what people asked on the paragraph that begins there."""
    asked: dict[str, list[str]] = {}
    for query, (chunk,) in articles.relevant_docs.items():
        asked.setdefault(articles.corpus[chunk][:60], []).append(articles.queries[query])

    def write(request: Request) -> Reply:
        prompt = request.body["messages"][-1]["content"]
        lines = [line for beginning, real in asked.items() if beginning in prompt for line in real[:2]][:2]
        return Reply(chat_answer("\n".join(f"{place}. {line}" for place, line in enumerate(lines, 1)) or "NONE"))

    with scripted_server(write) as server:
        yield server


@pytest.mark.slow
def test_the_notebook_runs_whole(
    articles: QADataset, llm: ScriptedServer, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docs").mkdir()
    for article in ARTICLES:
        paragraphs = [text for chunk, text in articles.corpus.items() if chunk.startswith(article)]
        (tmp_path / "docs" / f"{article}.md").write_text("\n\n".join(paragraphs), encoding="utf-8")
    for name, value in {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENAI_API_KEY": "sk-local",
        "OPENAI_BASE_URL": llm.base_url,
        "EMBEDTUNE_BASE_MODEL": str(first_layer_of(minilm, tmp_path / "base")),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
    }.items():
        monkeypatch.setenv(name, value)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "\n".join(
        output.get("text") or output.get("data", {}).get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
    )
    n_train, n_val, n_test = map(int, re.findall(r"(\d+) questions train, (\d+) choose, (\d+) report", printed)[0])
    assert n_train > 15
    assert min(n_val, n_test) >= 5
    assert re.search(r"Evaluation\(\d+ queries, hit_rate@5=0\.\d{3}\)", printed), "nothing was seen in training"
    assert re.search(r"hit_rate@5 0\.\d{3} -> 0\.\d{3}", printed)
    assert printed.count("\n-> ") == 3
    record = read_record(tmp_path / "tuned_model")
    assert record is not None
    assert len(record.seen.queries) == n_train + n_val
    assert len(QADataset.load(tmp_path / "questions.json")) == n_train + n_val + n_test


def test_it_is_committed_without_outputs() -> None:
    """They would hold the figures, and the folders, of one machine."""
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert len(cells) > 10
    assert [cell.id for cell in cells if cell.get("outputs") or cell.get("execution_count")] == []
    nbformat.validate(nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT))
