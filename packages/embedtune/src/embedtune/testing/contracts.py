"""The contracts as test classes: inherit one, implement its factory, and pytest runs the rest.

::

    from embedtune.testing import EmbedderContract

    class TestMyEmbedder(EmbedderContract):
        def make(self):
            return MyEmbedder()
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np

from embedtune.chunks import TextChunk
from embedtune.dataset import QADataset
from embedtune.evaluation import evaluate
from embedtune.plugins import DatasetFormat, PluginManager
from embedtune.protocols import BaseLLM, Embedder, Reranker, Search
from embedtune.records import read_record
from embedtune.testing.fakes import tiny_dataset
from embedtune.tuner import BaseEmbeddingTuner

__all__ = [
    "DatasetFormatContract",
    "EmbedderContract",
    "LLMContract",
    "RerankerContract",
    "SearchContract",
    "TextChunkContract",
    "TunerContract",
]


class EmbedderContract(ABC):
    """What every `Embedder` keeps to."""

    texts: ClassVar[list[str]] = ["red apples", "Fahrräder und Züge", "雲は白い", "red apples", "a" * 3000]

    @abstractmethod
    def make(self) -> Embedder:
        """The embedder under test."""

    def test_vectors_are_float32_one_row_per_text(self) -> None:
        """Shape (n, d), float32, finite, and the same d on both sides."""
        embedder = self.make()
        queries, documents = embedder.embed_queries(self.texts), embedder.embed_documents(self.texts)
        assert queries.dtype == documents.dtype == np.float32
        assert queries.shape == documents.shape
        assert queries.shape[0] == len(self.texts)
        assert np.isfinite(queries).all()
        assert np.isfinite(documents).all()

    def test_no_texts_give_no_rows(self) -> None:
        """An empty list is no error."""
        assert self.make().embed_documents([]).shape[0] == 0
        assert self.make().embed_queries([]).shape[0] == 0

    def test_order_is_kept_and_equal_texts_get_equal_vectors(self) -> None:
        """Batching by length must not show in the result."""
        embedder = self.make()
        together = embedder.embed_documents(self.texts)
        for row, text in zip(together, self.texts, strict=True):
            np.testing.assert_allclose(embedder.embed_documents([text])[0], row, atol=1e-4)
        np.testing.assert_allclose(together[0], together[3], atol=1e-6)

    def test_fingerprint_and_similarity_are_stable(self) -> None:
        """Two equal embedders have one fingerprint, or none."""
        one, other = self.make(), self.make()
        assert one.fingerprint == other.fingerprint
        assert one.fingerprint is None or one.fingerprint
        assert one.similarity in ("cosine", "dot")


class SearchContract(ABC):
    """What every `Search` keeps to."""

    @abstractmethod
    def make(self, corpus: Mapping[str, str]) -> Search:
        """A search over the corpus."""

    def test_one_ranking_per_query_with_at_most_k_known_ids(self) -> None:
        """Ids come from the corpus, none twice, never more than k."""
        corpus = tiny_dataset().corpus
        rankings = self.make(corpus).search(["where do apples come from?", "what do drums cost?"], k=3)
        assert len(rankings) == 2
        for ranking in rankings:
            assert len(ranking) <= 3
            assert len(set(ranking)) == len(ranking)
            assert set(ranking) <= set(corpus)

    def test_no_query_gives_no_ranking(self) -> None:
        """An empty list is no error."""
        assert self.make(tiny_dataset().corpus).search([], k=3) == []

    def test_one_query_and_many_agree(self) -> None:
        """A batch of one is not a special case (LanceDB's is)."""
        search = self.make(tiny_dataset().corpus)
        queries = ["where do apples come from?", "what do drums cost?"]
        assert [search.search([query], k=2)[0] for query in queries] == search.search(queries, k=2)

    def test_depth_beyond_the_corpus_gives_what_there_is(self) -> None:
        """K above the number of chunks is no error."""
        corpus = tiny_dataset().corpus
        assert len(self.make(corpus).search(["apples drums clouds bicycles"], k=1000)[0]) <= len(corpus)


class RerankerContract(ABC):
    """What every `Reranker` keeps to."""

    pairs: ClassVar[list[tuple[str, str]]] = [
        ("what is red?", "apples are red"),
        ("what is red?", "clouds drift over the sea"),
        ("Was kostet ein Fahrrad?", "Fahrräder und Züge"),
        ("what is red?", "apples are red"),
        ("雲は?", "a" * 3000),
        ("", ""),
    ]

    @abstractmethod
    def make(self) -> Reranker:
        """The reranker under test."""

    def test_scores_are_float32_one_per_pair(self) -> None:
        """Shape (n,), float32, finite."""
        scores = self.make().score(self.pairs)
        assert scores.dtype == np.float32
        assert scores.shape == (len(self.pairs),)
        assert np.isfinite(scores).all()

    def test_no_pairs_give_no_scores(self) -> None:
        """An empty list is no error."""
        assert self.make().score([]).shape == (0,)

    def test_order_is_kept_and_a_pair_has_one_score(self) -> None:
        """Neither batching by length nor the other pairs of a call may show in the result."""
        reranker = self.make()
        together = reranker.score(self.pairs)
        for score, pair in zip(together, self.pairs, strict=True):
            np.testing.assert_allclose(reranker.score([pair]), [score], atol=1e-4)
        np.testing.assert_allclose(reranker.score(self.pairs[::-1])[::-1], together, atol=1e-4)

    def test_fingerprint_is_stable(self) -> None:
        """Two equal rerankers have one fingerprint, or none."""
        one, other = self.make(), self.make()
        assert one.fingerprint == other.fingerprint
        assert one.fingerprint is None or one.fingerprint


class LLMContract(ABC):
    """What every `BaseLLM` keeps to."""

    @abstractmethod
    def make(self) -> BaseLLM:
        """The LLM under test."""

    def test_answers_with_text(self) -> None:
        """One prompt in, one str out."""
        assert isinstance(self.make().chat_completion("Write one short question about apples."), str)


class TextChunkContract(ABC):
    """What every converter of a framework's chunks keeps to."""

    @abstractmethod
    def make(self, text: str, source: str) -> object:
        """A fresh chunk of the framework, parsed from a file of that name."""

    def test_ids_are_stable_over_parses(self) -> None:
        """Two parses of one file give the same ids: a framework's random ids must not leak in."""
        manager = PluginManager()
        one, other = (manager.as_text_chunk(self.make("A text.", "manual.pdf")) for _ in range(2))
        assert isinstance(one, TextChunk)
        assert (one.id, one.text) == (other.id, "A text.")

    def test_the_source_tells_equal_texts_apart(self) -> None:
        """The same sentence in two files is two chunks."""
        manager = PluginManager()
        ids = {manager.as_text_chunk(self.make("A text.", source)).id for source in ("a.pdf", "b.pdf")}
        assert len(ids) == 2

    def test_a_stranger_is_not_claimed(self) -> None:
        """An object of nobody gets None, not an error."""
        assert PluginManager().claim("embedtune_as_text_chunk", object(), metadata_mode="none") is None


class DatasetFormatContract(ABC):
    """What every `DatasetFormat` keeps to."""

    path: ClassVar[str] = "dataset"
    """Name of the file or folder, with the suffix that the format matches."""

    @abstractmethod
    def make(self) -> DatasetFormat:
        """The format under test."""

    def test_save_and_load_give_the_same_data_set(self, tmp_path: Path) -> None:
        """Ids, texts, relevance and documents come back."""
        dataset, layout = tiny_dataset(), self.make()
        dataset.save(tmp_path / self.path, format=layout.name)
        loaded = QADataset.load(tmp_path / self.path, format=layout.name)
        assert (loaded.queries, loaded.corpus) == (dataset.queries, dataset.corpus)
        assert loaded.relevant_docs == dataset.relevant_docs
        assert loaded.documents == dataset.documents

    def test_saving_twice_replaces_and_leaves_nothing_beside(self, tmp_path: Path) -> None:
        """The second one is whole, and no temporary stays."""
        layout = self.make()
        tiny_dataset(4).save(tmp_path / self.path, format=layout.name)
        tiny_dataset(2).save(tmp_path / self.path, format=layout.name)
        assert len(QADataset.load(tmp_path / self.path, format=layout.name)) == 4
        assert [entry.name for entry in tmp_path.iterdir()] == [self.path]

    def test_texts_come_back_to_the_letter(self, tmp_path: Path) -> None:
        """Quotes, tabs, line ends, braces and other scripts are data."""
        nasty = 'a "b"\tc,\n{d}; ünï 雲 \\n \u2028 end'
        dataset = QADataset({"q 1": nasty + "?"}, {"c/1": nasty}, {"q 1": ["c/1"]})
        dataset.save(tmp_path / self.path, format=self.make().name)
        loaded = QADataset.load(tmp_path / self.path, format=self.make().name)
        assert (loaded.queries, loaded.corpus) == (dataset.queries, dataset.corpus)


class TunerContract(ABC):
    """What every tuner keeps to."""

    @abstractmethod
    def make(self, trainset: QADataset, path: Path, **options: object) -> BaseEmbeddingTuner:
        """The tuner under test, on a model of its choice."""

    def test_the_result_is_a_model_folder_that_evaluates(self, tmp_path: Path) -> None:
        """What it writes loads by reference, and says where it comes from."""
        trainset = tiny_dataset(8)
        tuner = self.make(trainset, tmp_path / "tuned")
        tuner.finetune()
        assert tuner.result is not None
        assert tuner.result.path == tmp_path / "tuned"
        assert tuner.result.history[0].step == 0
        record = read_record(tmp_path / "tuned")
        assert record is not None
        assert record.tuner == tuner.name
        evaluation = evaluate(str(tmp_path / "tuned"), trainset)
        assert evaluation.n_seen == len(trainset)
        assert {entry.name for entry in tmp_path.iterdir()} == {"tuned"}
