"""Every code block of the package's README is run here."""

import re
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models import FakeListChatModel

from embedtune.testing import tiny_dataset
from rooms import ROOT
from small_models import trained_cross_encoder

README = ROOT / "packages" / "langchain-embedtune" / "README.md"
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"


@pytest.mark.slow
def test_python_blocks_run_in_their_order(
    prompted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One namespace, as a reader would paste them; only the hub's name becomes a folder, since no test downloads."""
    monkeypatch.chdir(tmp_path)
    texts = list(tiny_dataset(8).corpus.values())
    answers = [f"1. Where do the things of page {i} come from?\n2. What do things of kind {i} cost?" for i in range(8)]
    namespace: dict[str, Any] = {
        "documents": [Document(text, metadata={"source": f"{i}.md"}) for i, text in enumerate(texts)],
        "chat_model": FakeListChatModel(responses=answers),
        "questions": tiny_dataset(8),
        "cross_encoder": str(trained_cross_encoder(prompted, tmp_path / "cross", tiny_dataset())),
        "other_embeddings": DeterministicFakeEmbedding(size=8),
    }
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 5
    for code in blocks:
        exec(compile(code.replace(HUB_NAME, str(prompted)), "README.md", "exec"), namespace)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert {path.name for path in tmp_path.iterdir()} >= {"tuned_model", "tuned_model.answers.jsonl", "adapter"}


def test_its_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)]+)\)", README.read_text(encoding="utf-8"))
    assert len(links) == 2
    assert [link for link in links if not (README.parent / link).is_file()] == []
