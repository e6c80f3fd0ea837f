"""What the commands print."""

from rich.markup import escape
from rich.table import Table

from embedtune.comparison import Comparison
from embedtune.plugins import PluginManager
from embedtune.tuner import TuneResult

__all__ = ["comparison_table", "plugin_table", "tuning_table"]

_SHOWN = {("hit_rate", 1), ("hit_rate", 5), ("mrr", 10), ("ndcg", 10)}


def comparison_table(comparison: Comparison) -> Table:
    """Base and tuned side by side, with the paired interval of the difference."""
    table = Table(
        title=f"{comparison.n_queries} questions in {comparison.n_clusters} documents that training never saw"
    )
    if comparison.n_seen:
        table.title = f"{comparison.n_queries} questions, {comparison.n_seen} of them seen in training"
    for name in ("search", "metric"):
        table.add_column(name)
    for name in ("base", "tuned", "difference", "95% interval", "p"):
        table.add_column(name, justify="right")
    previous = ""
    for row in comparison.rows:
        if (row.metric, row.k) not in _SHOWN:
            continue
        if previous and previous != row.query_type:
            table.add_section()
        interval = f"{row.low:+.3f} to {row.high:+.3f}"
        name = row.query_type if row.query_type != previous else ""
        figures = (f"{row.base:.3f}", f"{row.tuned:.3f}", f"{row.difference:+.3f}", interval, f"{row.p:.4f}")
        table.add_row(name, f"{row.metric}@{row.k}", *figures)
        previous = row.query_type
    return table


def tuning_table(result: TuneResult) -> Table:
    """The validation metrics along the way; the step that was kept is marked."""
    names = list(result.history[0].metrics)
    table = Table(title="validation queries: they chose the step, so they flatter it")
    for name in ("step", "epoch", *names):
        table.add_column(name, justify="right")
    for point in result.history:
        mark = " *" if point.step == result.record.chosen_step else ""
        table.add_row(f"{point.step}{mark}", f"{point.epoch:.2f}", *(f"{point.metrics[name]:.3f}" for name in names))
    return table


def plugin_table(manager: PluginManager) -> Table:
    """All plugins with what they offer, broken ones with their error."""
    offers: dict[str, list[str]] = {}
    kinds = ("tuners", "embedders", "rerankers", "llms", "dataset_formats", "search_engines")
    for kind in kinds:
        for info, row in manager.rows(f"embedtune_{kind}"):
            label = kind.replace("_", " ").removesuffix("s")
            offers.setdefault(str(info), []).append(f"{label} {getattr(row, 'name', row)}")
    table = Table()
    for name in ("plugin", "from", "offers"):
        table.add_column(name)
    for info in manager.installed:
        broken = f"[red]broken: {escape(f'{type(info.error).__name__}: {info.error}')}[/red]" if info.error else ""
        found = ", ".join(offers.get(str(info), [])) or "converters"
        table.add_row(info.name, info.distribution, broken or escape(found))
    return table
