"""The journal on a real disk: what is in it is paid for once, whatever ends a run."""

import asyncio
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from embedtune import QADataset, QuestionQuality, TextChunk
from embedtune.errors import GenerationError
from embedtune.generation.journal import Journal
from embedtune.prompts import DEFAULT_PROMPT_TMPL
from embedtune.protocols import LLMAnswer
from fault_server import Faults, FaultServer, fault_server
from question_runs import KEY, answers, openai_at, pages, paid_twice, shape, unaccounted, write


@pytest.fixture
def server() -> Iterator[FaultServer]:
    with fault_server() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal.jsonl"


def test_a_run_again_sends_nothing_and_gives_the_same(server: FaultServer, journal: Path) -> None:
    first = write(server, 20, journal=journal)
    before = journal.read_bytes()
    again = write(server, 20, journal=journal)
    assert len(server.done()) == 20
    assert shape(again) == shape(first)
    assert journal.read_bytes() == before
    assert again.report is not None
    assert again.report.stages["questions"].from_journal == 20


def test_each_answer_has_one_record(journal: Path) -> None:
    with fault_server(Faults(rate_limited=0.1, retry_after=0.01, prose=0.2, cut=0.1, refused=0.1)) as server:
        write(server, 40, journal=journal, concurrency=16)
    records = answers(journal)
    assert len(records) == len(server.done("answered", "prose", "cut", "refused"))
    assert len({record["key"] for record in records}) == len(records)
    assert {record["stage"] for record in records} == {"questions"}
    assert all(record["prompt_tokens"] > 0 < record["completion_tokens"] for record in records)


def test_stages_and_top_ups_share_one_journal_under_concurrency(journal: Path) -> None:
    """Each stage has an event loop of its own, and answers of a stage wait for each other at the disk."""
    with fault_server(Faults(prose=0.7)) as server:
        judge = QuestionQuality(judge=openai_at(server.url))
        dataset = write(server, 60, journal=journal, concurrency=16, quality=judge)
    assert unaccounted(dataset) == set()
    assert {record["stage"] for record in answers(journal)} == {"questions", "judge"}


def test_what_was_written_is_never_written_over(server: FaultServer, journal: Path) -> None:
    write(server, 5, journal=journal)
    before = journal.read_bytes()
    write(server, 9, journal=journal)
    after = journal.read_bytes()
    assert after.startswith(before)
    assert len(answers(journal)) == 9


def test_it_can_be_read_by_its_owner_alone_and_knows_no_key(server: FaultServer, journal: Path) -> None:
    write(server, 3, journal=journal)
    assert stat.S_IMODE(journal.stat().st_mode) == 0o600
    assert KEY not in journal.read_text()


def test_its_folder_is_made(server: FaultServer, tmp_path: Path) -> None:
    write(server, 2, journal=tmp_path / "new" / "folder" / "journal")
    assert len(answers(tmp_path / "new" / "folder" / "journal")) == 2


