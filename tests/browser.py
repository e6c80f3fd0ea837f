"""Chromium on a page, with all that it asked for and complained of."""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

__all__ = ["OpenPage", "chromium", "opened_page"]

_PATIENCE = 120_000
"""Milliseconds; a page of 5 MB takes long on a machine that does much else."""


@dataclass
class OpenPage:
    """A page, and what it did."""

    page: "Page"
    requests: list[str] = field(default_factory=list)
    """Addresses asked for, the page's own among them."""
    complaints: list[str] = field(default_factory=list)
    """Errors and warnings of the console, uncaught errors, and dialogs."""


@contextmanager
def chromium() -> Iterator["Browser"]:
    """A real Chromium; where there is none the test is skipped, and under CI it fails."""
    program = shutil.which("chromium")
    missing = [] if program else ["chromium (apt-get install chromium)"]
    missing += [] if importlib.util.find_spec("playwright") else ["playwright (pip install playwright)"]
    if missing:
        told = f"no browser test without {' and '.join(missing)}"
        pytest.fail(told) if os.environ.get("CI") else pytest.skip(told)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        # A root user, as in most containers, has no sandbox.
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"], timeout=_PATIENCE)
        yield browser
        browser.close()


@contextmanager
def opened_page(browser: "Browser", path: Path, **context: Any) -> Iterator[OpenPage]:
    """Open a file from disk.

    Args:
        browser: As of `chromium`.
        path: The page.
        **context: Of Playwright's ``new_context``, such as ``viewport`` and ``color_scheme``.
    """
    with browser.new_context(**context) as window:
        window.set_default_timeout(_PATIENCE)
        opened = OpenPage(window.new_page())
        opened.page.on("request", lambda request: opened.requests.append(request.url))
        opened.page.on("console", lambda message: _note(opened, message.type, message.text))
        opened.page.on("pageerror", lambda error: opened.complaints.append(str(error)))
        opened.page.on("dialog", lambda dialog: (opened.complaints.append(dialog.message), dialog.dismiss()))
        opened.page.goto(path.as_uri())
        yield opened


def _note(opened: OpenPage, kind: str, text: str) -> None:
    if kind in ("error", "warning"):
        opened.complaints.append(text)
