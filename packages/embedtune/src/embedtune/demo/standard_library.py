"""A retrieval task from the Python standard library: find a function's code by what its docstring says.

Query: the first sentence of the docstring. Passage: the function's code without the docstring. Document: the
top-level module, so that a split keeps whole modules apart.
"""

import ast
import logging
import random
import re
import sysconfig
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from embedtune.chunks import chunk_id
from embedtune.dataset import QADataset
from embedtune.errors import DatasetError
from embedtune.texts import fold, text_hash

__all__ = ["standard_library_task"]

logger = logging.getLogger(__name__)

_LEFT_OUT = {"test", "tests", "idle_test", "site-packages", "dist-packages", "__pycache__", "lib2to3", "turtledemo"}
_SENTENCE_END = re.compile(r"(?<=[.!?])\s|\n\s*\n")
_WORDS = range(4, 41)
_LINES = range(3, 61)
_PASSAGE_CHARACTERS = 400
_FEWEST_FUNCTIONS = 200


@dataclass(frozen=True)
class _Function:
    module: str
    sentence: str
    code: str


def standard_library_task(n_functions: int | None = None, seed: int = 0, folder: Path | None = None) -> QADataset:
    """Build the task from the sources of the running Python.

    Args:
        n_functions: About how many functions, of whole modules drawn by seed; all if None.
        seed: Draws the modules.
        folder: Where the sources are; the running Python's if None.

    Returns:
        Queries with one answer, or several where functions share a docstring; ``document_id`` is the module.

    Raises:
        DatasetError: If there are no sources, as in a zipped or slim installation.
    """
    folder = folder or Path(sysconfig.get_path("stdlib"))
    by_module: dict[str, list[_Function]] = {}
    for function in _functions(folder):
        by_module.setdefault(function.module, []).append(function)
    found = sum(map(len, by_module.values()))
    if found < _FEWEST_FUNCTIONS:
        raise DatasetError(
            f"Found {found} documented functions in {str(folder)!r}, too few for the demo (at least "
            f"{_FEWEST_FUNCTIONS}): this Python comes without its library's sources. Use another Python, or tune on "
            "your own data with `embedtune tune DATASET --base MODEL --out FOLDER`."
        )
    return _dataset(_drawn(by_module, n_functions, seed))


def _drawn(by_module: dict[str, list[_Function]], n_functions: int | None, seed: int) -> list[_Function]:
    modules = sorted(by_module)
    if n_functions is None:
        return [function for module in modules for function in by_module[module]]
    random.Random(seed).shuffle(modules)
    chosen: list[str] = []
    total = 0
    for module in modules:
        if total + len(by_module[module]) <= n_functions:
            chosen.append(module)
            total += len(by_module[module])
    return [function for module in sorted(chosen) for function in by_module[module]]


def _dataset(functions: list[_Function]) -> QADataset:
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    relevant: dict[str, list[str]] = {}
    metadata: dict[str, dict[str, str]] = {}
    for function in functions:
        chunk = chunk_id(function.code, function.module)
        query = text_hash(fold(function.sentence))
        corpus[chunk] = function.code
        metadata[chunk] = {"document_id": function.module}
        queries.setdefault(query, function.sentence)
        if chunk not in relevant.setdefault(query, []):
            relevant[query].append(chunk)
    return QADataset(queries, corpus, relevant, metadata)


def _functions(folder: Path) -> Iterator[_Function]:
    for path in sorted(folder.rglob("*.py")):
        relative = path.relative_to(folder)
        if _LEFT_OUT.isdisjoint(relative.parts):
            module = relative.parts[0].removesuffix(".py")
            yield from _functions_of(path, module)


def _functions_of(path: Path, module: str) -> Iterator[_Function]:
    try:
        source = path.read_text(encoding="utf-8")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escape sequences
            tree = ast.parse(source)
    except (OSError, ValueError, SyntaxError) as error:
        logger.debug("left out %s: %s", path, error)
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            sentence = _first_sentence(ast.get_docstring(node) or "")
            code = _without_docstring(node, lines) if sentence else ""
            if code:
                yield _Function(module, sentence, code)


def _first_sentence(docstring: str) -> str:
    """The first sentence on one line; empty where it is too short to ask for anything, or no sentence."""
    sentence = " ".join(_SENTENCE_END.split(docstring.strip(), maxsplit=1)[0].split())
    return sentence if len(sentence.split()) in _WORDS else ""


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef, lines: list[str]) -> str:
    """The function's first lines as they stand, less its docstring; empty where no code is left."""
    docstring = node.body[0]
    if node.end_lineno is None or docstring.end_lineno is None or len(node.body) < 2:
        return ""
    kept = [*lines[node.lineno - 1 : docstring.lineno - 1], *lines[docstring.end_lineno : node.end_lineno]]
    code = textwrap.dedent("\n".join(kept)).strip()
    return code[:_PASSAGE_CHARACTERS] if len(kept) in _LINES else ""
