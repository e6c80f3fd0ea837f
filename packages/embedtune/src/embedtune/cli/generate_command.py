"""``embedtune generate``: from documents to a data set, by an LLM."""

from pathlib import Path
from typing import Annotated, cast

import typer
from rich.console import Console

from embedtune.cli.options import Json, Seed, check_apart, stoppable, write_json
from embedtune.cli.tables import generation_table
from embedtune.dataset import QADataset
from embedtune.errors import BatchPendingError, GenerationError
from embedtune.formats import check_can_save
from embedtune.generation import Delivery, GenerationReport, Prices, QuestionQuality
from embedtune.generation.estimate import UnaskedLLM, estimate_task
from embedtune.generation.journal import Journal
from embedtune.generation.task import Task, make_task
from embedtune.generation.writing import write_questions
from embedtune.plugins import plugin_manager
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from embedtune.protocols import BaseLLM
from embedtune.sources import read_chunks

__all__ = ["generate"]

console = Console()

PENDING = 75
"""Exit status while a batch is not done: sysexits' "try again later"."""

Columns = Annotated[str | None, typer.Option(help="Column, where SOURCE is a table.")]


def generate(
    source: Annotated[
        Path, typer.Argument(help="Folder of .txt, .md or .rst, one such file, .csv, .parquet, x.lance.")
    ],
    out: Annotated[Path, typer.Option(help="The data set: no suffix for Lance, .json, .csv.")],
    llm: Annotated[str, typer.Option(help="As in openai:gpt-6-luna.")],
    base_url: Annotated[str | None, typer.Option(help="Address of another server of the same API.")] = None,
    questions: Annotated[int, typer.Option(min=1, help="Questions per chunk.")] = 2,
    template: Annotated[
        Path | None, typer.Option(help="File with a prompt template.", exists=True, dir_okay=False)
    ] = None,
    styles: Annotated[str, typer.Option(help="As in natural=0.8,keyword=0.1,misspelt=0.1.")] = "natural=1",
    language: Annotated[str | None, typer.Option(help="Of the questions; the chunk's own if not given.")] = None,
    judge: Annotated[str | None, typer.Option(help="LLM that drops questions the chunk does not answer.")] = None,
    chunk_characters: Annotated[int, typer.Option(min=100, help="Most characters of a chunk cut from text.")] = 1200,
    text: Columns = None,
    id: Columns = None,
    document: Columns = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests in flight.")] = 8,
    requests_per_minute: Annotated[float | None, typer.Option(help="Limit on requests.")] = None,
    tokens_per_minute: Annotated[float | None, typer.Option(help="Limit on tokens.")] = None,
    prices: Annotated[str | None, typer.Option(help="READ,WRITTEN per million tokens, as in 0.2,0.8.")] = None,
    max_cost: Annotated[float | None, typer.Option(help="Stop before this is passed; needs --prices.")] = None,
    max_requests: Annotated[int | None, typer.Option(help="Stop after so many requests.")] = None,
    estimate_only: Annotated[bool, typer.Option("--estimate", help="Say what it would cost, and stop.")] = False,
    batch: Annotated[bool, typer.Option("--batch", help="Submit as a batch and return; --resume collects.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the journal of an earlier run.")] = False,
    journal: Annotated[Path | None, typer.Option(help="File of all answers; beside --out if not given.")] = None,
    seed: Seed = 0,
    json_file: Json = None,
) -> None:
    """Have an LLM write questions on your documents."""
    if max_cost is not None and prices is None:
        raise typer.BadParameter(
            "needs --prices READ,WRITTEN, per million tokens, as in 0.2,0.8.", param_hint="--max-cost"
        )
    chunks = read_chunks(source, text=text, id=id, document=document, max_characters=chunk_characters)
    kept = journal or out.with_name(f"{out.name}.journal.jsonl")
    check_apart({"--out": out, "--journal": kept, "--json": json_file, "SOURCE": source})
    prompt = DEFAULT_PROMPT_TMPL if template is None else _text_of(template)
    # The judge sees the chunks too: what is kept on a local server must not go elsewhere.
    load = _llm_for_estimate if estimate_only else _loaded
    judging = None if judge is None else load(judge, base_url)
    quality = QuestionQuality(judge=judging, language=language, styles=_shares(styles))
    delivery = Delivery(
        concurrency=concurrency,
        requests_per_minute=requests_per_minute,
        tokens_per_minute=tokens_per_minute,
        journal=kept,
        prices=None if prices is None else _prices(prices),
        max_cost=max_cost,
        max_requests=max_requests,
        batch=batch,
        wait=False,
        seed=seed,
    )
    task = make_task(chunks, load(llm, base_url), prompt, questions, delivery, quality, plugin_manager())
    if estimate_only:
        console.print(str(estimate_task(task)), highlight=False, soft_wrap=True)
        return
    check_can_save(out)
    _check_journal(kept, resume=resume)
    with stoppable(f"what was answered is in {kept}; the same command with --resume goes on from there"):
        dataset = _written(task)
    dataset.save(out)
    report = cast(GenerationReport, dataset.report)
    if json_file is not None:
        write_json(json_file, report.model_dump(mode="json"))
    console.print(generation_table(report))
    console.print(f"Data set: {out}. All answers: {kept}", highlight=False, soft_wrap=True)


def _written(task: Task) -> QADataset:
    try:
        return write_questions(task)
    except BatchPendingError as pending:
        console.print(f"{pending}".partition(" The same call")[0], highlight=False, soft_wrap=True)
        console.print("Collect it with the same command and --resume.", highlight=False)
        raise typer.Exit(PENDING) from None
    except GenerationError as error:
        n_answers, _ = _held_by(cast(Path, task.delivery.journal))
        hint = f"{n_answers} answers are in {task.delivery.journal}; the same command with --resume goes on from there."
        raise GenerationError(f"{str(error).rstrip('.')}. {hint}" if n_answers else str(error)) from None


def _text_of(template: Path) -> str:
    try:
        return template.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise typer.BadParameter(f"--template {str(template)!r} is no text in UTF-8: {error}.") from None


def _held_by(path: Path) -> tuple[int, int]:
    """Answers and batches in a journal, which may not be there yet."""
    with Journal(path if path.exists() else None) as journal:
        return journal.n_answers, len(journal.batches)


def _check_journal(path: Path, *, resume: bool) -> None:
    n_answers, n_batches = _held_by(path)
    if (n_answers or n_batches) and not resume:
        raise GenerationError(
            f"{str(path)!r} holds {n_answers} answers and {n_batches} batches of an earlier run. Use them with "
            "--resume, or give another file with --journal."
        )


def _loaded(llm: str, base_url: str | None) -> BaseLLM:
    return plugin_manager().llm(llm, **({} if base_url is None else {"base_url": base_url}))


def _llm_for_estimate(llm: str, base_url: str | None) -> BaseLLM:
    """The LLM, whose answers the journal may hold; without a key the price can be told all the same."""
    try:
        return _loaded(llm, base_url)
    except GenerationError:
        return UnaskedLLM()


def _prices(text: str) -> Prices:
    try:
        prompt, completion = (float(part) for part in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"--prices takes two numbers, as in 0.2,0.8; got {text!r}.") from None
    return Prices(prompt=prompt, completion=completion)


def _shares(styles: str) -> dict[str, float]:
    try:
        pairs = [part.split("=") for part in styles.replace(" ", "").split(",")]
        return {name: float(share) for name, share in pairs}
    except ValueError:
        raise typer.BadParameter(
            f"--styles takes NAME=SHARE,..., as in natural=0.8,keyword=0.2; got {styles!r}."
        ) from None
