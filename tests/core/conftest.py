"""What the tests of the core share: a child Python, and a plugin manager that finds nothing."""

import os
import subprocess
import sys
from collections.abc import Callable

import pytest

from embedtune.plugins import PluginManager
from rooms import ROOMS, ROOT

RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run_python() -> RunPython:
    """Run a script in a fresh interpreter that sees the packages of this checkout."""

    def run(
        source: str, *arguments: str, timeout: float = 120, **environment: str
    ) -> "subprocess.CompletedProcess[str]":
        sources = os.pathsep.join([*(str(room.folder / "src") for room in ROOMS), str(ROOT / "tests")])
        return subprocess.run(
            [sys.executable, "-c", source, *arguments],
            env={**os.environ, "PYTHONPATH": sources, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture
def plugins() -> PluginManager:
    """A manager that knows the built-ins alone, as where no adapter is installed."""
    return PluginManager(found=[])
