"""A reranker by reference, as frameworks' classes hold it."""

import pickle
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest

from embedtune import EvaluationError, ModelNotFoundError, PluginManager, hookimpl
from embedtune.framework_reranker import LazyReranker
from embedtune.plugins import RerankerBackend
from embedtune.protocols import Vectors
from embedtune.testing import WordReranker
from subprocesses import run_python


class Slow:
    """Fails where two threads are in it at once."""

    fingerprint = None
    _inside = 0

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        self._inside += 1
        assert self._inside == 1
        threading.Event().wait(0.01)
        self._inside -= 1
        return np.zeros(len(pairs), dtype=np.float32)


def manager(load: Callable[..., WordReranker]) -> PluginManager:
    """One plugin that has one backend of rerankers, `words`."""

    class Plugin:
        @hookimpl
        def embedtune_rerankers(self) -> Iterable[RerankerBackend]:
            yield RerankerBackend(name="words", load=load, matches=lambda ref: True, summary="words")

    made = PluginManager(found=[])
    made.register(Plugin(), "words", "test 1")
    return made


def test_it_is_loaded_once_and_at_its_first_score() -> None:
    loaded: list[tuple[str, object]] = []

    def load(ref: str, device: object = None) -> WordReranker:
        loaded.append((ref, device))
        return WordReranker()

    lazy = LazyReranker("words:mine", {"device": "cpu", "batch_size": None}, plugins=manager(load))
    assert (loaded, lazy.ref) == ([], "words:mine")
    assert [lazy.ranked("red", ["blue", "red"])[0] for _ in range(2)] == [(1, 1.0)] * 2
    assert loaded == [("mine", "cpu")]
    assert lazy.fingerprint == "word-reranker"


def test_of_equal_scores_the_order_given_stays_and_only_so_many_are_given() -> None:
    lazy = LazyReranker(WordReranker())
    assert lazy.ranked("red", ["blue", "red", "green", "red"], 3) == [(1, 1.0), (3, 1.0), (0, 0.0)]
    assert lazy.ranked("red", []) == []


def test_threads_take_turns() -> None:
    lazy, done = LazyReranker(Slow()), []
    threads = [threading.Thread(target=lambda: done.append(lazy.ranked("a", ["b"]))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == [[(0, 0.0)]] * 4


def test_scores_that_are_not_one_for_each_are_refused() -> None:
    class Short(WordReranker):
        def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
            return super().score(pairs[:1])

    with pytest.raises(EvaluationError, match=r"Reranker 'Short' returned shape \(1,\) for 2 pairs"):
        LazyReranker(Short()).ranked("a", ["b", "c"])


def test_a_folder_that_is_not_there_is_told_before_a_framework_is_imported() -> None:
    done = run_python(
        "import sys\nfrom embedtune import ModelNotFoundError\n"
        "from embedtune.framework_reranker import LazyReranker\n"
        "try:\n    LazyReranker('./none')\nexcept ModelNotFoundError as error:\n    print('torch' in sys.modules)"
    )
    assert done == "False"
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './none'"):
        LazyReranker("./none")


def test_options_of_what_is_loaded_already_are_refused() -> None:
    with pytest.raises(EvaluationError, match="The options 'device' are for a reranker given by reference"):
        LazyReranker(WordReranker(), {"device": "cpu"})


def test_a_path_is_made_absolute_and_pickles_as_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(tmp_path)
    lazy = LazyReranker(Path("model"))
    assert lazy.ref == str(tmp_path / "model")
    assert pickle.loads(pickle.dumps(lazy)).ref == lazy.ref
