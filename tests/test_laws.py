"""The laws of the architecture, read from the source: who imports whom, and how long a piece may be."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rooms import ADAPTERS, ROOMS, ROOT, Room

MAX_FILE_LINES = 299
"""Lines of a file in packages/*/src."""
MAX_BODY_LINES = 60
"""Lines of a function body, from its first statement after the docstring to its last."""

FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef

each_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.distribution)
each_adapter = pytest.mark.parametrize("room", ADAPTERS, ids=lambda room: room.distribution)


def parse(path: Path) -> ast.Module:
    """The syntax tree of a file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imported_by(node: ast.AST) -> list[tuple[str, ...]]:
    """What one node imports: for each import the dotted names, any of which may allow it.

    ``from llama_index import core`` gives ``("llama_index", "llama_index.core")``. A relative import gives
    nothing: it cannot leave the package. ``import_module("torch")`` counts like ``import torch``.
    """
    if isinstance(node, ast.Import):
        return [(alias.name,) for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [(node.module, f"{node.module}.{alias.name}") for alias in node.names]
    if isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", None)
        name = node.args[0].value
        if called in {"import_module", "__import__"} and isinstance(name, str) and not name.startswith("."):
            return [(name,)]
    return []


def may_import(room: Room, names: tuple[str, ...]) -> bool:
    """Whether a room may import a module under one of these dotted names."""
    allowed = room.may_import | {room.import_name} | sys.stdlib_module_names
    return any(name == prefix or name.startswith(f"{prefix}.") for name in names for prefix in allowed)


def run_at_import(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """Every node that runs when the module is imported: no function bodies, no ``if TYPE_CHECKING``."""
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop()
        if isinstance(node, FunctionNode | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            waiting.extend(node.orelse)
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def body_lines(function: FunctionNode) -> int:
    """Lines of a function's body without its docstring."""
    has_docstring = ast.get_docstring(function, clean=False) is not None
    statements = function.body[1:] if has_docstring else function.body
    if not statements:
        return 0
    return (statements[-1].end_lineno or statements[-1].lineno) - statements[0].lineno + 1


def place(path: Path, node: ast.AST | None = None) -> str:
    """``path:line`` as an editor opens it."""
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


@each_room
def test_package_imports_only_what_its_room_allows(room: Room) -> None:
    """Core imports no framework, not even inside a function; an adapter has one, and no other adapter."""
    seen, broken = 0, []
    for path in room.sources():
        for node in ast.walk(parse(path)):
            for names in imported_by(node):
                seen += 1
                if not may_import(room, names):
                    broken.append(f"{place(path, node)} imports {names[0]}")
    assert seen, f"no import found in {room.distribution}: the law was tested on nothing"
    assert not broken, "\n".join(broken)


@each_adapter
@pytest.mark.parametrize("file_name", ["__init__.py", "plugin.py"])
def test_adapter_loads_no_framework_at_module_level(room: Room, file_name: str) -> None:
    """Discovery imports every plugin: a framework there would cost each user seconds on every start."""
    path = room.package / file_name
    light = Room(
        distribution=room.distribution,
        import_name=room.import_name,
        may_import=frozenset({"embedtune", "pluggy", "pydantic", "numpy"}),
    )
    nodes = list(run_at_import(parse(path).body))
    assert nodes, f"{place(path)} is empty"
    broken = [
        f"{place(path, node)} imports {names[0]}"
        for node in nodes
        for names in imported_by(node)
        if not may_import(light, names)
    ]
    assert not broken, "\n".join(broken)


@each_room
def test_files_stay_under_300_lines(room: Room) -> None:
    lengths = {place(path): len(path.read_text(encoding="utf-8").splitlines()) for path in room.sources()}
    assert {path: length for path, length in lengths.items() if length > MAX_FILE_LINES} == {}


@each_room
def test_function_bodies_stay_within_60_lines(room: Room) -> None:
    lengths = {
        f"{place(path, node)} {node.name}": body_lines(node)
        for path in room.sources()
        for node in ast.walk(parse(path))
        if isinstance(node, FunctionNode)
    }
    assert lengths, f"no function found in {room.distribution}: the law was tested on nothing"
    assert {where: length for where, length in lengths.items() if length > MAX_BODY_LINES} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import torch.nn as nn", [("torch.nn",)]),
        ("from llama_index import core", [("llama_index", "llama_index.core")]),
        ("def f():\n    from torch import nn", [("torch", "torch.nn")]),
        ("from . import chunks", []),
        ("importlib.import_module('torch')", [("torch",)]),
    ],
)
def test_import_reader_sees_every_form(source: str, expected: list[tuple[str, ...]]) -> None:
    """A law is worth what its reader sees: nested, aliased, dynamic and relative imports."""
    assert [names for node in ast.walk(ast.parse(source)) for names in imported_by(node)] == expected


def test_module_level_reader_leaves_out_functions_and_type_checking() -> None:
    source = """
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import torch
else:
    import numpy
def load():
    import lancedb
class Lazy:
    import openai
"""
    found = {names[0] for node in run_at_import(ast.parse(source).body) for names in imported_by(node)}
    assert found == {"typing", "numpy", "openai"}
