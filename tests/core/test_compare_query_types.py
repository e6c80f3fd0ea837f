"""`compare` over query types: what is refused early, what is done once, what a cache saves, what the settings say."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from embedtune import EvaluationError, ModelNotFoundError, PluginManager, QADataset, compare
from embedtune.plugins import SearchBackend, hookimpl
from embedtune.protocols import Embedder, Search, Vectors
from embedtune.records import ModelRecord, SeenTexts
from embedtune.testing import HashEmbedder, WordReranker, WordSearch, tiny_dataset


class Counting(HashEmbedder):
    """Counts what it embeds."""

    def __init__(self, dim: int = 64, folder: Path | None = None) -> None:
        super().__init__(dim)
        self.folder = folder
        self.embedded: list[str] = []

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        self.embedded += texts
        return super().embed_documents(texts)


class CountingReranker(WordReranker):
    """Counts what it scores."""

    def __init__(self) -> None:
        self.scored: list[tuple[str, str]] = []

    def score(self, pairs: Sequence[tuple[str, str]]) -> Vectors:
        self.scored += pairs
        return super().score(pairs)


class Engine:
    """Vectors and words; notes what is loaded and asked."""

    loaded: list[Embedder | None]
    asked: list[tuple[str, int]]

    def __init__(self, corpus: Mapping[str, str], embedder: Embedder | None) -> None:
        Engine.loaded.append(embedder)
        self.corpus, self.embedder = corpus, embedder

    def searcher(self, query_type: str) -> Search:
        from embedtune import ExactSearch

        words = query_type == "fts" or self.embedder is None
        search = WordSearch(self.corpus) if words else ExactSearch(self.corpus, self.embedder)  # type: ignore[arg-type]

        def noted(queries: Sequence[str], k: int) -> list[list[str]]:
            Engine.asked.append((query_type, k))
            return search.search(queries, k)

        return SimpleNamespace(search=noted)

    def index_recall(self, queries: Sequence[str], k: int) -> float:
        return 0.75


BACKEND = SearchBackend(
    name="words", query_types=("vector", "vector_indexed", "fts", "hybrid"), load=Engine, options={"depth": 3}
)


@pytest.fixture
def no_doctor(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is embedded for findings, a few texts where the verdict is not *ship*, is not what is searched."""
    monkeypatch.setattr("embedtune.comparison.comparing.diagnose", lambda *arguments: ())


@pytest.fixture
def with_engine(plugins: PluginManager) -> PluginManager:
    class Plugin:
        @hookimpl
        def embedtune_search_engines(self) -> list[SearchBackend]:
            return [BACKEND]

    Engine.loaded, Engine.asked = [], []
    plugins.register(Plugin(), "words", "words 1.0")
    return plugins


# Refused before anything is loaded

MISSING = ("./no/such/model", "./nor/this")


def test_a_reranked_type_needs_a_reranker(plugins: PluginManager) -> None:
    with pytest.raises(
        EvaluationError, match=r"'reranked_vector' needs a reranker \(reranker=, --reranker\): give a model"
    ):
        compare(*MISSING, tiny_dataset(), ("vector", "reranked_vector"), plugins=plugins)


def test_a_reranker_needs_a_reranked_type(plugins: PluginManager) -> None:
    with pytest.raises(EvaluationError, match=r"no query type is reranked: add 'reranked_vector' to query_types"):
        compare(*MISSING, tiny_dataset(), reranker=WordReranker(), plugins=plugins)


def test_a_depth_below_one_is_refused(plugins: PluginManager) -> None:
    with pytest.raises(EvaluationError, match="depth must be at least 1; got 0"):
        compare(*MISSING, tiny_dataset(), ("reranked_vector",), reranker=WordReranker(), depth=0, plugins=plugins)


@pytest.mark.parametrize("query_type", ["auto", "reranked_auto", "reranked_", "search"])
def test_an_unknown_type_names_those_there_are(query_type: str, with_engine: PluginManager) -> None:
    with pytest.raises(EvaluationError, match=r"The engine 'words' has no query type '.*'; it has \('vector',"):
        compare(
            *MISSING,
            tiny_dataset(),
            ("vector", query_type),
            engine="words",
            reranker=WordReranker() if "reranked" in query_type else None,
            plugins=with_engine,
        )


def test_a_missing_reranker_folder_is_named_before_a_text_is_embedded(plugins: PluginManager) -> None:
    model = Counting()
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './no/reranker'"):
        compare(model, model, tiny_dataset(), ("reranked_vector",), reranker="./no/reranker", plugins=plugins)
    assert model.embedded == []


# Once


@pytest.mark.usefixtures("no_doctor")
def test_each_text_is_embedded_once_by_each_model(with_engine: PluginManager) -> None:
    dataset, models = tiny_dataset(8), (Counting(64), Counting(8))
    types = ("vector", "fts", "hybrid", "reranked_vector", "reranked_fts", "reranked_hybrid")
    compare(*models, dataset, types, reranker=WordReranker(), plugins=with_engine)
    for model in models:
        assert sorted(model.embedded) == sorted([*dataset.corpus.values(), *dataset.queries.values()])
    assert len(Engine.loaded) == 2


