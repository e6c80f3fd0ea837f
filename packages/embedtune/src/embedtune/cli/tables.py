"""What the commands print."""

from collections.abc import Iterator

from rich import box
from rich.markup import escape
from rich.table import Table

from embedtune.comparison import Comparison, ComparisonRow
from embedtune.evaluation import Evaluation
from embedtune.generation import GenerationReport
from embedtune.plugins import PluginManager
from embedtune.report.tables import p_value
from embedtune.texts import printable
from embedtune.tuner import TuneResult, ValidationPoint
from embedtune.tuning_estimate import TuningEstimate

__all__ = [
    "WIDE",
    "comparison_table",
    "evaluation_table",
    "findings_table",
    "generation_table",
    "plugin_table",
    "tuning_estimate_table",
    "tuning_table",
]

WIDE = 100
"""Columns of a terminal that show how many questions were won and lost beside the rest."""

_SHOWN = {("hit_rate", 1), ("hit_rate", 5), ("mrr", 10), ("ndcg", 10)}


def comparison_table(comparison: Comparison, *, is_wide: bool = False) -> Table:
    """Base and tuned side by side, with the paired interval of the difference; at least 80 columns wide."""
    seen = f", {comparison.n_seen:,} seen" if comparison.n_seen else ""
    title = f"{comparison.n_queries:,} questions in {comparison.n_clusters:,} documents or groups{seen}"
    table = Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for name in ("search", "metric"):
        table.add_column(name, no_wrap=True)
    for name in ("base", "tuned", "change", "95% interval", "p", *(("won : lost",) if is_wide else ())):
        table.add_column(name, justify="right", no_wrap=True)
    previous = ""
    for row in comparison.rows:
        if (row.metric, row.k) not in _SHOWN | {("hit_rate", comparison.top_k)}:
            continue
        if previous and previous != row.query_type:
            table.add_section()
        name = row.query_type if row.query_type != previous else ""
        table.add_row(name, f"{row.metric}@{row.k}", *_figures(row, is_wide=is_wide))
        previous = row.query_type
    return table


def _figures(row: ComparisonRow, *, is_wide: bool) -> Iterator[str]:
    yield from (f"{row.base:.3f}", f"{row.tuned:.3f}", f"{row.difference:+.3f}")
    yield f"{row.low:+.3f} to {row.high:+.3f}"
    yield p_value(row.p)
    if is_wide:
        yield f"{row.wins} : {row.losses}"


def evaluation_table(evaluation: Evaluation) -> Table:
    """All metrics, a row per cut-off."""
    cut_offs = sorted({int(name.partition("@")[2]) for name in evaluation.metrics})
    names = list(dict.fromkeys(name.partition("@")[0] for name in evaluation.metrics))
    seen = f", {evaluation.n_seen} of them seen in training" if evaluation.n_seen else ""
    table = Table(title=f"{len(evaluation)} questions{seen}")
    for name in ("k", *names):
        table.add_column(name, justify="right")
    for k in cut_offs:
        table.add_row(str(k), *(f"{evaluation.metrics[f'{name}@{k}']:.3f}" for name in names))
    if evaluation.failed_queries:
        table.caption = f"{len(evaluation.failed_queries)} searches failed and count as not found"
    return table


def findings_table(comparison: Comparison) -> Table:
    """What was measured that may explain the figures."""
    table = Table(title="what may explain it", show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for finding in comparison.findings:
        table.add_row(finding.name, escape(printable(finding.told)))
    return table


def tuning_table(result: TuneResult) -> Table:
    """The validation metrics of all candidates; the one that was kept is marked."""
    names = list(result.history[0].metrics)
    table = Table(title="validation queries: they chose the step, so they flatter it", box=box.SIMPLE_HEAD)
    for name in ("weights", "epoch", *names):
        table.add_column(name, justify="right", no_wrap=True)
    kept = (result.record.chosen_step, result.record.chosen_share)
    for point in result.history:
        mark = " *" if (point.step, point.share) == kept else "  "
        table.add_row(
            f"{_weights(point)}{mark}", f"{point.epoch:.2f}", *(f"{point.metrics[name]:.3f}" for name in names)
        )
    table.caption = "* kept"
    if result.kept_base:
        table.caption += f"; {escape(result.record.kept_base_reason or 'no candidate was better')}"
    return table


def _weights(point: ValidationPoint) -> str:
    if point.step == 0:
        return "base"
    return f"step {point.step}" if point.share == 1 else f"{point.share:.0%} of the way to step {point.step}"


def tuning_estimate_table(estimate: TuningEstimate) -> Table:
    """What a run would do, in what time and memory."""
    table = Table(title="nothing was tuned; the run would take", show_header=False, box=box.SIMPLE)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in _estimate_rows(estimate):
        table.add_row(name, escape(printable(value)))
    return table


def _estimate_rows(estimate: TuningEstimate) -> Iterator[tuple[str, str]]:
    folds = f", in {estimate.n_folds} folds and a last run on everything" if estimate.n_folds else ""
    yield "steps", f"{estimate.n_steps:,} of up to {estimate.batch_size} chunks each{folds}"
    yield "pairs", f"{estimate.n_pairs:,} of query and chunk, of {estimate.n_chunks:,} chunks"
    yield "validation", f"{estimate.n_validation_queries:,} queries"
    if estimate.max_seq_length is not None:
        cut = f"{estimate.truncated_share:.1%} of the training chunks are longer"
        yield "reads", f"{estimate.max_seq_length} tokens; {cut}"
    yield "precision", f"{estimate.precision} on {estimate.device}"
    of_it = f"{estimate.validation_minutes:.1f} of them validation, {estimate.seconds_per_step:.2f} s a step"
    yield "time", f"about {estimate.minutes:.1f} minutes, {of_it}"
    memory = estimate.peak_memory_mib
    yield "memory", "not told by this system" if memory is None else f"{memory:,.0f} MiB and more"
    yield "disk", f"up to {estimate.disk_mib:,.0f} MiB beside the target while it runs"
    for note in estimate.notes:
        yield "note", note


def generation_table(report: GenerationReport) -> Table:
    """What was asked for, what came of it, and what it cost."""
    table = Table(show_header=False)
    table.add_column()
    table.add_column(overflow="fold")
    for name, value in _generation_rows(report):
        table.add_row(name, escape(printable(value)))
    return table


def _generation_rows(report: GenerationReport) -> Iterator[tuple[str, str]]:
    yield "LLM", report.llm
    yield "questions", f"{report.written} of {report.asked} asked for, on {report.chunks} chunks"
    if len(report.styles) > 1:
        yield "styles", ", ".join(f"{count} {style}" for style, count in report.styles.items())
    if report.merged:
        yield "merged", f"{report.merged} with an equal question on another chunk"
    for reason, count in report.dropped.items():
        yield "dropped", f"{count} {reason}"
    if report.failures:
        chunk, reason = next(iter(report.failures.items()))
        yield "without", f"{len(report.failures)} chunks; the first, {chunk}: {reason}"
    for stage, spend in report.stages.items():
        yield ("requests" if stage == "questions" else f"requests ({stage})"), str(spend)
    if report.overlap is not None:
        yield "overlap", f"{report.overlap:.0%} of a question's words stand in its chunk, in the median"
    if report.cost is not None:
        yield "cost", f"{report.cost:.4f}"
    yield "time", f"{report.seconds:.0f} s"
    if report.stopped:
        yield "stopped", report.stopped


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
