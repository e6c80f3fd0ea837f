"""The laws of packaging: names, versions, extras and files agree in all six distributions."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rooms import ADAPTERS, CORE, ROOMS, ROOT, Room

TEST_PINS = {"torch"}
"""Distributions that the root pins for its tests and the published package leaves open."""

each_room = pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.distribution)
each_adapter = pytest.mark.parametrize("room", ADAPTERS, ids=lambda room: room.distribution)


def read_toml(folder: Path) -> dict[str, Any]:
    """The ``pyproject.toml`` of a folder."""
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))


def published_form(requirement: str, version: str) -> str:
    """A requirement in one spelling; a local path becomes the exact version of that package.

    >>> published_form("embedtune @ {root:uri}/packages/embedtune/.", "1.0")
    'embedtune==1.0'
    """
    if "{root:uri}" in requirement:
        name, path = (part.strip() for part in requirement.split("@", 1))
        assert path == f"{{root:uri}}/packages/{name}/.", f"{requirement!r} does not point at its own folder"
        return f"{canonicalize_name(name)}=={version}"
    parsed = Requirement(requirement)
    parsed.name = canonicalize_name(parsed.name)
    return str(parsed)


def published_extra(requirements: list[str], version: str) -> set[str]:
    """An extra's requirements without the pins that only the tests need."""
    forms = {published_form(requirement, version) for requirement in requirements}
    return {form for form in forms if Requirement(form).name not in TEST_PINS}


def test_pip_keeps_no_wheel_of_a_local_folder() -> None:
    """It would install the old code again, from the same place, after an update of the checkout."""
    extras_of_root = read_toml(ROOT)["project"]["optional-dependencies"].values()
    paths = [line for lines in extras_of_root for line in lines if "{root:uri}" in line]
    assert len(paths) > 10
    # The last part of the path is what pip reads, by this pattern, as name-version.
    assert not [path for path in paths if re.search(r"[a-z0-9_.]+-[a-z0-9_.!+-]+", path.rpartition("/")[2])]


def extras(folder: Path) -> dict[str, list[str]]:
    """The optional dependencies that a folder's project declares."""
    declared: dict[str, list[str]] = read_toml(folder)["project"]["optional-dependencies"]
    return declared


def test_packages_folder_holds_the_six_and_nothing_else() -> None:
    folders = {path.name for path in (ROOT / "packages").iterdir() if path.is_dir()}
    assert folders == {room.distribution for room in ROOMS}


@each_room
def test_folder_name_is_the_distribution_name(room: Room) -> None:
    assert read_toml(room.folder)["project"]["name"] == room.distribution


def test_one_hand_written_version_in_root_and_all_packages() -> None:
    versions = {folder.name: read_toml(folder)["project"]["version"] for folder in (ROOT, *(r.folder for r in ROOMS))}
    assert len(set(versions.values())) == 1, versions


@each_room
def test_package_has_readme_license_init_and_type_marker(room: Room) -> None:
    assert (room.folder / "README.md").read_text(encoding="utf-8").startswith(f"# {room.distribution}\n")
    assert (room.folder / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (room.package / "__init__.py").is_file()
    assert (room.package / "py.typed").is_file()


@each_adapter
def test_entry_point_has_the_name_of_the_extra(room: Room) -> None:
    """A missing backend's message names the extra; it must be the name under which the plugin registers."""
    declared = read_toml(room.folder)["project"]["entry-points"]["embedtune"]
    assert declared == {room.extra: f"{room.import_name}.plugin"}
    assert room.extra in extras(CORE.folder)
    assert (room.package / "plugin.py").is_file()


@each_adapter
def test_adapter_pins_the_core_of_its_own_version(room: Room) -> None:
    project = read_toml(room.folder)["project"]
    assert f"embedtune=={project['version']}" in project["dependencies"]


@each_adapter
def test_extra_brings_its_adapter(room: Room) -> None:
    assert room.extra is not None
    names = {canonicalize_name(Requirement(line).name) for line in extras(CORE.folder)[room.extra]}
    assert room.distribution in names
    if room.extra in {"lancedb", "llama-index", "langchain"}:
        assert "embedtune-sentence-transformers" in names, "one install, and tuning works"


def test_extra_all_is_every_adapter_and_the_report() -> None:
    published, version = extras(CORE.folder), read_toml(CORE.folder)["project"]["version"]
    adapters = {f"{room.distribution}=={version}" for room in ADAPTERS}
    assert published_extra(published["all"], version) == adapters | published_extra(published["report"], version)


def test_root_repeats_the_published_extras_with_local_paths() -> None:
    published, local = extras(CORE.folder), extras(ROOT)
    version = read_toml(CORE.folder)["project"]["version"]
    assert set(local) - set(published) == {"test"}
    assert published, "the core declares no extras"
    for name, requirements in published.items():
        assert published_extra(local[name], version) == published_extra(requirements, version), name


def test_root_pins_torch_wherever_sentence_transformers_comes_along() -> None:
    for name, requirements in extras(ROOT).items():
        brings_torch = any("embedtune-sentence-transformers" in line for line in requirements)
        pins_torch = any(line.startswith("torch==") for line in requirements)
        assert brings_torch == pins_torch, name


def test_workspace_is_never_uploaded_and_names_all_members() -> None:
    root = read_toml(ROOT)
    assert "Private :: Do Not Upload" in root["project"]["classifiers"]
    assert set(root["tool"]["uv"]["sources"]) == {room.distribution for room in ROOMS}
    sources = {f"packages/{room.distribution}/src" for room in ROOMS}
    assert sources <= set(root["tool"]["pytest"]["ini_options"]["pythonpath"])
    assert sources == set(root["tool"]["mypy"]["mypy_path"])


def test_llama_index_namespaces_stay_open() -> None:
    """An ``__init__.py`` there would hide LlamaIndex's packages; ``llama_index.finetuning`` is not ours."""
    for room in ROOMS:
        namespace = room.folder / "src" / "llama_index"
        assert not (namespace / "__init__.py").exists()
        assert not (namespace / "embeddings" / "__init__.py").exists()
        assert not (namespace / "finetuning").exists()
    assert any((room.folder / "src" / "llama_index" / "embeddings").is_dir() for room in ROOMS)


def test_ci_runs_the_second_command_of_the_readme() -> None:
    command = 'pip install ".[test]" && python -m pytest -n 2 --dist loadfile'
    assert command in (ROOT / "README.md").read_text(encoding="utf-8")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
