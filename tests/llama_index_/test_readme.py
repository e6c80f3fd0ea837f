"""The package's README says what runs."""

import re
from pathlib import Path

import pytest
from llama_index.core import MockEmbedding
from llama_index.core.schema import TextNode

from embedtune.testing import CannedLLM, tiny_dataset
from rooms import ROOT
from small_models import trained_cross_encoder

README = (ROOT / "packages" / "llama-index-embeddings-embedtune" / "README.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_code_of_the_readme_runs(small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one namespace, as a reader would paste it; the hub's name becomes a folder."""
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) == 5
    cross_encoder = trained_cross_encoder(small_model, tmp_path / "cross", tiny_dataset())
    nodes = [TextNode(text=text) for text in tiny_dataset(8).corpus.values()]
    answers = [f"1. Where do the things of page {i} come from?\n2. What do things of kind {i} cost?" for i in range(8)]
    namespace = {"train_nodes": nodes[:4], "val_nodes": nodes[4:], "llm": CannedLLM(answers)}
    namespace["hosted_embed_model"] = MockEmbedding(8)
    for code in blocks:
        local = code.replace("sentence-transformers/all-MiniLM-L6-v2", str(small_model))
        local = local.replace("cross-encoder/ms-marco-MiniLM-L6-v2", str(cross_encoder))
        exec(compile(local, "README.md", "exec"), namespace)
    assert (tmp_path / "tuned_model" / "embedtune.json").is_file()
    assert (tmp_path / "adapter" / "adapter.safetensors").is_file()


def test_what_is_not_kept_is_said() -> None:
    assert "`examples`, `loader` and `evaluator` are not kept" in README
