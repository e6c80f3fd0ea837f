"""`EmbedtuneEmbeddings`: the same vectors as sentence-transformers, loaded late, in any thread and any process."""

import asyncio
import copy
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from langchain_classic.embeddings import CacheBackedEmbeddings
from langchain_core.stores import InMemoryByteStore
from pydantic import ValidationError
from sentence_transformers import SentenceTransformer

from embedtune import EmbeddingError, ModelNotFoundError, PluginManager, QADataset, as_embedder, compare, evaluate
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset
from langchain_embedtune import EmbedtuneEmbeddings
from subprocesses import modules_loaded_by, run_python

TEXTS = ["Wie viele Punkte?\nZwei Zeilen.", "  spaces  kept ", "Straße, naïve, 文字", "a" * 3000]
"""With what other classes change on the way: line breaks, spaces."""


def embeddings(folder: Path, **options: object) -> EmbedtuneEmbeddings:
    return EmbedtuneEmbeddings(model=folder, device="cpu", **options)


class TestTheModelInside(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _model(self, prompted: Path) -> None:
        self.folder = prompted

    def make(self) -> object:
        return as_embedder(embeddings(self.folder))


@pytest.mark.parametrize("name", ["minilm", "prompted", "tuned"])
def test_vectors_are_those_of_sentence_transformers(name: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(name)
    model, ours = SentenceTransformer(str(folder), device="cpu"), embeddings(folder)
    np.testing.assert_allclose(ours.embed_documents(TEXTS), model.encode_document(TEXTS), atol=1e-5)
    found = [ours.embed_query(text) for text in TEXTS]
    np.testing.assert_allclose(found, model.encode_query(TEXTS), atol=1e-5)


def test_trap_21_queries_and_documents_get_their_own_prompts(tuned: Path) -> None:
    plain, ours = SentenceTransformer(str(tuned), device="cpu"), embeddings(tuned)
    np.testing.assert_allclose(ours.embed_query("wie"), plain.encode("ask: wie"), atol=1e-5)
    np.testing.assert_allclose(ours.embed_documents(["wie"])[0], plain.encode("read: wie"), atol=1e-5)


def test_numbers_are_built_in_floats(prompted: Path) -> None:
    ours = embeddings(prompted)
    assert {type(value) for value in ours.embed_query("a")} == {float}
    assert {type(value) for row in ours.embed_documents(["a", "b"]) for value in row} == {float}


def test_no_documents_give_no_vectors_and_load_nothing(prompted: Path) -> None:
    code = (
        "from langchain_embedtune import EmbedtuneEmbeddings\n"
        f"ours = EmbedtuneEmbeddings(model={str(prompted)!r}, device='cpu', batch_size=8)\n"
        "assert ours.embed_documents([]) == [] and len(ours.fingerprint) == 32 and repr(ours)"
    )
    loaded = modules_loaded_by(code)
    assert "langchain_core" in loaded
    assert not loaded & {"torch", "sentence_transformers"}


def test_a_missing_folder_is_told_when_it_is_named_not_when_it_embeds(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model folder at"):
        EmbedtuneEmbeddings(model=tmp_path / "missing")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_sizes": 8}, "batch_sizes\n.*not permitted"),
        ({"batch_size": 0}, "batch_size\n.*greater than or equal to 1"),
        ({"truncate_dim": -1}, "truncate_dim\n.*greater than or equal to 1"),
        ({"model": None}, "model must be a folder, a hub name or a loaded model; got None"),
    ],
)
def test_trap_26_an_unknown_or_impossible_setting_is_an_error(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EmbedtuneEmbeddings(**{"model": "sentence-transformers/all-MiniLM-L6-v2", **options})


def test_settings_do_not_change_under_a_loaded_model(prompted: Path) -> None:
    ours = embeddings(prompted)
    with pytest.raises(ValidationError, match="frozen"):
        ours.truncate_dim = 8


def test_a_copy_with_another_setting_loads_by_itself_and_one_without_shares(prompted: Path) -> None:
    ours = embeddings(prompted)
    assert len(ours.model_copy(update={"truncate_dim": 8}).embed_query("a")) == 8
    assert len(ours.embed_query("a")) == 384
    assert ours.model_copy().embedder is ours.embedder is copy.deepcopy(ours).embedder
    with pytest.raises(ValidationError, match="truncate_dim"):
        ours.model_copy(update={"truncate_dim": 0})


def test_truncation_is_the_same_on_both_sides(prompted: Path) -> None:
    """Half a vector on one side finds nothing, or something by chance."""
    model, ours = (
        SentenceTransformer(str(prompted), device="cpu", truncate_dim=64),
        embeddings(prompted, truncate_dim=64),
    )
    query, document = ours.embed_query("wie"), ours.embed_documents(["wie"])[0]
    assert len(query) == len(document) == 64
    np.testing.assert_allclose(query, model.encode_query("wie"), atol=1e-5)
    np.testing.assert_allclose(document, model.encode_document("wie"), atol=1e-5)
    assert ours.fingerprint != embeddings(prompted).fingerprint


def test_what_changes_no_vector_changes_no_fingerprint(prompted: Path) -> None:
    ours = embeddings(prompted, batch_size=2, show_progress=False)
    assert ours.fingerprint == embeddings(prompted).fingerprint == ours.embedder.fingerprint
    np.testing.assert_allclose(ours.embed_documents(TEXTS), embeddings(prompted).embed_documents(TEXTS), atol=1e-5)


@pytest.mark.parametrize("shown", [True, False])
def test_the_bar_is_shown_as_told(prompted: Path, shown: bool, capsys: pytest.CaptureFixture[str]) -> None:
    embeddings(prompted, show_progress=shown).embed_documents(["a", "b"])
    assert ("embedding, document" in capsys.readouterr().err) == shown


@pytest.mark.parametrize("texts", ["a text", ["a", None], ["a", 1.5]])
def test_what_is_no_list_of_texts_is_refused(prompted: Path, texts: object) -> None:
    """A str is a list of characters to Python."""
    with pytest.raises(EmbeddingError, match="Texts must be a list of str; got a"):
        embeddings(prompted).embed_documents(texts)  # type: ignore[arg-type]


def test_threads_load_one_model_and_get_their_own_vectors(prompted: Path) -> None:
    ours, alone = embeddings(prompted), embeddings(prompted)
    texts = [f"{'word ' * (number % 7)}{number}" for number in range(48)]
    with ThreadPoolExecutor(8) as threads:
        models = set(threads.map(lambda _: id(ours.embedder), range(8)))
        found = list(threads.map(ours.embed_query, texts))
    assert len(models) == 1
    np.testing.assert_allclose(found, [alone.embed_query(text) for text in texts], atol=1e-5)


async def test_the_asynchronous_way_gives_the_same_and_lets_others_run(prompted: Path) -> None:
    ours, ticks = embeddings(prompted), 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.create_task(tick())
    documents, query = await asyncio.gather(ours.aembed_documents(TEXTS * 10), ours.aembed_query("wie"))
    ticking.cancel()
    assert ticks > 2
    np.testing.assert_allclose(documents[:4], ours.embed_documents(TEXTS), atol=1e-5)
    np.testing.assert_allclose(query, ours.embed_query("wie"), atol=1e-5)


def test_it_pickles_without_the_weights_and_loads_where_it_arrives(tuned: Path) -> None:
    ours = embeddings(tuned, truncate_dim=32)
    vector = ours.embed_query("wie")
    pickled = pickle.dumps(ours)
    assert len(pickled) < 2_000
    arrived = pickle.loads(pickled)
    assert (arrived.truncate_dim, arrived.fingerprint) == (32, ours.fingerprint)
    np.testing.assert_allclose(arrived.embed_query("wie"), vector, atol=1e-6)


def test_it_does_not_arrive_at_another_model(tuned: Path, prompted: Path, tmp_path: Path) -> None:
    """Vectors of two models do not compare."""
    shutil.copytree(tuned, tmp_path / "m")
    ours = embeddings(tmp_path / "m")
    assert ours.fingerprint
    pickled = pickle.dumps(ours)
    shutil.rmtree(tmp_path / "m")
    shutil.copytree(prompted, tmp_path / "m")
    with pytest.raises(EmbeddingError, match="it was replaced"):
        pickle.loads(pickled).embed_query("wie")


def test_a_loaded_model_is_used_as_it_is_and_not_pickled(prompted: Path) -> None:
    model = SentenceTransformer(str(prompted), device="cpu")
    ours = EmbedtuneEmbeddings(model=model)
    np.testing.assert_allclose(ours.embed_query("wie"), model.encode_query("wie"), atol=1e-6)
    assert "SentenceTransformer" in repr(ours)
    assert len(repr(ours)) < 100
    with pytest.raises(EmbeddingError, match="Save the model, and give EmbedtuneEmbeddings its folder"):
        pickle.dumps(ours)
    with pytest.raises(ValidationError, match=r"batch_size, truncate_dim would be of no use: this SentenceTransformer"):
        EmbedtuneEmbeddings(model=model, batch_size=8, truncate_dim=8)


def test_an_embedder_of_any_kind_serves(prompted: Path) -> None:
    assert len(EmbedtuneEmbeddings(model=HashEmbedder()).embed_query("red apples")) == 64
    inner = embeddings(prompted)
    assert EmbedtuneEmbeddings(model=inner).embed_query("a") == inner.embed_query("a")


def test_trap_27_a_relative_folder_is_found_from_another_working_folder(
    prompted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prompted.parent)
    ours = EmbedtuneEmbeddings(model=prompted.name, device="cpu")
    monkeypatch.chdir(tmp_path)
    assert ours.model == str(prompted)
    assert len(pickle.loads(pickle.dumps(ours)).embed_query("a")) == 384
    monkeypatch.setenv("HOME", str(prompted.parent))
    assert EmbedtuneEmbeddings(model=f"~/{prompted.name}").model == str(prompted)


def test_evaluated_is_the_model_itself_not_its_queries_one_by_one(tuned: Path) -> None:
    ours = embeddings(tuned)
    assert PluginManager().as_embedder(ours) is ours.embedder
    assert evaluate(ours, tiny_dataset(8)).metrics == evaluate(str(tuned), tiny_dataset(8)).metrics


def test_trap_1_what_the_model_was_tuned_on_is_marked(tuned: Path, prompted: Path) -> None:
    ours = embeddings(tuned)
    assert ours.record is not None
    assert ours.record.base_model == str(prompted)
    assert embeddings(prompted).record is None
    assert evaluate(ours, tiny_dataset(8)).n_seen == 16
    comparison = compare(embeddings(prompted), ours, tiny_dataset(8))
    assert comparison.n_seen == 16
    assert comparison.verdict != "ship"


def test_the_fingerprint_is_a_namespace_for_langchains_cache(tuned: Path, prompted: Path) -> None:
    store, query_store = InMemoryByteStore(), InMemoryByteStore()
    for folder in (prompted, tuned):
        ours = embeddings(folder)
        cached = CacheBackedEmbeddings.from_bytes_store(
            ours, store, namespace=ours.fingerprint, query_embedding_cache=query_store, key_encoder="sha256"
        )
        for _ in range(2):
            np.testing.assert_allclose(cached.embed_documents(["wie"]), ours.embed_documents(["wie"]), atol=1e-6)
            np.testing.assert_allclose(cached.embed_query("wie"), ours.embed_query("wie"), atol=1e-6)
    assert len(list(store.yield_keys())) == len(list(query_store.yield_keys())) == 2


@pytest.mark.slow
def test_a_spawned_process_embeds_the_same(tuned: Path, tmp_path: Path) -> None:
    ours = embeddings(tuned)
    (tmp_path / "ours").write_bytes(pickle.dumps(ours))
    code = f"import pickle; print(pickle.load(open({str(tmp_path / 'ours')!r}, 'rb')).embed_query('wie')[0])"
    assert float(run_python("import embedtune\n" + code)) == pytest.approx(ours.embed_query("wie")[0], abs=1e-5)


def test_german_paragraphs_are_found_through_it(wikipedia: QADataset, minilm: Path) -> None:
    assert evaluate(embeddings(minilm), wikipedia, top_k=5).hit_rate > 0.4
