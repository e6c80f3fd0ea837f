"""The laws of the core: it needs no framework, loads little, and says what is public."""

import ast
import doctest
import importlib
import inspect
import json
import pkgutil
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

import embedtune
import embedtune.testing
from embedtune import errors
from rooms import ADAPTERS, ROOMS, Room

FRAMEWORKS = [
    *("torch", "transformers", "sentence_transformers", "datasets", "tokenizers", "safetensors", "huggingface_hub"),
    *("lancedb", "lance", "pyarrow", "openai", "httpx", "llama_index", "langchain_core", "langchain"),
    *("pandas", "scipy", "sklearn", "typer", "click", "rich", "jinja2", "plotly"),
]

BLOCK_FRAMEWORKS = f"""
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {set(FRAMEWORKS)!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)

sys.meta_path.insert(0, Blocker())
"""

WHOLE_EVALUATION = """
import json, sys
from dataclasses import dataclass
from pathlib import Path
import embedtune
from embedtune import BaseEmbeddingTuner, ExactSearch, QADataset, TextChunk
from embedtune.testing import CannedLLM, HashEmbedder, WordSearch, tiny_dataset

folder = Path(sys.argv[1])
chunks = [TextChunk.from_chunk(text) for text in tiny_dataset(8).corpus.values()]
written = QADataset.from_llm(chunks[:2], CannedLLM(["1. Where do they come from?"]), progress=False)
for name in ("set.json", "set.csv"):
    written.save(folder / name)
    assert QADataset.load(folder / name).queries == written.queries
written.save(folder / "beir", format="beir")
assert QADataset.load(folder / "beir").queries == written.queries
split = tiny_dataset(8).split()
assert not embedtune.leaks(split.train, split.test)
rate = embedtune.evaluate(HashEmbedder(), split.test).hit_rate
words = embedtune.evaluate(WordSearch(split.test.corpus), split.test).hit_rate
verdict = embedtune.compare(HashEmbedder(), HashEmbedder(), tiny_dataset(8)).to_json()["verdict"]
print(json.dumps([rate, words, verdict, sorted(set(sys.modules) & set(sys.argv[2:]))]))
"""

DECLARED = {"numpy", "pydantic", "pydantic_core", "pluggy", "tqdm"}
"""Top-level modules of the core's dependencies that importing it may load."""
OF_DEPENDENCIES = {"typing_extensions", "annotated_types", "typing_inspection", "_cython_3_2_4", "cython_runtime"}
"""What those bring along themselves."""
OF_THE_INTERPRETER = {"__main__", "__mp_main__", "_distutils_hack", "sitecustomize", "usercustomize"}

each_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.distribution)
RunPython = Callable[..., Any]


def core_modules() -> list[str]:
    """Dotted names of all modules of the core that can be imported without running a program."""
    names = [module.name for module in pkgutil.walk_packages(embedtune.__path__, "embedtune.")]
    return ["embedtune", *(name for name in names if not name.endswith("__main__"))]


# Imports


def test_core_runs_with_every_framework_blocked(run_python: RunPython, tmp_path: Any) -> None:
    """The core must work where no framework is installed; an import in a branch would only show there."""
    done = run_python(BLOCK_FRAMEWORKS + WHOLE_EVALUATION, str(tmp_path), *FRAMEWORKS)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1.0, 1.0, "no difference within the margin", []]


def test_the_block_blocks(run_python: RunPython) -> None:
    """The law above would pass on a blocker that lets everything through."""
    done = run_python(BLOCK_FRAMEWORKS + "import typer")
    assert "typer is blocked" in done.stderr


def test_import_loads_declared_dependencies_alone(run_python: RunPython) -> None:
    """What a bare ``import embedtune`` loads, every user pays for on every start: no typer, jinja2 or plotly either."""
    done = run_python("import embedtune, sys; print(*sys.modules)")
    loaded = {name.split(".")[0] for name in done.stdout.split()}
    ours = {"embedtune"}
    assert ours <= loaded, done.stderr
    strangers = {
        name
        for name in loaded - ours - DECLARED - OF_DEPENDENCIES - OF_THE_INTERPRETER - set(sys.stdlib_module_names)
        if not name.startswith(("_sysconfigdata", "__editable__", "_cython_"))
    }
    assert strangers == set()


def test_import_discovers_no_plugins(run_python: RunPython) -> None:
    """Discovery imports every plugin; it waits until the first question."""
    done = run_python(
        "import embedtune, sys\n"
        "from embedtune.plugins import plugin_manager\n"
        "print(plugin_manager.cache_info().currsize, *sys.modules)"
    )
    discovered, *loaded = done.stdout.split()
    assert discovered == "0", done.stderr
    assert not {room.import_name for room in ADAPTERS} & set(loaded)


# Public names


def public_names(room: Room) -> list[str]:
    """``__all__`` as it stands in the package's ``__init__.py``."""
    tree = ast.parse((room.package / "__init__.py").read_text(encoding="utf-8"))
    return next(
        ast.literal_eval(node.value)
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__"
    )


def as_ruff_sorts(name: str) -> tuple[int, str]:
    """Constants, then classes, then functions."""
    return (0 if name.isupper() else 1 if name[0].isupper() else 2, name)


