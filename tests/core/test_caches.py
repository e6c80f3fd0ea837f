"""Vectors and scores on disk: kept by content, shared by processes, never wrong, never worth an error."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embedtune.disk_store
from embedtune import EmbeddingError, EvaluationError
from embedtune.caches import CachedEmbedder, ScoreCache, VectorCache
from embedtune.disk_store import DiskStore
from embedtune.evaluation import evaluate_search
from embedtune.protocols import Vectors
from embedtune.resolve import as_search
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset

RunPython = Callable[..., Any]

TEXTS = [f"text {i} on apples" for i in range(300)]


class Counting(HashEmbedder):
    """Counts what it embeds; each side has vectors of its own."""

    def __init__(self, fingerprint: str | None = "counting", dim: int = 16) -> None:
        super().__init__(dim)
        self._fingerprint = fingerprint
        self.embedded: list[str] = []

    @property
    def fingerprint(self) -> str | None:  # type: ignore[override]
        return self._fingerprint

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        return -self.embed_documents(texts)

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        return super().embed_documents(texts)


def the_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


class TestCachedEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path

    def make(self) -> CachedEmbedder:
        return CachedEmbedder(HashEmbedder(), self.folder)


# Keys


def test_a_second_run_embeds_nothing_and_gets_the_same_bits(tmp_path: Path) -> None:
    first = CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS)
    again = Counting()
    np.testing.assert_array_equal(CachedEmbedder(again, tmp_path).embed_documents(TEXTS[::-1])[::-1], first)
    assert again.embedded == []


def test_only_new_texts_are_embedded_each_once(tmp_path: Path) -> None:
    CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS[:3])
    again = Counting()
    CachedEmbedder(again, tmp_path).embed_documents([*TEXTS[1:5], TEXTS[4]])
    assert again.embedded == TEXTS[3:5]


def test_queries_and_documents_are_kept_apart(tmp_path: Path) -> None:
    embedder = CachedEmbedder(Counting(), tmp_path)
    np.testing.assert_array_equal(embedder.embed_queries(["a"]), -embedder.embed_documents(["a"]))
    np.testing.assert_array_equal(embedder.embed_queries(["a"]), -embedder.embed_documents(["a"]))


def test_models_are_kept_apart_by_fingerprint(tmp_path: Path) -> None:
    CachedEmbedder(Counting("one"), tmp_path).embed_documents(TEXTS)
    other = Counting("other/../model:\n\x00 ünï")
    CachedEmbedder(other, tmp_path).embed_documents(TEXTS)
    assert other.embedded == TEXTS
    assert len(list(tmp_path.iterdir())) == 2


def test_texts_are_told_apart_to_the_letter(tmp_path: Path) -> None:
    """A tokenizer may treat composed and decomposed letters differently, and white space too."""
    texts = ["Zürich", "Zu\u0308rich", "Zürich ", "", "\ud800", "'; DROP TABLE entries; --", "a\x00b"]
    CachedEmbedder(Counting(), tmp_path).embed_documents(texts[:1])
    other = Counting()
    CachedEmbedder(other, tmp_path).embed_documents([text for text in texts if text != "\ud800"])
    assert other.embedded == [text for text in texts[1:] if text != "\ud800"]
    cache = VectorCache(tmp_path)
    cache.keep("f", "query", texts, np.eye(len(texts), dtype=np.float32))
    assert {text: int(vector.argmax()) for text, vector in cache.known("f", "query", texts).items()} == {
        text: place for place, text in enumerate(texts)
    }


def test_without_a_fingerprint_nothing_is_kept_and_it_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    embedder = Counting(fingerprint=None)
    cached = CachedEmbedder(embedder, tmp_path)
    for _ in range(2):
        cached.embed_documents(TEXTS[:2])
    assert embedder.embedded == TEXTS[:2] * 2
    assert list(tmp_path.iterdir()) == []
    assert caplog.messages == ["Counting has no fingerprint: its vectors are kept nowhere, and embedded at each run"]


def test_a_fingerprint_that_hides_a_change_of_width_is_named(tmp_path: Path) -> None:
    CachedEmbedder(Counting(dim=16), tmp_path).embed_documents(["a"])
    with pytest.raises(EmbeddingError, match=r"'Counting' have \[8, 16\] dimensions under one fingerprint, 'counting'"):
        CachedEmbedder(Counting(dim=8), tmp_path).embed_documents(["a", "b"])


def test_bad_vectors_are_refused_and_not_kept(tmp_path: Path) -> None:
    class Broken(Counting):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            return np.full((len(texts), 4), np.nan, dtype=np.float32)

    with pytest.raises(EmbeddingError, match="'Broken' returned NaN"):
        CachedEmbedder(Broken(), tmp_path).embed_documents(["a"])
    assert list(tmp_path.iterdir()) == []


def test_scores_of_a_pair_are_kept_by_both_texts(tmp_path: Path) -> None:
    cache = ScoreCache(tmp_path)
    cache.keep("f", {("ab", "c"): 1.5, ("a", "bc"): -2.0})
    known = ScoreCache(tmp_path).known("f", [("ab", "c"), ("a", "bc"), ("abc", "")])
    assert known == {("ab", "c"): 1.5, ("a", "bc"): -2.0}
    assert ScoreCache(tmp_path).known("other", [("ab", "c")]) == {}


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("mine")
    with pytest.raises(EvaluationError, match=r"No cache can be kept in .*cache'.*Give a folder"):
        VectorCache(tmp_path / "cache")
    assert (tmp_path / "cache").read_text() == "mine"


def test_a_model_that_is_searched_keeps_its_vectors(tmp_path: Path) -> None:
    dataset = tiny_dataset()
    for expected in (12, 0):
        model = Counting()
        search, _ = as_search(model, dataset.corpus, cache=tmp_path)
        evaluate_search(search, dataset, top_k=1)
        assert len(model.embedded) == expected


def test_the_folder_of_a_models_record_is_passed_on(tmp_path: Path) -> None:
    embedder = Counting()
    assert CachedEmbedder(embedder, tmp_path).record_folder is None
    embedder.folder = tmp_path / "model"  # type: ignore[attr-defined]
    assert CachedEmbedder(embedder, tmp_path).record_folder == tmp_path / "model"


# Crashes, damage and other processes


def test_what_was_embedded_before_a_crash_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(Counting):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            if len(self.embedded) >= 200:
                raise KeyboardInterrupt
            return super().embed_documents(texts)

    monkeypatch.setattr("embedtune.caches._TEXTS_AT_ONCE", 100)
    with pytest.raises(KeyboardInterrupt):
        CachedEmbedder(Dying(), tmp_path).embed_documents(TEXTS)
    again = Counting()
    CachedEmbedder(again, tmp_path).embed_documents(TEXTS)
    assert again.embedded == TEXTS[200:]


def test_a_process_that_is_killed_in_the_middle_of_a_write_leaves_the_old_content(
    tmp_path: Path, run_python: RunPython
) -> None:
    store = DiskStore(tmp_path / "store.sqlite")
    store.write({b"old": b"1"})
    done = run_python(
        "import os, sys\nfrom pathlib import Path\nfrom embedtune.disk_store import DiskStore\n"
        "class Killing(dict):\n"
        "    def items(self):\n"
        "        yield from ((b'%d' % i, b'x' * 4096) for i in range(5000))\n"
        "        os.kill(os.getpid(), 9)\n"
        "DiskStore(Path(sys.argv[1])).write(Killing(a=1))\n",
        str(store.path),
    )
    assert done.returncode == -9, done.stderr
    assert store.read([b"old", b"1", b"4999"]) == {b"old": b"1"}
    store.write({b"new": b"2"})
    assert DiskStore(store.path).read([b"old", b"new"]) == {b"old": b"1", b"new": b"2"}


@pytest.mark.parametrize(
    "content",
    [b"", b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096],
    ids=["empty", "text", "torn"],
)
def test_a_file_that_is_no_database_is_made_anew(
    content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS)
    the_file(tmp_path).write_bytes(content)
    np.testing.assert_array_equal(CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS), whole)
    again = Counting()
    CachedEmbedder(again, tmp_path).embed_documents(TEXTS)
    assert again.embedded == [], "the new file is of use"
    assert [message for message in caplog.messages if "is damaged" in message] == caplog.messages[: len(content) > 0]


@pytest.mark.parametrize("damage", ["cut", "one byte", "many bytes", "a block of zeros"])
def test_damage_anywhere_never_gives_a_wrong_vector(damage: str, tmp_path: Path) -> None:
    """Each round spoils another part of the file."""
    embedder = Counting()
    whole = CachedEmbedder(embedder, tmp_path).embed_documents(TEXTS)
    good = the_file(tmp_path).read_bytes()
    random = np.random.default_rng(0)
    for _ in range(15):
        content, place = bytearray(good), int(random.integers(len(good)))
        if damage == "cut":
            del content[place:]
        elif damage == "one byte":
            content[place] ^= 1 << int(random.integers(8))
        elif damage == "many bytes":
            for spot in random.integers(len(good), size=200):
                content[spot] = int(random.integers(256))
        else:
            content[place : place + 4096] = bytes(len(content[place : place + 4096]))
        the_file(tmp_path).write_bytes(bytes(content))
        np.testing.assert_array_equal(CachedEmbedder(embedder, tmp_path).embed_documents(TEXTS), whole)


def test_a_changed_value_is_computed_anew_with_a_line_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    whole = CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS)
    with sqlite3.connect(the_file(tmp_path)) as connection:
        connection.execute("UPDATE entries SET value = zeroblob(64) WHERE rowid <= 2")
    connection.close()
    again = Counting()
    np.testing.assert_array_equal(CachedEmbedder(again, tmp_path).embed_documents(TEXTS), whole)
    assert len(again.embedded) == 2
    assert "2 entries of" in caplog.text
    assert "have changed on the disk; they are computed anew" in caplog.text


def test_a_file_that_another_process_holds_is_gone_without(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedtune.disk_store, "_WAIT_SECONDS", 0.05)
    whole = CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS[:10])
    holder = sqlite3.connect(the_file(tmp_path), isolation_level=None)
    holder.execute("BEGIN EXCLUSIVE")
    cached = CachedEmbedder(Counting(), tmp_path)
    for _ in range(2):
        np.testing.assert_array_equal(cached.embed_documents(TEXTS[:10]), whole)
    holder.close()
    (message,) = caplog.messages
    assert message.endswith("cannot be used (database is locked); going on without it")


def test_a_folder_that_is_taken_away_is_gone_without(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = VectorCache(tmp_path / "cache")
    (tmp_path / "cache").rmdir()
    embedder = Counting()
    CachedEmbedder(embedder, cache).embed_documents(TEXTS[:2])
    assert embedder.embedded == TEXTS[:2]
    assert "cannot be used (unable to open database file); going on without it" in caplog.text


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path, run_python: RunPython) -> None:
    writer = (
        "import subprocess, sys\nfrom pathlib import Path\nfrom embedtune.disk_store import DiskStore\n"
        "if len(sys.argv) == 2:\n"
        "    others = [subprocess.Popen([sys.executable, '-c', sys.orig_argv[2], sys.argv[1], n]) for n in '123']\n"
        "    sys.exit(max(other.wait() for other in others))\n"
        "store = DiskStore(Path(sys.argv[1]))\n"
        "for i in range(40):\n"
        "    store.write({f'{sys.argv[2]}-{i}-{j}'.encode(): b'x' * 1000 for j in range(10)})\n"
    )
    done = run_python(writer, str(tmp_path / "store.sqlite"))
    assert (done.returncode, done.stderr) == (0, "")
    keys = [f"{n}-{i}-{j}".encode() for n in "123" for i in range(40) for j in range(10)]
    assert len(DiskStore(tmp_path / "store.sqlite").read(keys)) == 1200


def test_the_log_says_how_much_was_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS[:3])
    with caplog.at_level(logging.INFO):
        CachedEmbedder(Counting(), tmp_path).embed_documents(TEXTS[:5])
    assert caplog.messages == ["3 of 5 texts (document) are in the cache"]
