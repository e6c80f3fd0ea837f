"""``python -m embedtune``: the same as the command ``embedtune``."""

from embedtune.cli import main

main()