def test_each_pair_is_scored_once_over_types_and_models(with_engine: PluginManager) -> None:
    dataset, reranker = tiny_dataset(8), CountingReranker()
    types = ("reranked_vector", "reranked_fts", "reranked_hybrid")
    compare(HashEmbedder(64), HashEmbedder(8), dataset, types, reranker=reranker, plugins=with_engine)
    assert len(reranker.scored) == len(set(reranker.scored)) == len(dataset) * len(dataset.corpus)


def test_what_the_model_cannot_change_is_searched_once(with_engine: PluginManager) -> None:
    found = compare(
        HashEmbedder(64),
        HashEmbedder(8),
        tiny_dataset(8),
        ("fts", "vector", "reranked_fts"),
        reranker=WordReranker(),
        plugins=with_engine,
    )
    assert Engine.asked == [("fts", 10), ("vector", 10), ("vector", 10), ("fts", 50)]
    assert found.evaluations["fts"][0] is found.evaluations["fts"][1]
    assert found.evaluations["reranked_fts"][0] is found.evaluations["reranked_fts"][1]
    assert found.primary == "vector"


def test_where_no_type_needs_a_model_nothing_is_embedded(with_engine: PluginManager) -> None:
    model = Counting()
    compare(model, model, tiny_dataset(), ("fts", "reranked_fts"), reranker=WordReranker(), plugins=with_engine)
    assert model.embedded == []
    assert Engine.loaded == [None]


def test_rows_of_one_shared_search_are_marked_seen_for_the_model_that_has_seen(
    with_engine: PluginManager, tmp_path: Path
) -> None:
    dataset = tiny_dataset(8)
    seen = SeenTexts.of([dataset.subset(["q0-0"])])
    ModelRecord(
        base_model="b", base_fingerprint=None, fingerprint="f", tuner="t", chosen_step=1, kept_base=False, seen=seen
    ).write(tmp_path)
    found = compare(Counting(), Counting(folder=tmp_path), dataset, ("vector", "fts"), plugins=with_engine)
    base, tuned = found.evaluations["fts"]
    assert (base.n_seen, tuned.n_seen) == (0, 2)
    assert [row["retrieved"] for row in base] == [row["retrieved"] for row in tuned]
    assert [kind for kind, _ in Engine.asked] == ["vector", "vector", "fts"]


def test_a_backend_of_ones_own_needs_no_plugin(plugins: PluginManager) -> None:
    Engine.loaded, Engine.asked = [], []
    found = compare(HashEmbedder(), HashEmbedder(), tiny_dataset(), ("hybrid",), engine=BACKEND, plugins=plugins)
    assert found.settings["engine"] == "words"


# Reranking


def test_reranking_makes_two_models_equal_where_the_depth_holds_the_answer() -> None:
    dataset = tiny_dataset(8)
    types = ("vector", "reranked_vector")
    found = compare(HashEmbedder(64), HashEmbedder(2), dataset, types, top_k=1, reranker=WordReranker())
    vector, reranked = found.row("vector", "hit_rate", 1), found.row("reranked_vector", "hit_rate", 1)
    assert vector.tuned < vector.base
    assert (reranked.base, reranked.tuned) == (1.0, 1.0)


def test_a_depth_that_is_too_small_to_matter_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    compare(HashEmbedder(), HashEmbedder(), tiny_dataset(8), ("reranked_vector",), reranker=WordReranker(), depth=3)
    assert caplog.messages == [
        "the first 3 finds are reranked: hit rate and recall at cut-offs from 3 to 10 cannot change"
    ]


# The cache


@pytest.mark.usefixtures("no_doctor")
def test_a_second_comparison_embeds_and_scores_nothing(tmp_path: Path) -> None:
    dataset = tiny_dataset(8)
    rows = []
    for expected in (True, False):
        models, reranker = (Counting(64), Counting(8)), CountingReranker()
        types = ("vector", "reranked_vector")
        rows.append(compare(*models, dataset, types, reranker=reranker, cache=tmp_path).rows)
        assert [bool(model.embedded) for model in models] == [expected, expected]
        assert bool(reranker.scored) is expected
    assert rows[0] == rows[1]


def test_without_a_cache_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    compare(HashEmbedder(), HashEmbedder(), tiny_dataset(), ("reranked_vector",), reranker=WordReranker())
    assert list(tmp_path.iterdir()) == []


# Settings


def test_settings_say_what_was_compared_and_json_can_hold_them(with_engine: PluginManager) -> None:
    found = compare(
        HashEmbedder(64),
        HashEmbedder(8),
        tiny_dataset(),
        ("hybrid", "reranked_hybrid"),
        reranker=WordReranker(),
        depth=20,
        seed=3,
        plugins=with_engine,
    )
    settings = json.loads(json.dumps(found.to_json()["settings"]))
    assert settings.pop("versions").keys() >= {"python", "embedtune", "numpy"}
    assert settings == {
        "base": {"name": "embedtune.testing.fakes.HashEmbedder", "fingerprint": "hash-embedder-64"},
        "tuned": {"name": "embedtune.testing.fakes.HashEmbedder", "fingerprint": "hash-embedder-8"},
        "query_types": ["hybrid", "reranked_hybrid"],
        "engine": "words",
        "engine_options": {"depth": 3},
        "reranker": {"name": "embedtune.testing.fakes.WordReranker", "fingerprint": "word-reranker"},
        "depth": 20,
        "seed": 3,
    }


