"""Every code block of the README is run here, so that none of it is a promise."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from embedtune.plugins import PluginManager
from embedtune.testing import CannedLLM, HashEmbedder, tiny_dataset
from fault_server import fault_server
from rooms import ROOT

BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
HUB_NAME = "sentence-transformers/all-MiniLM-L6-v2"


def blocks(language: str) -> list[str]:
    return [code for name, code in BLOCKS if name == language]


def test_every_block_is_of_a_kind_that_is_run_here() -> None:
    assert {name for name, _ in BLOCKS} == {"bash", "python", "toml", "text"}
    assert len(blocks("python")) == 9


@pytest.mark.slow
def test_python_blocks_run_in_their_order(minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One namespace, as a reader would paste them; only the hub's name becomes a folder, since no test downloads."""
    from langchain_core.documents import Document
    from langchain_core.language_models import FakeListChatModel
    from llama_index.core.llms import CompletionResponse, MockLLM
    from llama_index.core.schema import TextNode

    class AnsweringLLM(MockLLM):
        def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
            number = re.findall(r"number (\d+)", prompt)[0]
            return CompletionResponse(text=f"1. Who counts the things of {number}?\n2. What does kind {number} cost?")

    monkeypatch.chdir(tmp_path)
    texts = list(tiny_dataset(8).corpus.values())
    answers = [f"1. Where do the things of page {i} come from?\n2. What do things of kind {i} cost?" for i in range(8)]
    namespace: dict[str, Any] = {
        "__name__": "readme",
        "pages": {f"page {i}": text for i, text in enumerate(texts)},
        "llm": CannedLLM(answers),
        "nodes": [TextNode(text=text) for text in texts],
        "llama_index_llm": AnsweringLLM(),
        "documents": [Document(page_content=text, metadata={"source": f"{i}.md"}) for i, text in enumerate(texts)],
        "chat_model": FakeListChatModel(responses=answers),
    }
    for code in blocks("python"):
        exec(compile(code.replace(HUB_NAME, str(minilm)), "README.md", "exec"), namespace)
    assert (tmp_path / "tuned_model" / "embedtune.json").is_file()
    assert namespace["comparison"].n_seen == 0
    manager = PluginManager(found=[])
    manager.register(_module(namespace), "words", "my-plugin 1.0")
    assert [row.name for row in manager.search_engines()] == ["words"]
    assert isinstance(manager.embedder("hashes:16"), HashEmbedder)


def _module(namespace: dict[str, Any]) -> Any:
    from types import SimpleNamespace

    return SimpleNamespace(**{name: value for name, value in namespace.items() if name.startswith("embedtune_")})


def test_the_entry_point_is_in_the_group_that_is_read() -> None:
    (block,) = blocks("toml")
    assert tomllib.loads(block) == {"project": {"entry-points": {"embedtune": {"words": "my_plugin"}}}}


def test_the_commands_write_questions_and_show_them(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for number in range(4):
        (tmp_path / "docs" / f"{number}.md").write_text(
            f"# Guide\n\nA text on chunk-number-{number}.\n", encoding="utf-8"
        )
    with fault_server() as server:
        environment = {**os.environ, "OPENAI_BASE_URL": server.url, "OPENAI_API_KEY": "sk-of-the-readme"}
        shown = []
        for command in blocks("bash")[1].splitlines():
            words = [sys.executable, "-m", *shlex.split(command)]
            done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
            assert done.returncode == 0, done.stdout + done.stderr
            shown.append(done.stdout)
        assert len(server.done("answered")) == 4
    assert "4 requests on 4 chunks" in shown[0]
    assert "8 of 8 asked for" in shown[1]
    assert "queries" in shown[2]


@pytest.mark.slow
def test_the_commands_compare_report_and_gate(minilm: Path, tmp_path: Path) -> None:
    tiny_dataset(40).save(tmp_path / "questions.json")
    (tmp_path / "tuned_model").symlink_to(minilm)
    shown = []
    for command in blocks("bash")[2].splitlines():
        words = [sys.executable, "-m", *shlex.split(command.replace("MODEL", str(minilm)))]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        shown.append(done.stdout)
    assert "no difference within the margin" in shown[0]
    assert (tmp_path / "report" / "report.html").is_file()
    assert "pass" in shown[3]


@pytest.mark.parametrize(
    "command",
    [
        *("ruff format", "ruff check"),
        pytest.param("mypy", marks=pytest.mark.slow),
        pytest.param('python -m pytest -m "not slow"', marks=pytest.mark.slow),
    ],
    ids=lambda command: command,
)
def test_the_command_to_develop_works(command: str) -> None:
    """As written, but changing no file, and the tests are only collected: they are running already."""
    assert command in blocks("bash")[4].splitlines()
    words = shlex.split(command)
    dry = {"ruff format": ["--check"], "python": ["--collect-only", "-q"]}
    words += dry.get(command, dry.get(words[0], []))
    if words[0] == "python":
        words = words[1:]
    elif words[0] in ("ruff", "mypy"):
        words = ["-m", *words]
    done = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_two_commands_are_the_ones_that_install() -> None:
    """The first is run by the test of the demo, the second is running."""
    demo, _, _, tests, _ = blocks("bash")
    assert demo == 'pip install ".[demo]" && embedtune demo\n'
    assert tests == 'pip install ".[test]" && python -m pytest -n 2 --dist loadfile\n'