CHANGES: dict[str, dict[str, Any]] = {
    "template": {"qa_generate_prompt_tmpl": DEFAULT_PROMPT_TMPL + "\nBe brief."},
    "count": {"num_questions_per_chunk": 3},
    "seed": {"seed": 1},
    "language": {"quality": QuestionQuality(language="Norwegian")},
    "temperature": {"quality": QuestionQuality(temperature=0.5)},
    "answer tokens": {"quality": QuestionQuality(max_answer_tokens=999)},
    "styles": {"quality": QuestionQuality(styles={"keyword": 1})},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_an_answer_counts_for_nothing_else_than_what_was_asked(
    server: FaultServer, journal: Path, change: dict[str, Any]
) -> None:
    write(server, 4, journal=journal)
    write(server, 4, journal=journal, **change)
    assert len(answers(journal)) == 8
    write(server, 4, journal=journal)
    write(server, 4, journal=journal, **change)
    assert len(server.done()) == 8, "both are known now"


def test_another_model_answers_anew(server: FaultServer, journal: Path) -> None:
    write(server, 4, journal=journal)
    write(server, 4, openai_at(server.url, model="another"), journal=journal)
    assert len(answers(journal)) == 8


def test_a_changed_chunk_is_asked_about_and_the_others_are_not(server: FaultServer, journal: Path) -> None:
    write(server, 4, journal=journal)
    changed = pages(4)
    changed[2] = replace(changed[2], text="This page, on chunk-number-2, has changed.")
    QADataset.from_llm(changed, openai_at(server.url), journal=journal, progress=False)
    assert [entry.chunk for entry in server.done()[4:]] == [2]


def test_order_and_ids_of_the_chunks_change_nothing(server: FaultServer, journal: Path) -> None:
    write(server, 9, journal=journal)
    renamed = [TextChunk(chunk.text, f"other-{chunk.id}") for chunk in reversed(pages(9))]
    dataset = QADataset.from_llm(renamed, openai_at(server.url), journal=journal, progress=False)
    assert len(server.done()) == 9
    assert len(dataset) == 18


def test_how_fast_it_goes_and_what_it_may_cost_changes_nothing(server: FaultServer, journal: Path) -> None:
    write(server, 4, journal=journal)
    write(server, 4, journal=journal, concurrency=1, retries=0, max_requests=100, requests_per_minute=1e5)
    assert len(server.done()) == 4


def whole(server: FaultServer, journal: Path, n_chunks: int) -> bytes:
    """A journal with one answer a chunk."""
    write(server, n_chunks, journal=journal)
    return journal.read_bytes()


def test_a_last_line_torn_anywhere_is_cut_off(server: FaultServer, journal: Path) -> None:
    content = whole(server, journal, 3)
    start = content.rindex(b"\n", 0, -1) + 1
    for end in range(start, len(content)):
        journal.write_bytes(content[:end])
        with Journal(journal) as found:
            assert found.n_answers == 2
        assert journal.read_bytes() == content[:start], f"torn after {end - start} bytes"


def test_a_header_torn_anywhere_is_written_anew(server: FaultServer, journal: Path) -> None:
    content = whole(server, journal, 1)
    header = content[: content.index(b"\n") + 1]
    for end in range(len(header)):
        journal.write_bytes(header[:end])
        with Journal(journal) as found:
            assert found.n_answers == 0
        assert journal.read_bytes() == header, f"torn after {end} bytes"


@pytest.mark.parametrize("tail", [b"", b"\x00" * 4096, b'{"key": "', b"\xff\xfe"])
def test_after_a_torn_line_one_chunk_is_asked_about_and_the_result_is_the_same(
    server: FaultServer, journal: Path, tail: bytes
) -> None:
    first = write(server, 6, journal=journal)
    content = journal.read_bytes()
    journal.write_bytes(content[: content.rindex(b"\n", 0, -1) + 1] + tail)
    assert shape(write(server, 6, journal=journal)) == shape(first)
    assert len(server.done()) == 7
    assert len(answers(journal)) == 6


STRANGERS = {
    "text": b"Dear diary,\ntoday nothing happened.\n",
    "one word": b"hello",
    "binary": bytes(range(256)) * 8,
    "another journal": b'{"somebody_elses_journal": 1}\n',
    "a newer one": b'{"embedtune_journal": 2}\n',
    "a list": b"[1, 2, 3]\n",
}


@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS)
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(
    server: FaultServer, journal: Path, content: bytes
) -> None:
    journal.write_bytes(content)
    with pytest.raises(
        GenerationError, match=r"journal\.jsonl' is no journal of embedtune, or of another version: it starts"
    ):
        write(server, 1, journal=journal)
    assert journal.read_bytes() == content
    assert server.log == []


