"""A model that a framework's class holds by reference: loaded late, known by its files."""

import copy
import pickle
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embedtune import (
    BackendNotFoundError,
    EmbeddingError,
    ModelFolderError,
    ModelNotFoundError,
    PluginManager,
    evaluate,
)
from embedtune.framework_embedder import FrameworkEmbedder, LazyEmbedder
from embedtune.plugins import EmbedderBackend, hookimpl
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset
from query_adapters import adapter_over, code_words, directions_apart, mapped
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


@pytest.fixture(scope="module")
def adapter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on an object, so that its folder names no model."""
    return adapter_over(HashEmbedder(), tmp_path_factory.mktemp("adapters") / "words")


class TestAdaptedLazyEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _adapter(self, adapter: Path) -> None:
        self.adapter = adapter

    def make(self) -> LazyEmbedder:
        return LazyEmbedder(HashEmbedder(), adapter=self.adapter)


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


def test_an_adapter_maps_queries_and_leaves_chunks(adapter: Path) -> None:
    embedder = LazyEmbedder(HashEmbedder(), adapter=adapter)
    assert embedder.embed_queries(["apple"])[0].tolist() == mapped(HashEmbedder(), adapter, "apple")
    assert directions_apart(embedder.embed_queries(["apple"])[0], HashEmbedder().embed_queries(["apple"])[0]) > 1e-4
    np.testing.assert_array_equal(embedder.embed_documents(["apple"]), HashEmbedder().embed_documents(["apple"]))


def test_what_it_was_tuned_on_is_marked_as_seen(adapter: Path) -> None:
    embedder = LazyEmbedder(HashEmbedder(), adapter=adapter)
    assert embedder.record_folder == adapter
    assert evaluate(embedder, code_words()).n_seen == len(code_words())


@pytest.fixture
def over_folder(folder: Path, plugins: PluginManager, tmp_path: Path) -> Path:
    """An adapter whose folder names its model by reference."""
    return adapter_over(LazyEmbedder(folder, plugins=plugins), tmp_path / "adapter")


def test_an_adapter_over_a_folder_is_checked_and_named_without_loading(
    folder: Path, over_folder: Path, hashes: Hashes, plugins: PluginManager
) -> None:
    hashes.loads.clear()
    embedder = LazyEmbedder(folder, {"device": "cpu"}, adapter=over_folder, plugins=plugins)
    base = LazyEmbedder(folder, plugins=plugins)
    assert embedder.name == f"model+adapter@{embedder.fingerprint}"
    assert base.fingerprint != embedder.fingerprint == embedder.embedder.fingerprint
    assert hashes.loads == []
    assert len(embedder.embed_queries(["apple"])) == 1
    assert hashes.loads == [(str(folder), {"device": "cpu"})]


def test_the_model_may_be_left_out_where_the_adapter_names_it(
    folder: Path, over_folder: Path, plugins: PluginManager
) -> None:
    both = LazyEmbedder(folder, adapter=over_folder, plugins=plugins)
    for given in ({"model": None, "adapter": over_folder}, {"model": over_folder}, {"model": f"adapter:{over_folder}"}):
        embedder = LazyEmbedder(**given, plugins=plugins)
        assert (embedder.ref, embedder.adapter) == (str(folder), over_folder)
        assert (embedder.name, embedder.fingerprint) == (both.name, both.fingerprint)
        np.testing.assert_array_equal(embedder.embed_queries(["apple"]), both.embed_queries(["apple"]))


def test_an_adapter_of_an_object_says_that_the_object_is_needed(adapter: Path) -> None:
    for given in ({"model": None, "adapter": adapter}, {"model": str(adapter)}):
        with pytest.raises(ModelFolderError, match=r"trained on a HashEmbedder, an object.*as model=\.\.\."):
            LazyEmbedder(**given)


def test_another_models_adapter_is_refused_before_anything_is_loaded(
    folder: Path, over_folder: Path, hashes: Hashes, plugins: PluginManager
) -> None:
    hashes.loads.clear()
    (folder / "config.json").write_text('{"width": 2}')
    with pytest.raises(EmbeddingError, match="The adapter was trained on another embedder: this one has fingerprint"):
        LazyEmbedder(folder, adapter=over_folder, plugins=plugins)
    assert hashes.loads == []


def test_of_models_without_a_fingerprint_the_first_query_tells(tmp_path: Path) -> None:
    adapter = adapter_over(Upward(object()), tmp_path / "adapter")
    assert LazyEmbedder(Upward(object()), adapter=adapter).embed_queries(["apple"]).shape == (1, 64)

    class Backward(Upward):
        def embed_one_query(self, text: str) -> Sequence[float]:
            return super().embed_one_query(text)[::-1]

    embedder = LazyEmbedder(Backward(object()), adapter=adapter)
    with pytest.raises(EmbeddingError, match="whose cosine with that of training is"):
        embedder.embed_queries(["apple"])


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("nowhere", ModelNotFoundError, "No adapter folder at '.*nowhere'"),
        (".", ModelFolderError, "No adapter in"),
        (3, EmbeddingError, "adapter must be the folder that tuning wrote; got a int"),
    ],
)
def test_what_is_no_adapter_is_told_at_once(
    given: object, error: type[Exception], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        LazyEmbedder(HashEmbedder(), adapter=given)  # type: ignore[arg-type]


def test_it_shares_a_model_that_is_there(
    folder: Path, over_folder: Path, hashes: Hashes, plugins: PluginManager
) -> None:
    base = LazyEmbedder(folder, {"device": "cpu"}, plugins=plugins)
    base.embed_queries(["a"])
    n_loads = len(hashes.loads)
    adapted = LazyEmbedder(base, adapter=over_folder)
    adapted.embed_queries(["a"])
    assert len(hashes.loads) == n_loads
    assert (adapted.ref, adapted.options) == (str(folder), {"device": "cpu"})


def test_an_adapter_over_an_adapter_is_named_by_the_inner_folder(
    over_folder: Path, plugins: PluginManager, tmp_path: Path
) -> None:
    inner = LazyEmbedder(over_folder, plugins=plugins)
    outer = adapter_over(inner.embedder, tmp_path / "outer")
    embedder = LazyEmbedder(over_folder, adapter=outer, plugins=plugins)
    assert (embedder.ref, embedder.adapter) == (str(over_folder), outer)
    assert embedder.embed_queries(["apple"])[0].tolist() == mapped(inner, outer, "apple")


@pytest.mark.parametrize("by_reference", [pytest.param(True, marks=pytest.mark.slow), False])
def test_trap_27_with_its_adapter_it_pickles_as_absolute_folders(
    by_reference: bool, minilm: Path, adapter: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model: object = HashEmbedder()
    folder = adapter
    if by_reference:
        model, folder = minilm, adapter_over(str(minilm), tmp_path / "adapter")
    monkeypatch.chdir(folder.parent)
    embedder = LazyEmbedder(model, adapter=folder.name)
    pickled = pickle.dumps(embedder)
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(pickled)
    assert (again.ref, again.adapter, again.name) == (embedder.ref, folder, embedder.name)
    np.testing.assert_allclose(again.embed_queries(["apple"]), embedder.embed_queries(["apple"]), atol=1e-6)


def test_an_adapter_replaced_since_is_an_error(tmp_path: Path, folder: Path, plugins: PluginManager) -> None:
    path = adapter_over(LazyEmbedder(folder, plugins=plugins), tmp_path / "adapter")
    known = LazyEmbedder(path, plugins=plugins).fingerprint
    file = path / "adapter.safetensors"
    file.write_bytes(file.read_bytes()[:-4] + b"\0\0\0\0")
    with pytest.raises(EmbeddingError, match=rf"with the adapter '{path}' has fingerprint .*expected {known}"):
        LazyEmbedder(path, fingerprint=known, plugins=plugins)
