"""`compare`: the verdict, what it never says, and what it needs."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedtune import BackendNotFoundError, Comparison, EvaluationError, PluginManager, QADataset, compare
from embedtune.comparison import summarise
from embedtune.evaluation import evaluate_search
from embedtune.plugins import SearchBackend, hookimpl
from embedtune.protocols import Embedder, Search, Vectors
from embedtune.records import ModelRecord, SeenTexts
from embedtune.testing import HashEmbedder, WordSearch

N_DOCUMENTS = 60


def questions(n_documents: int = N_DOCUMENTS, per_document: int = 2) -> QADataset:
    corpus = {f"c{i}": f"page {i} on topic{i}" for i in range(n_documents)}
    queries = {f"q{i}-{n}": f"tell topic{i} part{n}" for i in range(n_documents) for n in range(per_document)}
    relevant = {query: [f"c{query[1:].split('-')[0]}"] for query in queries}
    return QADataset(queries, corpus, relevant, {chunk: {"document_id": chunk} for chunk in corpus})


class Oracle:
    """An embedder that finds the given share of the documents, the same ones each time."""

    fingerprint = None
    similarity = "dot"

    def __init__(self, share: float, *, offset: float = 0.0, folder: Path | None = None) -> None:
        self.share, self.offset, self.folder = share, offset, folder

    def _topic(self, text: str) -> int:
        return int(text.split("topic")[1].split()[0])

    def embed_queries(self, texts: Sequence[str]) -> Vectors:
        vectors = np.zeros((len(texts), N_DOCUMENTS + 1), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            place = (self._topic(text) * 37 % N_DOCUMENTS) / N_DOCUMENTS
            row[self._topic(text)] = 1 if self.offset <= place < self.offset + self.share else -1
        return vectors

    def embed_documents(self, texts: Sequence[str]) -> Vectors:
        return np.eye(N_DOCUMENTS + 1, dtype=np.float32)[[self._topic(text) for text in texts]]


def record(seen: SeenTexts, folder: Path) -> None:
    fields: dict[str, Any] = {"base_model": "b", "base_fingerprint": None, "fingerprint": "f", "tuner": "custom"}
    ModelRecord(**fields, chosen_step=1, kept_base=False, seen=seen).write(folder)


def from_hits(base: list[bool], tuned: list[bool], dataset: QADataset, **options: Any) -> Comparison:
    """The comparison of two searches that find what is said."""
    evaluations = []
    for hits in (base, tuned):
        found = {
            text: dataset.relevant_docs[query] if hit else []
            for (query, text), hit in zip(dataset.queries.items(), hits, strict=True)
        }
        search = SimpleNamespace(search=lambda queries, k, found=found: [found[query] for query in queries])
        evaluations.append(evaluate_search(search, dataset))
    return summarise({"vector": (evaluations[0], evaluations[1])}, dataset, 5, **options)


# Verdicts


def test_a_clear_gain_ships() -> None:
    found = compare(Oracle(0.4), Oracle(0.8), questions())
    assert found.verdict == "ship"
    assert found.reason.startswith("vector hit_rate@5 0.4")
    assert "120 questions)" in found.reason


def test_a_clear_loss_does_not_ship() -> None:
    assert compare(Oracle(0.8), Oracle(0.4), questions()).verdict == "do not ship: worse"


def test_equal_models_differ_by_nothing() -> None:
    found = compare(HashEmbedder(), HashEmbedder(), questions())
    assert found.verdict == "no difference within the margin"
    assert {(row.difference, row.low, row.high, row.p) for row in found.rows} == {(0.0, 0.0, 0.0, 1.0)}


def test_a_change_that_could_be_chance_cannot_be_told() -> None:
    found = compare(Oracle(0.40), Oracle(0.42), questions())
    assert found.verdict == "cannot tell"
    assert found.rows[0].low <= 0 < found.rows[0].high


def test_the_margin_decides_what_is_no_difference() -> None:
    """A gain of one document in sixty lies within any margin above its interval."""
    base, tuned = Oracle(0.40), Oracle(0.42)
    assert compare(base, tuned, questions(), margin=0.2).verdict == "no difference within the margin"


def test_models_that_find_different_things_equally_often_cannot_be_told() -> None:
    assert compare(Oracle(0.4), Oracle(0.4, offset=0.4), questions()).verdict == "cannot tell"


@pytest.mark.parametrize("model", ["base", "tuned"])
def test_a_set_that_a_model_has_seen_never_ships(model: str, tmp_path: Path) -> None:
    dataset = questions()
    record(SeenTexts.of([dataset]), tmp_path)
    folders = {"base": None, "tuned": None, model: tmp_path}
    found = compare(Oracle(0.1, folder=folders["base"]), Oracle(0.9, folder=folders["tuned"]), dataset)
    assert found.verdict == "cannot tell"
    assert found.n_seen == 120
    assert found.reason.startswith("all 120 questions were seen in training or selection; vector hit_rate@5")


def test_seen_questions_do_not_count_among_others(tmp_path: Path) -> None:
    """A gain on the seen half alone is none: base and tuned find the other half alike."""
    dataset = questions()
    documents = {query: dataset.documents[dataset.relevant_docs[query][0]] for query in dataset.queries}
    half = sorted(set(documents.values()))[:30]
    seen = [query for query, document in documents.items() if document in half]
    record(SeenTexts.of([dataset.subset(seen)]), tmp_path)
    before, after = Oracle(0.5), Oracle(0.5, folder=tmp_path)
    honest = compare(before, after, dataset)
    assert (honest.n_seen, honest.n_queries) == (60, 120)
    assert honest.reason.endswith("60 questions); 60 more were seen in training or selection, and do not count")
    hits = np.array([query in seen for query in dataset.queries], dtype=float)
    one, other = (
        dataclasses.replace(honest.evaluations["vector"][1], per_query={"hit_rate@5": found})
        for found in (0 * hits, hits)
    )
    flattered = summarise({"vector": (one, other)}, dataset, 5)
    assert flattered.row("vector", "hit_rate", 5).low > 0.3
    assert flattered.deciding.difference == 0.0
    assert flattered.verdict == "cannot tell"


def test_a_few_seen_questions_do_not_keep_a_real_gain_from_shipping(tmp_path: Path) -> None:
    dataset = questions()
    record(SeenTexts.of([dataset.subset(["q0-0"])]), tmp_path)
    found = compare(Oracle(0.1), Oracle(0.9, folder=tmp_path), dataset)
    assert (found.verdict, found.n_seen) == ("ship", 2)
    assert found.reason.endswith("118 questions); 2 more were seen in training or selection, and do not count")


def test_a_loss_on_a_seen_set_is_still_a_loss(tmp_path: Path) -> None:
    dataset = questions()
    record(SeenTexts.of([dataset]), tmp_path)
    assert compare(Oracle(0.9), Oracle(0.1, folder=tmp_path), dataset).verdict == "do not ship: worse"


@pytest.mark.parametrize(("n_documents", "unreliable"), [(29, True), (30, False)])
def test_few_documents_make_the_interval_unreliable(n_documents: int, unreliable: bool) -> None:
    found = compare(Oracle(0.4), Oracle(0.9), questions(n_documents))
    assert (f"only {n_documents} documents or groups, so the interval is unreliable" in found.reason) is unreliable
    assert found.n_clusters == n_documents


def test_clusters_are_documents_not_questions() -> None:
    """Six questions on one document that change together are one change."""
    dataset = questions(40, per_document=6)
    base, tuned = [False] * 240, [i < 6 * 5 for i in range(240)]
    found = from_hits(base, tuned, dataset)
    alone = QADataset(
        dataset.queries, dataset.corpus | {q: f"own {q}" for q in dataset.queries}, {q: [q] for q in dataset.queries}
    )
    wide, narrow = found.rows[0], from_hits(base, tuned, alone).rows[0]
    assert found.n_clusters == 40
    assert wide.difference == narrow.difference == 0.125
    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@pytest.mark.parametrize("n_documents", [1, 2, 5])
def test_a_handful_of_documents_never_ships(n_documents: int) -> None:
    """Where all of them gain, the bootstrap has nothing else to draw."""
    dataset = questions(n_documents, per_document=40)
    found = from_hits([False] * len(dataset), [True] * len(dataset), dataset)
    assert found.rows[0].low < 0 < found.rows[0].difference == 1.0
    assert found.verdict == "cannot tell"


# Rows


def test_rows_hold_every_metric_at_every_cut_off() -> None:
    found = compare(Oracle(0.4), Oracle(0.8), questions(), top_k=2)
    assert {(row.metric, row.k) for row in found.rows} == {
        (metric, k) for metric in ("hit_rate", "mrr", "ndcg", "recall", "map") for k in (1, 2, 3, 5, 10)
    }
    for row in found.rows:
        assert row.difference == pytest.approx(row.tuned - row.base)
        assert row.low <= row.difference <= row.high


def test_json_has_the_agreed_shape() -> None:
    content = json.loads(json.dumps(compare(Oracle(0.4), Oracle(0.8), questions()).to_json()))
    assert content["verdict"] == "ship"
    assert set(content) >= {"verdict", "rows", "reason", "n_queries", "n_clusters", "n_seen"}
    keys = ["query_type", "metric", "k", "base", "tuned", "difference", "low", "high", "p"]
    assert all(list(row)[: len(keys)] == keys for row in content["rows"])
    assert (content["n_queries"], content["n_clusters"], content["n_seen"]) == (120, 60, 0)


def test_evaluations_are_kept_base_first() -> None:
    base, tuned = compare(Oracle(0.4), Oracle(0.8), questions()).evaluations["vector"]
    assert base.hit_rate < tuned.hit_rate
    assert dataclasses.is_dataclass(base)


def test_the_same_seed_gives_the_same_figures() -> None:
    models = HashEmbedder(4), HashEmbedder(16)
    one, same, other = (compare(*models, questions(), seed=seed) for seed in (1, 1, 2))
    assert one.rows == same.rows
    assert one.rows != other.rows


def test_each_model_is_loaded_once(plugins: PluginManager) -> None:
    """A framework's model costs seconds and memory."""
    loaded: list[object] = []

    class Loader:
        @hookimpl
        def embedtune_as_embedder(self, thing: object) -> Embedder | None:
            loaded.append(thing)
            return Oracle(thing) if isinstance(thing, float) else None  # type: ignore[return-value]

    plugins.register(Loader(), "loader", "loader 1.0")
    compare(0.4, 0.8, questions(), plugins=plugins)
    assert loaded == [0.4, 0.8]


