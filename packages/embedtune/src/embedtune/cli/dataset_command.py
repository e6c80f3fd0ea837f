"""``embedtune dataset``: look at a data set, convert it, divide it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from embedtune.cli.options import Json, Seed, check_apart, write_json
from embedtune.dataset import QADataset
from embedtune.formats import check_can_save
from embedtune.overview import Lengths, Overview, Sample, overview, sample_queries
from embedtune.plugins import plugin_manager
from embedtune.texts import printable

__all__ = ["dataset"]

console = Console()

_MOST_SHOWN = 400
"""Characters of a sample's text."""


def dataset(
    path: Annotated[Path, typer.Argument(help="A data set: Lance or BEIR folder, .json, .csv, .parquet.")],
    split: Annotated[str | None, typer.Option(help="Which judgments, in a BEIR folder.")] = None,
    samples: Annotated[int, typer.Option(min=0, help="Queries shown with their chunk.")] = 3,
    to: Annotated[Path | None, typer.Option(help="Write the data set there.")] = None,
    divide: Annotated[Path | None, typer.Option(help="Write train, val and test into this folder.")] = None,
    format: Annotated[str | None, typer.Option(help="Format of what is written; by the path if not given.")] = None,
    val: Annotated[float, typer.Option(min=0, max=1, help="Share of queries that choose a checkpoint.")] = 0.1,
    test: Annotated[float, typer.Option(min=0, max=1, help="Share of queries that report the gain.")] = 0.2,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Look at a data set; with --to convert it, with --divide write train, val and test without leaks."""
    if format is not None and to is None and divide is None:
        raise typer.BadParameter("is the format of what is written: give --to or --divide.", param_hint="--format")
    check_apart({"PATH": path, "--json": json_file, "--to": to, "--divide": divide})
    sides = {} if divide is None else _targets(path, divide, format, {"train": 1.0, "val": val, "test": test})
    for target in (*([] if to is None else [to]), *sides.values()):
        check_can_save(target, _written_as(path, target, format))
    loaded = QADataset.load(path, split=split)
    if json_file is not None or not (to or divide):
        found = overview(loaded)
        if json_file is not None:
            write_json(json_file, found.to_json())
        console.print(_overview_table(found))
        _print_samples(sample_queries(loaded, samples, seed))
        if loaded.report is not None:
            _print(str(loaded.report))
    if to is not None:
        _save(loaded, to, _written_as(path, to, format))
    if divide is not None:
        parts = loaded.split(val, test, seed)
        for name, part in (("train", parts.train), ("val", parts.val), ("test", parts.test)):
            if part is not None:
                _save(part, sides[name], _written_as(path, sides[name], format))


def _targets(source: Path, folder: Path, format: str | None, shares: dict[str, float]) -> dict[str, Path]:
    """Where each side goes: as files of the format, or like the source."""
    suffix = source.suffix if source.is_file() else ""
    if format is not None:
        suffix = "" if plugin_manager().dataset_format(format).is_folder else f".{format}"
    return {name: folder / f"{name}{suffix}" for name, share in shares.items() if share}


def _written_as(source: Path, target: Path, format: str | None) -> str | None:
    """The format of what is written; a folder made of a BEIR folder is one too."""
    if format is None and not target.suffix and (source / "corpus.jsonl").is_file():
        return "beir"
    return format


def _save(dataset: QADataset, target: Path, format: str | None) -> None:
    dataset.save(target, format)
    _print(f"{target}: {dataset!r}")


def _print(text: str) -> None:
    for line in text.splitlines():
        console.print(escape(printable(line)), highlight=False, soft_wrap=True)


def _overview_table(found: Overview) -> Table:
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _overview_rows(found):
        table.add_row(name, "\n".join(escape(printable(line)) for line in value.split("\n")))
    return table


def _overview_rows(found: Overview) -> Iterator[tuple[str, str]]:
    several = found.queries_with_several_answers
    yield "queries", f"{found.queries:,}" + (f", {several:,} of them with several answers" if several else "")
    yield "chunks", f"{found.chunks:,}, {found.distractors:,} of them answer no query"
    yield (
        "pairs",
        f"{found.pairs:,}" + (f", graded for {found.graded_queries:,} queries" if found.graded_queries else ""),
    )
    unknown = f"; not known for {found.chunks_without_document:,} chunks" if found.chunks_without_document else ""
    yield "documents", f"{found.documents:,}{unknown}"
    if found.styles:
        yield "styles", ", ".join(f"{count:,} {style}" for style, count in found.styles.items())
    yield "length of a query", _told(found.query_characters, found.query_words)
    yield "length of a chunk", _told(found.chunk_characters, found.chunk_words)
    yield "repeated queries", f"{found.equal_queries:,} equal, {found.near_equal_queries:,} nearly"
    yield "repeated chunks", f"{found.equal_chunks:,} equal, {found.near_equal_chunks:,} nearly"
    low, middle, high = found.overlap_quartiles
    yield (
        "overlap",
        f"{middle:.0%} of a query's words stand in its chunk, in the median (quartiles {low:.0%} and {high:.0%})",
    )


def _told(characters: Lengths, words: Lengths) -> str:
    figures = [
        f"{of_characters:,.0f} characters ({of_words:,.0f} words)"
        for of_characters, of_words in (
            (characters.median, words.median),
            (characters.percentile_95, words.percentile_95),
            (characters.longest, words.longest),
        )
    ]
    return f"median {figures[0]}\n95% below {figures[1]}\nlongest {figures[2]}"


def _print_samples(samples: list[Sample]) -> None:
    for sample in samples:
        about = [f"overlap {sample.overlap:.0%}", *filter(None, (sample.style, sample.document))]
        console.print()
        console.print(f"[bold]{_cut(sample.query)}[/bold]", highlight=False)
        console.print(f"[dim]{_cut(', '.join(about))}[/dim]", highlight=False)
        console.print(_cut(sample.chunk), highlight=False)


def _cut(text: str) -> str:
    """One line for a terminal: nothing in it drives the terminal or is read as markup."""
    text = printable(text[: 4 * _MOST_SHOWN])
    return escape(text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…")
