"""A model that a framework's class holds by reference: loaded late, known by its files."""

import copy
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from embedtune import BackendNotFoundError, EmbeddingError, ModelNotFoundError, PluginManager, evaluate
from embedtune.framework_embedder import FrameworkEmbedder, LazyEmbedder
from embedtune.plugins import EmbedderBackend, hookimpl
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset
from subprocesses import modules_loaded_by


class Upward(FrameworkEmbedder):
    """A bridge to a framework whose models are functions."""

    def embed_one_query(self, text: str) -> Sequence[float]:
        return HashEmbedder().embed_queries([text])[0].tolist()

    def embed_chunks(self, texts: list[str]) -> Sequence[Sequence[float]]:
        return HashEmbedder().embed_documents(texts).tolist()


class TestFrameworkEmbedder(EmbedderContract):
    def make(self) -> Upward:
        return Upward(object())


class TestLazyEmbedder(EmbedderContract):
    def make(self) -> LazyEmbedder:
        return LazyEmbedder(HashEmbedder())


class Hashes:
    """A plugin that loads hashing embedders from folders, and counts."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, dict[str, object]]] = []

    def load(self, ref: str, **options: object) -> HashEmbedder:
        self.loads.append((ref, options))
        return HashEmbedder()

    @hookimpl
    def embedtune_embedders(self) -> list[EmbedderBackend]:
        return [EmbedderBackend(name="hashes", load=self.load, matches=lambda ref: Path(ref).is_dir())]


@pytest.fixture
def hashes() -> Hashes:
    return Hashes()


@pytest.fixture
def plugins(hashes: Hashes) -> PluginManager:
    manager = PluginManager(found=[])
    manager.register(hashes, "hashes", "test 1.0")
    return manager


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"width": 1}')
    return tmp_path / "model"


def test_nothing_is_loaded_until_it_embeds(folder: Path, hashes: Hashes, plugins: PluginManager) -> None:
    embedder = LazyEmbedder(folder, {"device": "cpu", "truncate_dim": None}, plugins=plugins)
    assert embedder.name == f"model@{embedder.fingerprint}"
    assert hashes.loads == []
    assert evaluate(embedder, tiny_dataset(), top_k=1).hit_rate == 1
    assert hashes.loads == [(str(folder), {"device": "cpu"})], "once, with the options that were given"


def test_trap_27_a_relative_folder_is_found_from_another_working_folder(
    folder: Path, plugins: PluginManager, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(folder.parent)
    embedder = LazyEmbedder("./model", plugins=plugins)
    monkeypatch.chdir(tmp_path.parent)
    assert embedder.ref == str(folder)
    assert embedder.embed_queries(["a"]).shape == (1, 64)


def test_options_that_change_vectors_change_the_fingerprint_and_others_do_not(
    folder: Path, plugins: PluginManager
) -> None:
    plain, slow, short = (
        LazyEmbedder(folder, o, plugins=plugins) for o in ({}, {"device": "cpu"}, {"truncate_dim": 4})
    )
    assert plain.fingerprint == slow.fingerprint != short.fingerprint


def test_a_model_replaced_before_it_is_loaded_is_an_error(folder: Path, plugins: PluginManager) -> None:
    embedder = LazyEmbedder(folder, plugins=plugins)
    (folder / "config.json").write_text('{"width": 2}')
    with pytest.raises(EmbeddingError, match=r"it was replaced.*embed the chunks again"):
        embedder.embed_queries(["a"])


def test_a_fingerprint_that_is_not_the_models_is_an_error(folder: Path, plugins: PluginManager) -> None:
    with pytest.raises(EmbeddingError, match=r"expected 0123: it was replaced"):
        LazyEmbedder(folder, fingerprint="0123", plugins=plugins)


def test_it_pickles_as_its_reference(minilm: Path) -> None:
    embedder = LazyEmbedder(minilm, {"device": "cpu"})
    again = pickle.loads(pickle.dumps(embedder))
    assert (again.ref, again.options, again.name) == (embedder.ref, embedder.options, embedder.name)


def test_models_without_a_fingerprint_have_names_of_their_own() -> None:
    one, other = Upward(object()), Upward(object())
    assert LazyEmbedder(one).name != LazyEmbedder(other).name


def test_a_folder_that_is_not_there_is_told_before_a_framework_is_imported() -> None:
    code = (
        "from embedtune import ModelNotFoundError\nfrom embedtune.framework_embedder import LazyEmbedder\n"
        "try:\n    LazyEmbedder('./nowhere')\nexcept ModelNotFoundError:\n    pass\nelse:\n    raise SystemExit(1)"
    )
    assert not modules_loaded_by(code) & {"torch", "llama_index.core", "langchain_core"}
    with pytest.raises(ModelNotFoundError, match=r"No model folder at './nowhere'"):
        LazyEmbedder("./nowhere")


def test_a_key_does_not_get_into_a_frameworks_files() -> None:
    with pytest.raises(EmbeddingError, match="'api_key' would stand in every file") as failure:
        LazyEmbedder("openai:m", {"api_key": "sk-0123456789"})
    assert "sk-0123" not in str(failure.value)


def test_an_object_takes_no_options() -> None:
    with pytest.raises(EmbeddingError, match="'device' are for a model given by reference"):
        LazyEmbedder(HashEmbedder(), {"device": "cpu"})


def test_copies_share_what_is_loaded(folder: Path, hashes: Hashes, plugins: PluginManager) -> None:
    embedder = LazyEmbedder(folder, plugins=plugins)
    embedder.embed_queries(["a"])
    copy.deepcopy(embedder).embed_queries(["b"])
    assert len(hashes.loads) == 1


def test_threads_take_turns_and_load_once(folder: Path, hashes: Hashes, plugins: PluginManager) -> None:
    embedder = LazyEmbedder(folder, plugins=plugins)
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda text: embedder.embed_queries([text]), "abcdefgh"))
    assert len(hashes.loads) == 1


def test_a_folder_without_a_model_is_refused_before_its_files_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A project's folder takes minutes to hash."""
    (tmp_path / "notes.json").write_text("[" * 100_000)
    monkeypatch.setattr("embedtune.framework_embedder.folder_fingerprint", lambda *_, **__: pytest.fail("hashed"))
    with pytest.raises(BackendNotFoundError):
        LazyEmbedder(str(tmp_path), plugins=PluginManager(found=[]))