@each_room
def test_public_names_are_sorted_and_stand_once(room: Room) -> None:
    names = public_names(room)
    assert names
    assert names == sorted(set(names), key=as_ruff_sorts)


@each_room
def test_public_names_are_those_that_the_package_imports_or_defines(room: Room) -> None:
    """A name that is imported and not in ``__all__`` is public by accident."""
    found: set[str] = set()
    tree = ast.parse((room.package / "__init__.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith(room.import_name):
            found |= {alias.asname or alias.name for alias in node.names}
    for statement in tree.body:
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            found.add(statement.name)
        if isinstance(statement, ast.Assign):
            found |= {target.id for target in statement.targets if isinstance(target, ast.Name)}
    assert {name for name in found if not name.startswith("_")} == set(public_names(room))


def undocumented(module: ModuleType, names: list[str]) -> list[str]:
    """Public classes and functions without a docstring of their own."""
    objects = {name: getattr(module, name) for name in names}
    return [
        name
        for name, thing in objects.items()
        if (isinstance(thing, type) or inspect.isroutine(thing)) and not (getattr(thing, "__doc__", None) or "").strip()
    ]


@pytest.mark.parametrize(
    "room",
    [pytest.param(room, marks=[] if room.extra is None else [pytest.mark.slow]) for room in ROOMS],
    ids=lambda room: room.distribution,
)
def test_public_objects_are_there_and_documented(room: Room) -> None:
    module = importlib.import_module(room.import_name)
    try:
        assert undocumented(module, public_names(room)) == []
    except ModuleNotFoundError as error:
        if str(error.name).split(".")[0] not in FRAMEWORKS:
            raise
        pytest.skip(f"{error.name} is not installed")


@pytest.mark.parametrize("module", [embedtune.testing, embedtune.plugins, errors], ids=lambda module: module.__name__)
def test_public_objects_of_the_other_public_modules_are_documented(module: ModuleType) -> None:
    assert module.__all__ == sorted(module.__all__, key=as_ruff_sorts)
    assert undocumented(module, module.__all__) == []


def test_every_name_in_a_modules_all_exists() -> None:
    names = core_modules()
    assert len(names) > 25
    for name in names:
        module = importlib.import_module(name)
        assert module.__doc__, f"{name} says nothing of itself"
        for public in getattr(module, "__all__", []):
            assert hasattr(module, public), f"{name}.{public}"


def test_the_version_is_that_of_the_distribution() -> None:
    source = (ROOMS[0].folder / "pyproject.toml").read_text(encoding="utf-8")
    assert f'version = "{embedtune.__version__}"' in source


# Examples in docstrings


def test_examples_in_docstrings_are_true() -> None:
    failed, attempted = [], 0
    for name in core_modules():
        result = doctest.testmod(importlib.import_module(name))
        attempted += result.attempted
        if result.failed:
            failed.append(name)
    assert failed == []
    assert attempted >= 25, "the docstrings lost their examples"


# Errors


def test_every_error_is_ours_and_the_built_in_that_it_resembles() -> None:
    resembles = {
        errors.DatasetError: ValueError,
        errors.EmbeddingError: ValueError,
        errors.ModelFolderError: ValueError,
        errors.EvaluationError: ValueError,
        errors.ModelNotFoundError: FileNotFoundError,
        errors.GenerationError: RuntimeError,
        errors.BudgetExceededError: errors.GenerationError,
        errors.LLMRequestError: errors.GenerationError,
        errors.BatchPendingError: errors.GenerationError,
        errors.TuningError: RuntimeError,
        errors.PluginError: errors.EmbedtuneError,
        errors.BackendNotFoundError: LookupError,
        errors.PluginLoadError: ImportError,
        errors.PluginConflictError: errors.PluginError,
        errors.EmbedtuneError: Exception,
    }
    assert {error.__name__ for error in resembles} == set(errors.__all__)
    for error, built_in in resembles.items():
        assert issubclass(error, (built_in,)), error
        assert issubclass(error, errors.EmbedtuneError), error


def test_the_drawing_of_the_errors_shows_each_under_its_parent() -> None:
    """Four columns of the drawing are one level."""
    drawn: dict[str, list[str]] = {}
    parents: dict[int, str] = {}
    for line in str(errors.__doc__).splitlines():
        name = line.lstrip(" │├└─").split("(")[0].split(" ")[0]
        if name not in errors.__all__:
            continue
        level = (len(line) - len(line.lstrip(" │├└─")) - 4) // 4
        parents[level] = name
        built_in = [line.split("(")[1].split(")")[0]] if f"{name}(" in line else []
        drawn[name] = [parents[level - 1], *built_in] if level else ["Exception"]
    real = {name: [base.__name__ for base in getattr(errors, name).__bases__] for name in errors.__all__}
    assert drawn == real


def test_every_error_is_public_at_the_top() -> None:
    assert set(errors.__all__) <= set(embedtune.__all__)


@pytest.mark.parametrize("name", errors.__all__)
def test_an_errors_text_is_its_message(name: str) -> None:
    """LookupError's children quote it, and FileNotFoundError wants an errno: neither may show."""
    assert str(getattr(errors, name)("No tuner named 'x'.")) == "No tuner named 'x'."
