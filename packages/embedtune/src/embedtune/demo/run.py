"""Runs the demo: task, tuning, comparison, all into one folder that appears whole or not at all."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from embedtune.comparison import Comparison, compare
from embedtune.demo.packaged_model import packaged_minilm
from embedtune.demo.standard_library import standard_library_task
from embedtune.folders import check_target, replace_folder
from embedtune.report import check_report_folder, write_report
from embedtune.splitting import Split
from embedtune.tuner import TuneResult, tune

if TYPE_CHECKING:
    from embedtune.plugins import PluginManager

__all__ = ["DEFAULT_FUNCTIONS", "DemoResult", "run_demo"]

logger = logging.getLogger(__name__)

DEFAULT_FUNCTIONS = 1800
"""Functions in the task at the default size: three to four minutes on two cores."""

QUERY_TYPES = ("vector", "fts", "hybrid")

_MODEL, _REPORT = "model", "report"


@dataclass(frozen=True, kw_only=True)
class DemoResult:
    """What the demo leaves."""

    folder: Path
    """Holds ``model`` and ``report``, the files of `write_report`."""
    split: Split
    """The task; train, validation and test share no module."""
    tuned: TuneResult
    """The tuning run."""
    comparison: Comparison
    """Base against tuned on the test questions."""
    seconds: float
    """Wall time of all."""


def run_demo(
    folder: Path,
    *,
    n_functions: int | None = DEFAULT_FUNCTIONS,
    seed: int = 0,
    say: Callable[[str], None] = logger.info,
    plugins: "PluginManager | None" = None,
) -> DemoResult:
    """Build the task, tune the packaged MiniLM on it, compare on modules that training never saw.

    Args:
        folder: New, or of an earlier demo, which is replaced; written whole or not at all.
        n_functions: About how many functions of the standard library; all if None.
        seed: Draws modules and split, and seeds training: same seed, same machine, same figures.
        say: Hears what is being done.
        plugins: Where tuner and search engine are looked up.

    Raises:
        BackendNotFoundError: If tuner, engine, model or the report's libraries are not installed.
        DatasetError: If this Python comes without its library's sources.
        ModelFolderError: If ``folder`` holds something else.
    """
    from embedtune.plugins import plugin_manager  # the manager imports the formats, which import the data set

    started = time.monotonic()
    manager = plugins or plugin_manager()
    folder = folder.expanduser().absolute()
    check_target(folder, _is_ours)
    check_report_folder(folder / _REPORT)
    model = packaged_minilm()
    manager.tuner("sentence-transformers")
    manager.search_engine("lancedb")
    task = standard_library_task(n_functions, seed)
    split = task.split(val=0.1, test=0.45, seed=seed)
    assert split.val is not None and split.test is not None  # noqa: PT018  # both shares are above 0
    say(
        f"{len(task.corpus)} functions of this Python's library, {len(task)} questions: {len(split.train)} train, "
        f"{len(split.val)} choose, {len(split.test)} test; no module on two sides"
    )
    with replace_folder(folder, _is_ours) as new:
        say(f"tuning all-MiniLM-L6-v2 on {len(split.train)} questions")
        tuned = tune(str(model), split.train, split.val, new / _MODEL, seed=seed, plugins=plugins)
        say(f"asking base and tuned model {len(split.test)} questions each, in LanceDB")
        comparison = compare(
            str(model), str(new / _MODEL), split.test, QUERY_TYPES, engine="lancedb", seed=seed, plugins=plugins
        )
        comparison = _with_tuned_name(comparison, folder / _MODEL)
        write_report(comparison, split.test, new / _REPORT, base_name="all-MiniLM-L6-v2")
    return DemoResult(
        folder=folder, split=split, tuned=tuned, comparison=comparison, seconds=time.monotonic() - started
    )


def _is_ours(folder: Path) -> bool:
    return (folder / _MODEL).is_dir() and (folder / _REPORT / "comparison.json").is_file()


def _with_tuned_name(comparison: Comparison, path: Path) -> Comparison:
    """The comparison with the tuned model where readers will find it: it was measured in the folder in the making."""
    tuned = {**comparison.settings["tuned"], "name": str(path)}
    return replace(comparison, settings={**comparison.settings, "tuned": tuned})