# What is refused


@pytest.mark.parametrize("query_types", [(), ("vector", "vector")])
def test_query_types_are_named_once_each(query_types: tuple[str, ...]) -> None:
    with pytest.raises(EvaluationError, match="query_types must name each type once, at least one"):
        compare(HashEmbedder(), HashEmbedder(), questions(), query_types)


def test_a_cut_off_below_one_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(EvaluationError, match="must be at least 1; got top_k=0"):
        compare("./no/such/model", "./nor/this", questions(), top_k=0)


@pytest.mark.parametrize("query_type", ["fts", "hybrid"])
def test_a_missing_engine_names_the_extra(query_type: str, plugins: PluginManager) -> None:
    with pytest.raises(BackendNotFoundError, match=r"No search engine named 'lancedb'.*\"embedtune\[lancedb\]\""):
        compare(HashEmbedder(), HashEmbedder(), questions(), (query_type,), plugins=plugins)


def test_an_unknown_engine_is_refused(plugins: PluginManager) -> None:
    with pytest.raises(BackendNotFoundError, match=r"No search engine named 'solr'\. Installed search engines: none"):
        compare(HashEmbedder(), HashEmbedder(), questions(), engine="solr", plugins=plugins)


# Engines


class WordEngine:
    """Full text by words, and hybrid as the same."""

    def __init__(self, corpus: Mapping[str, str], embedder: Embedder | None) -> None:
        self.corpus = corpus

    def searcher(self, query_type: str) -> Search:
        return WordSearch(self.corpus)


