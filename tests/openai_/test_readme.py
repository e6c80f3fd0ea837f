"""Every Python block of the package's README runs, against a server of this machine."""

import re
from pathlib import Path

import pytest

from embedtune import QADataset, TextChunk
from fault_server import FaultServer, fault_server
from rooms import ROOT
from servers import Reply, Request, scripted_server

README = (ROOT / "packages" / "embedtune-openai" / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)


def embeddings(request: Request) -> Reply:
    """Vectors by the length of each text."""
    rows = [{"index": at, "embedding": [1.0, len(text) % 7]} for at, text in enumerate(request.body["input"])]
    return Reply({"object": "list", "model": "m", "data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


def run(code: str, server: FaultServer) -> dict[str, object]:
    """Run a block; the addresses in it become the server's."""
    code = code.replace("http://localhost:11434/v1", server.url)
    code = code.replace("https://acme.openai.azure.com", server.url.removesuffix("/v1"))
    chunks = [TextChunk.from_chunk(f"Item {n} stands in chunk-number-{n} of the manual.") for n in range(4)]
    namespace: dict[str, object] = {"chunks": chunks, "azure_key": "azure-key-0123456789"}
    exec("from embedtune import QADataset\nfrom embedtune_openai import Openai\n" + code, namespace)
    return namespace


@pytest.mark.parametrize("code", BLOCKS, ids=range(len(BLOCKS)))
def test_block_runs(code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert len(BLOCKS) == 5
    monkeypatch.chdir(tmp_path)  # the journal's name is a bare one
    with fault_server() as server, scripted_server(embeddings) as embedder:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-of-this-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        code = code.replace('"text-embedding-3-small")', f'"text-embedding-3-small", base_url="{embedder.base_url}")')
        code = re.sub(r"^evaluate\(\"openai:.*$", "", code, flags=re.MULTILINE)  # the same at the other address
        found = run(code, server)
    if "dataset" in found:
        assert isinstance(found["dataset"], QADataset)
        assert len(found["dataset"]) == 8
