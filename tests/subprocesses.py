"""Fresh interpreters for what cannot be seen in this one."""

import os
import subprocess
import sys


def run_python(code: str) -> str:
    """Standard output of a fresh interpreter that sees the packages as this one does; its failure is ours."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def modules_loaded_by(code: str) -> set[str]:
    """Dotted names of all modules that are loaded after ``code`` has run."""
    loaded = set(run_python(f"{code}\nimport sys\nprint(*sys.modules)").split())
    assert "embedtune" in loaded, "the code did not load what it was to load"
    return loaded
