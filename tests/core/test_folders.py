"""Writing in one piece: after a crash at any moment the old one stands whole, or the new one.

The crashes are real: a child process is killed with SIGKILL, or leaves without cleaning up at a chosen
system call, and its parent heals and looks.
"""

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embedtune import DatasetError, ModelFolderError, QADataset
from embedtune.folders import claim_target, heal, partial_of, replace_file, replace_folder, swap_in
from embedtune.testing import tiny_dataset

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork: POSIX alone has it")

N_FILES = 12
KILLS = 40

PRELUDE = f"""
import json, os, random, shutil, signal, sys, time, traceback
from pathlib import Path
from embedtune import QADataset
from embedtune.folders import heal, replace_folder
from embedtune.testing import tiny_dataset

N_FILES = {N_FILES}
target = Path(sys.argv[1])

def owns(folder):
    return (folder / "file-0").is_file()

def write(version):
    with replace_folder(target, owns) as folder:
        for i in range(N_FILES):
            (folder / f"file-{{i}}").write_text(f"{{version}}" * 500)

def version_of(folder):
    found = {{(entry.name, entry.read_text()[:1], len(entry.read_text())) for entry in folder.iterdir()}}
    assert {{name for name, _, _ in found}} == {{f"file-{{i}}" for i in range(N_FILES)}}, sorted(found)
    assert {{length for _, _, length in found}} == {{500}}, sorted(found)
    (version,) = {{version for _, version, _ in found}}
    return version

def beside():
    return sorted(entry.name for entry in target.parent.iterdir() if entry != target)

def child(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
        except BaseException:
            traceback.print_exc()
            os._exit(2)
        os._exit(0)
    return pid
"""

KILL_FOLDERS = (
    PRELUDE
    + """
def loop():
    while True:
        for version in "12":
            write(version)

write("1")
rng, seen, interrupted = random.Random(0), [], 0
for _ in range(int(sys.argv[2])):
    pid = child(loop)
    time.sleep(rng.uniform(0.001, 0.03))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    interrupted += bool(beside())
    heal(target)
    seen.append(version_of(target))
write("3")
print(json.dumps({"seen": seen, "interrupted": interrupted, "last": version_of(target), "beside": beside()}))
"""
)

KILL_FILES = (
    PRELUDE
    + """
def loop():
    while True:
        for size in (2, 4):
            tiny_dataset(size).save(target)

tiny_dataset(2).save(target)
rng, sizes = random.Random(0), []
for _ in range(int(sys.argv[2])):
    pid = child(loop)
    time.sleep(rng.uniform(0.001, 0.02))
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    sizes.append(len(QADataset.load(target)))
print(json.dumps(sizes))
"""
)

CRASH_AT_EVERY_CALL = (
    PRELUDE
    + """
CALLS = ("rename", "unlink", "rmdir", "mkdir", "open")

def crash_at(step, after):
    left = step
    def counting(call):
        def wrapped(*args, **kwargs):
            nonlocal left
            left -= 1
            if left == 0 and not after:
                os._exit(1)
            try:
                return call(*args, **kwargs)
            finally:
                if left == 0:
                    os._exit(1)
        return wrapped
    for name in CALLS:
        setattr(os, name, counting(getattr(os, name)))
    write("2")

exists = sys.argv[2] == "exists"
outcomes = []
for after in (False, True):
    step, finished = 0, False
    while not finished:
        step += 1
        shutil.rmtree(target, ignore_errors=True)
        if exists:
            write("1")
        pid = child(lambda: crash_at(step, after))
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 1), code
        finished = code == 0
        heal(target)
        outcomes.append(version_of(target) if target.exists() else None)
        left = [name for name in beside() if ".old" in name]
        assert not left, (step, after, left)
        write("3")
        assert version_of(target) == "3"
        assert beside() == [], (step, after, beside())
print(json.dumps(outcomes))
"""
)


def ours(folder: Path) -> bool:
    return (folder / "mark").is_file()


def write(target: Path, content: str) -> None:
    with replace_folder(target, ours) as folder:
        (folder / "mark").write_text(content, encoding="utf-8")


def beside(target: Path) -> list[str]:
    return [entry.name for entry in target.parent.iterdir() if entry != target]


def printed(done: Any) -> Any:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Crashes


