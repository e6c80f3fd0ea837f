"""Wheels of all packages, installed by extra into clean environments: one framework, the other, both, and upstream's.

python tests/benchmarks/installed_wheels.py      # some minutes; PyTorch is installed once for each environment
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent

LLAMA_INDEX = """
from llama_index.core.schema import TextNode
from embedtune import QADataset, TextChunk, evaluate
from llama_index.embeddings.embedtune import EmbeddingQAFinetuneDataset, SentenceTransformersFinetuneEngine
from llama_index.core.embeddings import MockEmbedding
chunk = TextChunk.from_llama_index_node(TextNode(text="A text."))
dataset = QADataset({"q": "Which text?"}, {chunk.id: chunk.text}, {"q": [chunk.id]})
assert evaluate(MockEmbedding(embed_dim=4), dataset).hit_rate == 1.0
"""

LANGCHAIN = """
from langchain_core.documents import Document
from langchain_core.embeddings import DeterministicFakeEmbedding
from embedtune import QADataset, TextChunk, evaluate
from langchain_embedtune import EmbedtuneEmbeddings
chunk = TextChunk.from_langchain_node(Document(page_content="A text."))
dataset = QADataset({"q": "Which text?"}, {chunk.id: chunk.text}, {"q": [chunk.id]})
assert evaluate(DeterministicFakeEmbedding(size=4), dataset).hit_rate == 1.0
"""

NO_BROKEN_PLUGIN = """
from embedtune import plugin_manager
plugins = plugin_manager()
plugins.tuner("sentence-transformers").load()
assert not [info for info in plugins.installed if info.error], plugins.installed
"""

ABSENT = """
try:
    import {name}
except ImportError:
    pass
else:
    raise AssertionError("the other framework is there")
"""

UPSTREAM = """
import llama_index.finetuning
from llama_index.embeddings.embedtune import EmbeddingQAFinetuneDataset
"""

ENVIRONMENTS = (
    (("llama-index",), (), LLAMA_INDEX + ABSENT.format(name="langchain_core")),
    (("langchain",), (), LANGCHAIN + ABSENT.format(name="llama_index.core")),
    (
        ("llama-index", "langchain"),
        ("llama-index-finetuning==0.4.2", "mistralai<2"),
        LLAMA_INDEX + LANGCHAIN + UPSTREAM,
    ),
)


def main() -> None:
    """Build, install, try."""
    with tempfile.TemporaryDirectory() as folder:
        wheels = Path(folder) / "wheels"
        packages = [str(path.parent) for path in sorted((ROOT / "packages").glob("*/pyproject.toml"))]
        run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(wheels), *packages])
        core = next(wheels.glob("embedtune-[0-9]*.whl"))
        for number, (extras, others, code) in enumerate(ENVIRONMENTS):
            python = environment(Path(folder) / str(number))
            wanted = f"embedtune[{','.join(extras)}] @ {core.as_uri()}"
            run([python, "-m", "pip", "install", "--quiet", "--find-links", str(wheels), wanted, *others])
            run([python, "-W", "ignore::DeprecationWarning", "-c", code + NO_BROKEN_PLUGIN])
            sys.stdout.write(f"{', '.join([*extras, *others])}: works\n")


def environment(folder: Path) -> str:
    """A new environment with the build of PyTorch that is tested; its Python."""
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    run([python, "-m", "pip", "install", "--quiet", "torch==2.13.0"])
    return python


def run(command: list[str]) -> None:
    """Run a command; its failure is ours."""
    subprocess.run(command, check=True, cwd=tempfile.gettempdir(), stderr=None)


if __name__ == "__main__":
    main()
