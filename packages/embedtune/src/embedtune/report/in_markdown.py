"""The report as Markdown: for a pull request, a wiki, a chat."""

from collections.abc import Iterable, Iterator

from embedtune.comparison import Comparison
from embedtune.report.contents import Contents
from embedtune.report.escaping import in_markdown, shortened
from embedtune.report.tables import (
    Table,
    curve_table,
    dataset_tables,
    main_table,
    metric_table,
    movement_table,
    settings_table,
    slice_table,
)

__all__ = ["as_markdown", "markdown"]

_SAMPLE_CHARACTERS = 200


def markdown(comparison: Comparison, *, base_name: str = "base", tuned_name: str = "tuned") -> str:
    """Verdict, reasons and all figures of a comparison as Markdown, with GitHub's tables.

    Names and texts are escaped: none of them can become markup, HTML or a further cell.

    Args:
        comparison: What is told.
        base_name: What to call the model before.
        tuned_name: What to call the model after.

    >>> from embedtune import compare
    >>> from embedtune.testing import HashEmbedder, tiny_dataset
    >>> print(markdown(compare(HashEmbedder(), HashEmbedder(), tiny_dataset())).splitlines()[0])
    # No difference within the margin: base → tuned
    """
    return as_markdown(Contents(comparison, (base_name, tuned_name)))


def as_markdown(contents: Contents) -> str:
    """As `markdown`, with the data set if there is one."""
    return "\n".join([*_told(contents), *_tables(contents), *_dataset(contents), *_settings(contents)])


def _told(contents: Contents) -> Iterator[str]:
    comparison, (base, tuned) = contents.comparison, map(in_markdown, contents.names)
    verdict = comparison.verdict
    yield f"# {verdict[0].upper()}{verdict[1:]}: {base} → {tuned}\n"
    if comparison.n_seen:
        yield (
            f"**{comparison.n_seen} of {comparison.n_queries} questions were seen in training or selection: a gain on "
            f"them proves nothing{', and they do not count' if comparison.n_seen < comparison.n_queries else ''}.**\n"
        )
    yield f"{in_markdown(comparison.reason)}\n"
    yield from _bullets(in_markdown(note) for note in comparison.notes)
    if comparison.findings:
        yield "## Findings\n"
        yield from _bullets(
            f"**{in_markdown(finding.name)}**: {in_markdown(finding.told)}" for finding in comparison.findings
        )


def _tables(contents: Contents) -> Iterator[str]:
    comparison, names = contents.comparison, contents.names
    yield "## Metrics\n"
    yield f"{comparison.n_queries:,} questions in {comparison.n_clusters:,} documents or groups.\n"
    yield _table(main_table(comparison, names))
    yield "## Hit rate over k\n"
    yield _table(curve_table(contents.curves, names))
    yield "## Rank movement\n"
    yield "How many questions went from which rank of the first relevant chunk to which.\n"
    for query_type, movement in contents.movements.items():
        yield f"### {in_markdown(query_type)}\n"
        yield ", ".join(f"{count:,} {outcome}" for outcome, count in movement.outcomes.items()) + ".\n"
        yield _table(movement_table(movement, names))
    if comparison.slices:
        yield "## Slices (exploratory)\n"
        yield (
            "Parts of the questions, corrected for nothing: some stand out by chance, and with fewer than 30 documents "
            "an interval is unreliable.\n"
        )
        yield _table(slice_table(comparison, names))
    yield "## All metrics\n"
    yield _table(metric_table(comparison, names))


def _dataset(contents: Contents) -> Iterator[str]:
    if contents.dataset is None or contents.overview is None:
        return
    yield "## Data set\n"
    if contents.dataset.report is not None:
        yield from _bullets(in_markdown(line) for line in str(contents.dataset.report).splitlines())
    for title, table in dataset_tables(contents.overview):
        yield f"### {title}\n"
        yield _table(table)
    yield "### Samples\n"
    yield from _bullets(
        f"{in_markdown(shortened(sample.query, _SAMPLE_CHARACTERS))} — "
        f"{in_markdown(shortened(sample.chunk, _SAMPLE_CHARACTERS))}"
        for sample in contents.samples
    )


def _settings(contents: Contents) -> Iterator[str]:
    yield "## Configuration and versions\n"
    yield _table(settings_table(contents.settings))


def _bullets(lines: Iterable[str]) -> Iterator[str]:
    if told := [f"- {line}" for line in lines]:
        yield "\n".join(told) + "\n"


def _table(table: Table) -> str:
    rule = ["---" if place < table.n_names else "---:" for place in range(len(table.columns))]
    rows = [list(map(in_markdown, cells)) for cells in (table.columns, *table.rows)]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (rows[0], rule, *rows[1:])) + "\n"
