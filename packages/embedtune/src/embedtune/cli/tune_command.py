"""``embedtune tune``: tune on a data set, or tell before what that would do and cost."""

import ast
import contextlib
import dataclasses
import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from embedtune.cli.options import Json, Seed, check_apart, stoppable, write_json
from embedtune.cli.tables import tuning_estimate_table, tuning_table
from embedtune.dataset import QADataset
from embedtune.tuner import TuneResult, tune
from embedtune.tuning_estimate import estimate_tuning

__all__ = ["tune_command"]

console = Console()

_GIVEN_OTHERWISE = {
    **dict.fromkeys(("model", "base"), "--base"),
    **dict.fromkeys(("path", "out"), "--out"),
    **dict.fromkeys(("valset", "val"), "--val"),
    **{name: f"--{name}" for name in ("embedder", "epochs", "resume", "seed", "tuner")},
    "trainset": "DATASET",
    "plugins": "what is installed",
}
"""What is no option of a tuner, and what says it instead."""


class Method(StrEnum):
    """What is tuned."""

    full = "full"
    lora = "lora"
    adapter = "adapter"
    reranker = "reranker"


_TUNERS: dict[Method, tuple[str, dict[str, object]]] = {
    Method.full: ("sentence-transformers", {}),
    Method.lora: ("sentence-transformers", {"lora_rank": 16}),
    Method.adapter: ("adapter", {}),
    Method.reranker: ("reranker", {}),
}
"""The tuner of each method, and its options where none are given."""


def tune_command(
    dataset: Annotated[Path, typer.Argument(help="A data set: Lance or BEIR folder, .json, .csv.")],
    base: Annotated[str, typer.Option(help="Base model: folder or hub name.")],
    out: Annotated[Path, typer.Option(help="Folder of the tuned model.")],
    split: Annotated[str | None, typer.Option(help="Which judgments, in a BEIR folder.")] = None,
    val: Annotated[Path | None, typer.Option(help="A data set that chooses; held back from DATASET if none.")] = None,
    val_split: Annotated[str | None, typer.Option(help="Which judgments of --val, in a BEIR folder.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the pairs; by their number if none.")] = None,
    seed: Seed = 0,
    method: Annotated[
        Method | None,
        typer.Option(
            help="full: all weights. lora: low-rank additions to them. adapter: a map of the queries of any embedder, "
            "hosted ones too. reranker: a cross-encoder. full if none."
        ),
    ] = None,
    tuner: Annotated[
        str | None, typer.Option(help="Instead of --method: a tuner by name, as `embedtune plugins` lists.")
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Of a reranker: the embedding model whose finds it is to reorder.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="NAME=VALUE", help="Of the tuner, as in batch_size=32; repeatable.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from where an interrupted run stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would do and cost, and stop.")] = False,
    json_file: Json = None,
) -> None:
    """Tune a model on a data set; what chooses the checkpoint is held back from it."""
    if method is not None and tuner is not None:
        raise typer.BadParameter("chooses the tuner, and so does --method: give one of them.", param_hint="--tuner")
    tuner, preset = (tuner, {}) if tuner is not None else _TUNERS[method or Method.full]
    options = preset | _tuner_options(option or [])
    if embedder is not None:
        options["embedder"] = embedder
    if val_split is not None and val is None:
        raise typer.BadParameter("names the judgments of --val: give --val too.", param_hint="--val-split")
    check_apart({"DATASET": dataset, "--out": out, "--json": json_file})
    trainset = QADataset.load(dataset, split=split)
    valset = None if val is None else QADataset.load(val, split=val_split)
    arguments: dict[str, Any] = {"tuner": tuner, "epochs": epochs, "seed": seed, "resume": resume, **options}
    if dry_run:
        with stoppable(f"{out} is as it was"):
            estimate = estimate_tuning(base, trainset, valset, out, **arguments)
        if json_file is not None:
            write_json(json_file, dataclasses.asdict(estimate))
        console.print(tuning_estimate_table(estimate))
        return
    with stoppable(f"{out} is as it was; the same command with --resume goes on from here"):
        result = tune(base, trainset, valset, out, **arguments)
    if json_file is not None:
        write_json(json_file, _result_json(result))
    console.print(tuning_table(result))
    console.print(f"{result.seconds:.0f} s. Model: {result.path}", highlight=False, soft_wrap=True)


def _tuner_options(given: list[str]) -> dict[str, object]:
    """By name; the tuner itself checks them."""
    options: dict[str, object] = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator or not name.isidentifier():
            raise _bad_option(f"takes NAME=VALUE, as in batch_size=32; got {text!r}.")
        if name in _GIVEN_OTHERWISE:
            raise _bad_option(f"{name!r} is no option of a tuner: it is given by {_GIVEN_OTHERWISE[name]}.")
        if name in options:
            raise _bad_option(f"{name!r} is given twice, {options[name]!r} and {value!r}. Give it once.")
        options[name] = _value(value)
    return options


def _bad_option(message: str) -> typer.BadParameter:
    return typer.BadParameter(message, param_hint="--option")


def _value(text: str) -> object:
    """As Python writes it, or as JSON; any other text is itself."""
    for read in (ast.literal_eval, json.loads):
        with contextlib.suppress(ValueError, SyntaxError, RecursionError, MemoryError):
            value = read(text)
            return tuple(value) if isinstance(value, list) else value
    return text


def _result_json(result: TuneResult) -> dict[str, Any]:
    record = result.record.model_dump(mode="json", exclude={"seen"})
    history = [dataclasses.asdict(point) | {"metrics": dict(point.metrics)} for point in result.history]
    figures = {"n_pairs": result.n_pairs, "truncated_share": result.truncated_share, "seconds": result.seconds}
    return {"path": str(result.path), **figures, "history": history, "record": record}
