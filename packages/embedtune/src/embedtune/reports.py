"""The report beside a data set: how its questions were written, as ``<name>.report.json``."""

import json
import logging
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from embedtune.cleaning_report import CleaningReport
from embedtune.folders import replace_file
from embedtune.generation.report import GenerationReport

__all__ = ["Report", "read_report", "report_path", "save_report"]

logger = logging.getLogger(__name__)

Report = GenerationReport | CleaningReport
_ADAPTER: TypeAdapter[Report] = TypeAdapter(Annotated[Report, Field(discriminator="kind")])


def report_path(path: Path) -> Path:
    """Where the report of a data set stands.

    >>> report_path(Path("questions.json")).name
    'questions.json.report.json'
    """
    return path.with_name(f"{path.name}.report.json")


def save_report(report: Report | None, path: Path) -> None:
    """Write a report beside its data set; one of an earlier data set goes.

    A file of that name that is no report of ours is left as it is, with a warning.
    """
    target = report_path(path)
    if target.exists() and not _is_ours(target):
        logger.warning("%s is no report of embedtune; it is left as it is, and no report is written", target)
    elif report is None:
        target.unlink(missing_ok=True)
    else:
        with replace_file(target) as partial:
            partial.write_text(report.model_dump_json(indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> Report | None:
    """The report beside a data set; None if there is none that can be read."""
    source = report_path(path)
    if not source.is_file():
        return None
    try:
        return _ADAPTER.validate_json(source.read_bytes())
    except (OSError, ValidationError) as error:
        logger.warning("%s cannot be read as a report: %s", source, error)
        return None


def _is_ours(path: Path) -> bool:
    try:
        return path.is_file() and json.loads(path.read_bytes())["kind"] in ("generation", "cleaning")
    except (OSError, ValueError, LookupError, TypeError):
        return False