@needs_fork
def test_a_folder_killed_at_random_moments_is_whole(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    found = printed(run_python(KILL_FOLDERS, str(tmp_path / "target"), str(KILLS)))
    assert set(found["seen"]) <= {"1", "2"}
    assert len(found["seen"]) == KILLS
    assert found["interrupted"] > KILLS / 8, "too few kills hit a write: the test was on nothing"
    assert (found["last"], found["beside"]) == ("3", [])


@needs_fork
def test_a_data_set_file_killed_at_random_moments_is_whole(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    sizes = printed(run_python(KILL_FILES, str(tmp_path / "set.json"), str(KILLS)))
    assert len(sizes) == KILLS
    assert set(sizes) <= {4, 8}


@needs_fork
@pytest.mark.parametrize("before", ["exists", "is new"])
def test_a_crash_at_every_system_call_leaves_old_or_new(
    before: str, tmp_path: Path, run_python: Callable[..., Any]
) -> None:
    """Before and after each rename, unlink, rmdir, mkdir and open; then it heals and can be written again."""
    outcomes = printed(run_python(CRASH_AT_EVERY_CALL, str(tmp_path / "target"), before))
    old = "1" if before == "exists" else None
    assert set(outcomes) == {old, "2"}
    assert len(outcomes) > 15


@needs_fork
def test_a_beir_folder_loads_after_a_kill_between_the_renames(tmp_path: Path) -> None:
    """Loading heals by itself."""
    tiny_dataset(4).save(tmp_path / "set", format="beir")
    (tmp_path / "set").rename(tmp_path / ".set.old")
    assert len(QADataset.load(tmp_path / "set")) == 8
    assert beside(tmp_path / "set") == []


def test_heal_does_nothing_where_nothing_happened(tmp_path: Path) -> None:
    heal(tmp_path / "gone")
    assert list(tmp_path.iterdir()) == []
    write(tmp_path / "target", "one")
    heal(tmp_path / "target")
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]


def test_a_finished_new_one_wins_over_the_old_one(tmp_path: Path) -> None:
    """Killed after the new one was complete: its work is not lost."""
    target = tmp_path / "target"
    write(target, "old")
    with claim_target(target) as partial:
        (partial / "new" / "mark").write_text("new", encoding="utf-8")
        (partial / ".complete").touch()
    heal(target)
    assert (target / "mark").read_text(encoding="utf-8") == "new"
    assert beside(target) == []


# Errors inside


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_leaves_the_old_folder_and_nothing_beside(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(target, "old")

    def fail() -> None:
        with replace_folder(target, ours) as folder:
            (folder / "mark").write_text("new", encoding="utf-8")
            raise error

    with pytest.raises(error):
        fail()
    assert (target / "mark").read_text(encoding="utf-8") == "old"
    assert beside(target) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_an_error_inside_leaves_the_old_file_and_nothing_beside(error: type[BaseException], tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old", encoding="utf-8")

    def fail() -> None:
        with replace_file(target) as partial:
            partial.write_text("new", encoding="utf-8")
            raise error

    with pytest.raises(error):
        fail()
    assert target.read_text(encoding="utf-8") == "old"
    assert beside(target) == []


# Targets


def test_a_new_and_an_empty_folder_are_written(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "deep/er/new"):
        write(tmp_path / name, "one")
        assert (tmp_path / name / "mark").read_text(encoding="utf-8") == "one"


def test_a_folder_of_ours_is_replaced_whole(tmp_path: Path) -> None:
    target = tmp_path / "target"
    write(target, "one")
    (target / "left over").touch()
    write(target, "two")
    assert [entry.name for entry in target.iterdir()] == ["mark"]


def test_a_folder_that_is_not_ours_is_refused_and_named(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ModelFolderError, match=r"not written by embedtune \(it holds 'thesis.tex', \.\.\.\)"):
        write(tmp_path, "one")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    assert not partial_of(tmp_path).exists()


@pytest.mark.parametrize("kind", ["file", "link", "dangling link"])
def test_a_file_or_a_link_is_refused(kind: str, tmp_path: Path) -> None:
    """Renaming onto a link would replace the link and leave the folder behind it as it was."""
    target = tmp_path / "target"
    if kind == "file":
        target.touch()
    else:
        write(tmp_path / "real", "one")
        target.symlink_to(tmp_path / ("real" if kind == "link" else "gone"), target_is_directory=True)
    with pytest.raises(ModelFolderError, match="is a file or a link, not a folder"):
        write(target, "two")


def test_two_writers_of_one_target_are_told_apart(tmp_path: Path) -> None:
    pytest.importorskip("fcntl", reason="needs flock")
    target = tmp_path / "target"
    with replace_folder(target, ours) as folder:
        (folder / "mark").write_text("first", encoding="utf-8")
        with pytest.raises(ModelFolderError, match=r"Another process is writing .*target"):
            write(target, "second")
        heal(target)
    assert (target / "mark").read_text(encoding="utf-8") == "first"
    assert beside(target) == []


def test_a_load_beside_a_living_writer_waits_for_nothing(tmp_path: Path) -> None:
    """The writer holds its partial folder; a reader must neither remove nor finish it."""
    tiny_dataset(2).save(tmp_path / "set", format="beir")
    with replace_folder(tmp_path / "set", lambda folder: True) as new:
        (new / "corpus.jsonl").touch()
        assert len(QADataset.load(tmp_path / "set")) == 4


@needs_fork
def test_many_processes_on_one_target_end_with_a_whole_one(tmp_path: Path, run_python: Callable[..., Any]) -> None:
    """Each either writes or is refused with our error; the lock may vanish under their hands."""
    script = (
        PRELUDE
        + """
from embedtune import ModelFolderError

def worker(version):
    written, deadline = 0, time.monotonic() + 1.0
    while time.monotonic() < deadline:
        try:
            write(version)
            written += 1
        except ModelFolderError as error:
            assert "Another process is writing" in str(error), error
    Path(sys.argv[2], version).write_text(str(written))

def guarded(version):
    try:
        worker(version)
    except BaseException as error:
        Path(sys.argv[2], version).write_text(f"{type(error).__name__}: {error}")

pids = [child(lambda v=v: guarded(v)) for v in "1234"]
for pid in pids:
    os.waitpid(pid, 0)
heal(target)
found = [Path(sys.argv[2], version).read_text() for version in "1234"]
print(json.dumps({"written": found, "last": version_of(target), "beside": beside()}))
"""
    )
    (tmp_path / "counts").mkdir()
    (tmp_path / "room").mkdir()
    found = printed(run_python(script, str(tmp_path / "room" / "target"), str(tmp_path / "counts")))
    assert all(count.isdigit() for count in found["written"]), found["written"]
    assert sum(map(int, found["written"])) > 10
    assert found["last"] in set("1234")
    assert found["beside"] == []


# What an interrupted run leaves


@pytest.mark.parametrize("keep", [True, False])
def test_what_an_interrupted_run_left_is_kept_to_resume_and_cleaned_otherwise(keep: bool, tmp_path: Path) -> None:
    target = tmp_path / "target"
    with claim_target(target) as partial:
        (partial / "checkpoint-10").mkdir()
        (partial / "checkpoint-10" / "weights").touch()
        (partial / "new" / "half").touch()
    heal(target)
    with claim_target(target, keep=keep) as partial:
        assert (partial / "checkpoint-10" / "weights").exists() is keep
        assert list((partial / "new").iterdir()) == []
        (partial / "new" / "mark").touch()
        swap_in(target)
    assert [entry.name for entry in tmp_path.iterdir()] == ["target"]
    assert [entry.name for entry in target.iterdir()] == ["mark"]


def test_a_load_where_only_an_unfinished_write_stands_says_that_nothing_is_there(tmp_path: Path) -> None:
    with claim_target(tmp_path / "set") as partial:
        (partial / "new" / "corpus.jsonl").touch()
    with pytest.raises(DatasetError, match="There is no data set at"):
        QADataset.load(tmp_path / "set")


def test_a_file_that_a_killed_process_left_is_removed_by_the_next_write(tmp_path: Path) -> None:
    """Its process is gone; one of a living process stays."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".data.json.{dead.pid}-0.partial").write_text("half")
    (tmp_path / f".data.json.{os.getpid()}-999.partial").write_text("being written")
    tiny_dataset().save(tmp_path / "data.json")
    assert {path.name for path in tmp_path.iterdir()} == {"data.json", f".data.json.{os.getpid()}-999.partial"}