@pytest.fixture
def with_engine(plugins: PluginManager) -> PluginManager:
    class Engine:
        @hookimpl
        def embedtune_search_engines(self) -> list[SearchBackend]:
            return [SearchBackend(name="words", query_types=("fts", "hybrid"), load=WordEngine)]

    plugins.register(Engine(), "words", "words 1.0")
    return plugins


def test_an_installed_engine_that_has_the_types_is_found(with_engine: PluginManager) -> None:
    found = compare(HashEmbedder(), HashEmbedder(), questions(), ("fts", "hybrid"), plugins=with_engine)
    assert set(found.evaluations) == {"fts", "hybrid"}


def test_the_verdict_is_of_the_first_type_that_the_model_can_change(with_engine: PluginManager) -> None:
    """Full text does not look at the model: its difference is always 0."""
    found = compare(HashEmbedder(), HashEmbedder(), questions(), ("fts", "hybrid"), plugins=with_engine)
    assert found.reason.startswith("hybrid hit_rate@5")
    only = compare(HashEmbedder(), HashEmbedder(), questions(), ("fts",), plugins=with_engine)
    assert only.reason.startswith("fts hit_rate@5")


def test_a_type_that_the_engine_does_not_have_is_refused(with_engine: PluginManager) -> None:
    with pytest.raises(
        EvaluationError, match=r"The engine 'words' has no query type 'vector'; it has \('fts', 'hybrid'\)"
    ):
        compare(HashEmbedder(), HashEmbedder(), questions(), ("fts", "vector"), engine="words", plugins=with_engine)


def test_a_note_says_what_is_known_of_the_training(tmp_path: Path) -> None:
    """An absent record is no proof that training never saw these questions."""
    record(SeenTexts.of([]), tmp_path)
    known = compare(Oracle(0.1), Oracle(0.9, folder=tmp_path), questions())
    assert known.notes == ("None of the questions has trained or chosen the tuned model, as its embedtune.json says.",)
    (note,) = compare(Oracle(0.1), Oracle(0.9), questions()).notes
    assert note.startswith("What the tuned side was trained on is not known: it has no embedtune.json.")
