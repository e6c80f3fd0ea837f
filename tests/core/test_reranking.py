"""Reranking over any search: what is fetched, what is scored, in which order it comes back."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from embedtune import EvaluationError, ExactSearch, ModelNotFoundError, PluginManager, QADataset, Reranker, Search
from embedtune.caches import ScoreCache
from embedtune.evaluation import evaluate_search
from embedtune.plugins import RerankerBackend, hookimpl
from embedtune.protocols import Vectors
from embedtune.reranking import RerankedSearch, ScoreOnce, checked_scores
from embedtune.resolve import as_reranker
from embedtune.testing import HashEmbedder, RerankerContract, SearchContract, WordReranker, tiny_dataset

CORPUS = {f"c{i}": f"text {i}" for i in range(60)}


class InOrder:
    """Finds the chunks in the corpus' order, and notes how many it was asked for."""

    def __init__(self, ids: Sequence[str] = tuple(CORPUS)) -> None:
        self.ids = list(ids)
        self.asked: list[tuple[int, int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
        self.asked.append((len(queries), k))
        return [self.ids[:k] for _ in queries]


class ByNumber:
    """Scores a text by the number at its end; notes every pair."""

    def __init__(self, fingerprint: str | None = None) -> None:
        self.fingerprint = fingerprint
        self.calls: list[list[tuple[str, str]]] = []

    @property
    def pairs(self) -> list[tuple[str, str]]:
        return [pair for call in self.calls for pair in call]

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        self.calls.append(list(pairs))
        return np.array([int(text.split()[-1]) for _, text in pairs], dtype=np.float32)


class Same(ByNumber):
    """Finds all texts equally good."""

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        return super().score(pairs) * 0


class TestWordReranker(RerankerContract):
    def make(self) -> Reranker:
        return WordReranker()


class TestScoreOnce(RerankerContract):
    def make(self) -> Reranker:
        return ScoreOnce(WordReranker())


class TestRerankedSearch(SearchContract):
    def make(self, corpus: Mapping[str, str]) -> Search:
        return RerankedSearch(ExactSearch(corpus, HashEmbedder()), corpus, WordReranker())


# What is fetched and how it is ordered


def test_the_best_of_the_depth_come_back_not_of_k() -> None:
    """A reranker that sees k finds alone cannot change what is among the first k."""
    search = InOrder()
    assert RerankedSearch(search, CORPUS, ByNumber(), depth=20).search(["q"], k=3) == [["c19", "c18", "c17"]]
    assert search.asked == [(1, 20)]


def test_what_stands_beyond_the_depth_is_not_seen() -> None:
    assert RerankedSearch(InOrder(), CORPUS, ByNumber(), depth=5).search(["q"], k=5)[0][0] == "c4"


def test_k_beyond_the_depth_gives_k_the_rest_in_the_order_of_the_search() -> None:
    """As where a reranker is deployed; and a large cut-off must not multiply what is scored."""
    search, reranker = InOrder(), ByNumber()
    assert RerankedSearch(search, CORPUS, reranker, depth=2).search(["q"], k=4) == [["c1", "c0", "c2", "c3"]]
    assert search.asked == [(1, 4)]
    assert len(reranker.pairs) == 2


def test_equal_scores_keep_the_order_of_the_search() -> None:
    ids = ["c7", "c3", "c9", "c1"]
    assert RerankedSearch(InOrder(ids), CORPUS, Same()).search(["q"], k=4) == [ids]


def test_repeated_ids_are_one_find() -> None:
    search = RerankedSearch(InOrder(["c1", "c5", "c1", "c5"]), CORPUS, ByNumber())
    assert search.search(["q"], k=4) == [["c5", "c1"]]


def test_finds_that_are_not_in_the_corpus_stay_last_and_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    search = RerankedSearch(InOrder(["zz", "c1", "aa", "c5"]), CORPUS, ByNumber())
    for _ in range(2):
        assert search.search(["q", "r"], k=4) == [["c5", "c1", "zz", "aa"]] * 2
    assert caplog.messages == [
        "2 ids that the search found are not in the corpus, such as 'aa': without a text they stay last"
    ]


def test_no_finds_no_queries_and_no_depth_score_nothing() -> None:
    reranker = ByNumber()
    assert RerankedSearch(InOrder([]), CORPUS, reranker).search(["q"], k=3) == [[]]
    assert RerankedSearch(InOrder(), CORPUS, reranker).search([], k=3) == []
    assert RerankedSearch(InOrder(), CORPUS, reranker).search(["q"], k=0) == [[]]
    assert reranker.calls == []


def test_a_depth_below_one_is_refused() -> None:
    with pytest.raises(EvaluationError, match="depth must be at least 1; got 0"):
        RerankedSearch(InOrder(), CORPUS, ByNumber(), depth=0)


def test_too_few_rankings_are_refused() -> None:
    class Silent(InOrder):
        def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
            return []

    with pytest.raises(EvaluationError, match="returned 0 rankings for 2 queries"):
        RerankedSearch(Silent(), CORPUS, ByNumber()).search(["q", "r"], k=1)


def test_a_search_that_fails_on_one_query_loses_that_query_alone(caplog: pytest.LogCaptureFixture) -> None:
    class Moody(InOrder):
        def search(self, queries: Sequence[str], k: int) -> list[list[str]]:
            if "text 7?" in queries:
                raise RuntimeError("timed out")
            return super().search(queries, k)

    queries = {f"q {i}": f"text {i}?" for i in (3, 7, 9)}  # an id with a space is an id
    dataset = QADataset(queries, CORPUS, {query: [f"c{query[2:]}"] for query in queries})
    reranker = WordReranker()
    found = evaluate_search(RerankedSearch(Moody(), CORPUS, reranker, depth=60), dataset, top_k=1)
    assert found.failed_queries == ("q 7",)
    assert [row["is_hit"] for row in found] == [True, False, True]


# What is scored


def test_each_pair_is_scored_once_over_queries_searches_and_copies_of_a_text() -> None:
    corpus = {"a": "text 1", "b": "text 2", "copy": "text 1"}
    once = ScoreOnce(reranker := ByNumber())
    for ids in (["a", "b", "copy"], ["copy", "b"]):
        RerankedSearch(InOrder(ids), corpus, once).search(["q", "r", "q"], k=3)
    assert sorted(reranker.pairs) == [("q", "text 1"), ("q", "text 2"), ("r", "text 1"), ("r", "text 2")]


def test_a_search_of_its_own_keeps_scores_for_its_life() -> None:
    reranker = ByNumber()
    search = RerankedSearch(InOrder(), CORPUS, reranker, depth=5)
    search.search(["q"], k=1)
    search.search(["q"], k=3)
    assert len(reranker.pairs) == 5


def test_batches_hold_whole_queries(monkeypatch: pytest.MonkeyPatch) -> None:
    """LanceDB's rerankers take one query and its texts in a call."""
    monkeypatch.setattr("embedtune.reranking._PAIRS_AT_ONCE", 8)
    reranker = ByNumber()
    RerankedSearch(InOrder(), CORPUS, reranker, depth=5).search(["q", "r", "s"], k=1)
    assert [[query for query, _ in call] for call in reranker.calls] == [["q"] * 5 + ["r"] * 5, ["s"] * 5]


def test_scores_are_kept_on_disk_by_fingerprint(tmp_path: Path) -> None:
    pairs = [("q", "text 1"), ("q", "text 2")]
    first = ScoreOnce(ByNumber("one"), ScoreCache(tmp_path)).score(pairs)
    again, other = ByNumber("one"), ByNumber("other")
    np.testing.assert_array_equal(ScoreOnce(again, ScoreCache(tmp_path)).score([*pairs, ("q", "text 3")])[:2], first)
    ScoreOnce(other, ScoreCache(tmp_path)).score(pairs)
    assert again.pairs == [("q", "text 3")]
    assert other.pairs == pairs


def test_without_a_fingerprint_no_score_goes_to_disk(tmp_path: Path) -> None:
    for _ in range(2):
        once = ScoreOnce(reranker := ByNumber(None), ScoreCache(tmp_path))
        for _ in range(2):
            once.score([("q", "text 1")])
        assert reranker.pairs == [("q", "text 1")]
    assert list(tmp_path.iterdir()) == []


def test_a_reranker_that_dies_keeps_what_it_has_scored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Dying(ByNumber):
        def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
            if len(self.calls) == 2:
                raise KeyboardInterrupt
            return super().score(pairs)

    monkeypatch.setattr("embedtune.reranking._PAIRS_AT_ONCE", 1)
    pairs = [(f"q{i}", "text 1") for i in range(4)]
    with pytest.raises(KeyboardInterrupt):
        ScoreOnce(Dying("f"), ScoreCache(tmp_path)).score(pairs)
    ScoreOnce(again := ByNumber("f"), ScoreCache(tmp_path)).score(pairs)
    assert again.pairs == pairs[2:]


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([[1.0], [2.0]], r"'Given' returned shape \(2, 1\) for 2 pairs; expected \(2,\)"),
        ([1.0], r"'Given' returned shape \(1,\) for 2 pairs"),
        ([1.0, float("nan")], "'Given' returned NaN or infinity for pair 1 of 2"),
        ([1e300, 1.0], "'Given' returned NaN or infinity for pair 0 of 2"),
        (["high", "low"], "'Given' did not return numbers"),
        (None, "'Given'"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_scores_are_refused(scores: object, message: str) -> None:
    with pytest.raises(EvaluationError, match=message):
        checked_scores(scores, 2, "Given")


# By reference or by claim


def test_a_reranker_is_found_by_reference_by_claim_or_as_it_is(plugins: PluginManager) -> None:
    class Plugin:
        @hookimpl
        def embedtune_rerankers(self) -> list[RerankerBackend]:
            return [RerankerBackend(name="numbers", load=lambda ref: ByNumber(ref))]

        @hookimpl
        def embedtune_as_reranker(self, thing: object) -> Reranker | None:
            return ByNumber("claimed") if thing == 42 else None

    plugins.register(Plugin(), "numbers", "numbers 1.0")
    assert as_reranker("numbers:big", plugins).fingerprint == "big"
    assert as_reranker(42, plugins).fingerprint == "claimed"
    own = ByNumber()
    assert as_reranker(own, plugins) is own


@pytest.mark.parametrize("kind", [str, Path])
def test_a_missing_folder_is_named(kind: type, plugins: PluginManager) -> None:
    with pytest.raises(ModelNotFoundError, match=r"No model folder at '.*no/such/model'"):
        as_reranker(kind("./no/such/model"), plugins)


def test_a_stranger_is_no_reranker(plugins: PluginManager) -> None:
    with pytest.raises(EvaluationError, match=r"HashEmbedder is no reranker that an installed plugin knows"):
        as_reranker(HashEmbedder(), plugins)


def test_reranking_lifts_a_search_that_finds_but_does_not_rank() -> None:
    dataset = tiny_dataset(8)
    search = InOrder(list(dataset.corpus))
    plain = evaluate_search(search, dataset, top_k=1).hit_rate
    assert evaluate_search(RerankedSearch(search, dataset.corpus, WordReranker()), dataset, top_k=1).hit_rate == 1.0
    assert plain < 0.2
