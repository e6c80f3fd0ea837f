"""The commands."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from embedtune import __version__
from embedtune.cli.dataset_command import dataset
from embedtune.cli.evaluation_commands import (
    compare_command,
    evaluate_command,
    gate_command,
    report_command,
    show_comparison,
)
from embedtune.cli.generate_command import generate
from embedtune.cli.options import Json, Seed, stoppable, write_json
from embedtune.cli.tables import plugin_table
from embedtune.cli.tune_command import tune_command
from embedtune.plugins import plugin_manager

__all__ = ["app"]

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()


def _version(wanted: bool) -> None:
    if wanted:
        console.print(f"embedtune {__version__}", highlight=False)
        raise typer.Exit


@app.callback()
def _main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Tune the embedding model of your RAG application on your own chunks, and prove whether it helps."""


@app.command()
def demo(
    folder: Annotated[Path, typer.Option("--out", help="Where model and report go.")] = Path("embedtune-demo"),
    full: Annotated[bool, typer.Option("--full", help="All of the standard library; many times longer.")] = False,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Tune a small model on your Python's standard library and compare it; no network, no key."""
    from embedtune.demo import DEFAULT_FUNCTIONS, run_demo

    def say(text: str) -> None:
        console.print(f"[bold]>[/bold] {text}", highlight=False)

    with stoppable("nothing is left behind"):
        result = run_demo(folder, n_functions=None if full else DEFAULT_FUNCTIONS, seed=seed, say=say)
    if json_file is not None:
        write_json(json_file, result.comparison.to_json())
    show_comparison(result.comparison)
    console.print(f"{result.seconds:.0f} s. Model: {result.folder / 'model'}", highlight=False, soft_wrap=True)
    console.print(f"Report: {result.folder / 'report' / 'report.html'}", highlight=False, soft_wrap=True)


app.command(name="tune")(tune_command)
app.command()(generate)
app.command()(dataset)
app.command(name="evaluate")(evaluate_command)
app.command(name="compare")(compare_command)
app.command(name="report")(report_command)
app.command(name="gate")(gate_command)


@app.command()
def plugins() -> None:
    """List what is installed, and what is broken."""
    console.print(plugin_table(plugin_manager()))
