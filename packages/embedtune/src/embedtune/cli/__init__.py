"""The command line: ``embedtune demo``, ``embedtune tune``, ``embedtune plugins``."""

import logging
import os
import sys

from embedtune.errors import EmbedtuneError

__all__ = ["main"]


def main() -> None:
    """Run the command line; errors of ours are one message, not a traceback."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    # A progress bar of the framework inside ours says nothing to a user; an explicit setting wins.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from embedtune.cli.app import app  # typer and rich: not for those who use the library

    try:
        app()
    except (EmbedtuneError, OSError) as error:  # a disk that is full, or that must not be written to
        sys.stderr.write(f"embedtune: {error}\n")
        sys.exit(1)