def test_settings_without_engine_and_reranker_say_so() -> None:
    settings = compare(HashEmbedder(), HashEmbedder(), tiny_dataset()).settings
    assert (settings["engine"], settings["reranker"], settings["depth"]) == ("exact", None, None)


def test_what_an_index_loses_is_in_the_settings(with_engine: PluginManager) -> None:
    found = compare(HashEmbedder(), HashEmbedder(), tiny_dataset(), ("vector", "vector_indexed"), plugins=with_engine)
    assert found.settings["index_recall"] == {"k": 5, "base": 0.75, "tuned": 0.75}


def test_each_search_is_named_in_the_log(with_engine: PluginManager, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        compare(HashEmbedder(), HashEmbedder(), tiny_dataset(), ("vector", "fts"), plugins=with_engine)
    assert [message for message in caplog.messages if "searching" in message] == ["searching: vector", "searching: fts"]


# Two searches


def test_two_searches_are_compared_by_the_same_figures_and_nothing_is_embedded() -> None:
    dataset = tiny_dataset(8)
    nothing = SimpleNamespace(search=lambda queries, k: [[] for _ in queries])
    found = compare(nothing, WordSearch(dataset.corpus), dataset)
    assert set(found.evaluations) == {"search"}
    assert found.primary == "search"
    row = found.row("search", "hit_rate", 5)
    assert row.base == 0.0 < row.tuned
    assert found.settings["engine"] is None
    assert found.settings["tuned"] == {"name": "embedtune.testing.fakes.WordSearch", "fingerprint": None}


def test_a_search_is_compared_with_a_model() -> None:
    dataset = tiny_dataset(8)
    found = compare(lambda queries, k: [list(dataset.corpus)[:k]] * len(queries), HashEmbedder(), dataset)
    assert found.row("search", "hit_rate", 5).tuned == 1.0
    assert found.settings["base"]["name"].endswith("<lambda>")


def test_searches_are_reranked_too() -> None:
    dataset = tiny_dataset(8)

    def all_in_order(queries: Sequence[str], k: int) -> list[list[str]]:
        return [list(dataset.corpus)[:k]] * len(queries)

    types = ("search", "reranked_search")
    found = compare(all_in_order, WordSearch(dataset.corpus), dataset, types, top_k=1, reranker=WordReranker())
    assert found.row("search", "hit_rate", 1).base < 0.2
    assert found.row("reranked_search", "hit_rate", 1).base == 1.0


@pytest.mark.parametrize("options", [{"query_types": ("fts",)}, {"engine": "words"}])
def test_query_types_of_models_do_not_fit_to_searches(options: dict[str, object], with_engine: PluginManager) -> None:
    search = WordSearch(tiny_dataset().corpus)
    with pytest.raises(EvaluationError, match="are for models; searches are compared as they are"):
        compare(search, search, tiny_dataset(), plugins=with_engine, **options)  # type: ignore[arg-type]


def test_a_search_that_fails_on_some_queries_loses_those_and_keeps_the_pairs() -> None:
    dataset = QADataset(
        {"q 1": "apples?", "q 2": "drums?"}, {"c 1": "apples", "c 2": "drums"}, {"q 1": ["c 1"], "q 2": ["c 2"]}
    )

    def moody(queries: Sequence[str], k: int) -> list[list[str]]:
        if "drums?" in queries:
            raise RuntimeError("timed out")
        return [["c 1"] for _ in queries]

    found = compare(moody, lambda queries, k: [["c 2", "c 2", "c 1"] for _ in queries], dataset)
    base, tuned = found.evaluations["search"]
    assert base.failed_queries == ("q 2",)
    assert [row["rank"] for row in base] == [1, None]
    assert [row["rank"] for row in tuned] == [2, 1]


def test_a_search_that_gives_nothing_is_worse_not_missing() -> None:
    dataset = tiny_dataset(8)
    found = compare(HashEmbedder(), lambda queries, k: [[] for _ in queries], dataset)
    assert found.row("search", "hit_rate", 5).difference == -1.0
    assert found.n_queries == len(dataset)


def test_vectors_of_the_cache_are_those_of_the_model(tmp_path: Path) -> None:
    """A cached comparison is the same comparison."""
    dataset = tiny_dataset(8)
    plain = compare(HashEmbedder(64), HashEmbedder(4), dataset)
    cached = compare(HashEmbedder(64), HashEmbedder(4), dataset, cache=tmp_path)
    assert plain.rows == cached.rows
    for one, other in zip(plain.evaluations["vector"], cached.evaluations["vector"], strict=True):
        np.testing.assert_array_equal([row["retrieved"] for row in one], [row["retrieved"] for row in other])