DAMAGED = {
    "cut": lambda line: line[:30] + b"\n",
    "blank": lambda line: b"\n",
    "two in one": lambda line: line[:-1] + line,
    "no text": lambda line: re.sub(rb'"text": "[^"]*(?:\\.[^"]*)*"', b'"text": null', line),
    "odd key": lambda line: line.replace(b'"key": "', b'"key": "x'),
    "odd tokens": lambda line: re.sub(rb'"prompt_tokens": \d+', b'"prompt_tokens": "many"', line),
    "less than nothing": lambda line: re.sub(rb'"prompt_tokens": ', b'"prompt_tokens": -', line),
    "deep": lambda line: b"[" * 100_000 + b"\n",
}


@pytest.mark.parametrize("damage", DAMAGED.values(), ids=DAMAGED)
def test_a_line_that_is_damaged_is_named_and_its_answer_alone_asked_for_again(
    server: FaultServer, journal: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    first = write(server, 4, journal=journal)
    lines = journal.read_bytes().splitlines(keepends=True)
    lines[2] = damage(lines[2])
    journal.write_bytes(b"".join(lines))
    assert shape(write(server, 4, journal=journal)) == shape(first)
    assert "line 3 of the journal" in caplog.text
    assert len(server.done()) == 5
    assert journal.read_bytes().startswith(b"".join(lines)), "nothing is cut off"


def test_a_folder_is_no_journal(server: FaultServer, tmp_path: Path) -> None:
    with pytest.raises(GenerationError, match=r"The journal .* cannot be used: .*[Dd]irectory"):
        write(server, 1, journal=tmp_path)


HOLD = """
import sys
from pathlib import Path
from embedtune.generation.journal import Journal
with Journal(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_while_the_first_holds_it_also_if_that_is_killed(
    server: FaultServer, journal: Path
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HOLD, str(journal)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(GenerationError, match=r"Another process is using the journal .* give another file"):
            write(server, 2, journal=journal)
        assert server.log == []
        holder.kill()
    assert len(write(server, 2, journal=journal)) == 4


def test_it_is_free_again_after_a_run_that_failed(journal: Path) -> None:
    with fault_server(Faults(api_key="another")) as server, pytest.raises(GenerationError, match="401"):
        write(server, 2, journal=journal)
    with Journal(journal) as found:
        assert found.n_answers == 0


def test_an_answer_whose_run_is_cancelled_on_the_way_to_the_disk_is_kept(tmp_path: Path) -> None:
    async def keep_and_cancel(found: Journal) -> None:
        kept = [asyncio.ensure_future(found.keep(f"{n:032x}", LLMAnswer(text="Why?"), "questions")) for n in range(8)]
        await asyncio.sleep(0)
        for task in kept:
            task.cancel()
        await asyncio.gather(*kept, return_exceptions=True)

    for number in range(50):  # the moment between handing over and writing is short
        path = tmp_path / f"{number}"
        with Journal(path) as found:
            asyncio.run(keep_and_cancel(found))
        assert len(answers(path)) == 8


def test_half_a_surrogate_pair_in_an_answer_is_kept_as_it_came(journal: Path) -> None:
    text = 'Why \ud800 "quoted" \u2028 \x00 here?\n'
    with Journal(journal) as found:
        asyncio.run(found.keep("a" * 32, LLMAnswer(text=text, finish="stop"), "questions"))
    with Journal(journal) as found:
        answer = found.answer("a" * 32)
    assert answer == LLMAnswer(text=text, finish="stop")
    assert len(journal.read_bytes().splitlines()) == 2
    assert json.loads(journal.read_bytes().splitlines()[0]) == {"embedtune_journal": 1}


def test_a_run_with_faults_that_is_resumed_pays_for_nothing_twice(journal: Path) -> None:
    with fault_server(Faults(prose=0.3, cut=0.1, refused=0.1)) as server:
        limited = write(server, 60, journal=journal, max_requests=37, concurrency=4)
        assert limited.report is not None
        assert "max_requests=37" in str(limited.report.stopped)
        resumed = write(server, 60, journal=journal)
        assert paid_twice(server) == []
    with fault_server(Faults(prose=0.3, cut=0.1, refused=0.1)) as another:
        # The fingerprint holds the address, which changes no answer here.
        assert shape(write(another, 60)) == shape(resumed)
