"""A tuned model as LlamaIndex's embedding: prompts, names, caches, files, threads, stores."""

import asyncio
import copy
import pickle
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from llama_index.core import VectorStoreIndex
from llama_index.core.ingestion import IngestionCache, IngestionPipeline
from llama_index.core.schema import TextNode
from llama_index.core.storage.kvstore import SimpleKVStore

from embedtune import EmbeddingError, ModelNotFoundError, as_embedder, evaluate
from embedtune.protocols import Vectors
from embedtune.testing import EmbedderContract, HashEmbedder, tiny_dataset
from llama_index.embeddings.embedtune import EmbedtuneEmbedding
from subprocesses import modules_loaded_by, run_python


@pytest.fixture(scope="module")
def other_model(small_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small model with another document prompt: as tuned, its vectors are others."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(small_model), device="cpu", prompts={"query": "ask: ", "document": "see: "})
    folder = tmp_path_factory.mktemp("models") / "other"
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def embedding(small_model: Path) -> EmbedtuneEmbedding:
    return EmbedtuneEmbedding(small_model, device="cpu")


class TestOfAnObject(EmbedderContract):
    def make(self) -> object:
        return as_embedder(EmbedtuneEmbedding(HashEmbedder()))


def test_nothing_is_loaded_before_it_embeds(small_model: Path) -> None:
    code = (
        "import embedtune\nfrom llama_index.embeddings.embedtune import EmbedtuneEmbedding\n"
        f"EmbedtuneEmbedding({str(small_model)!r}).to_dict()"
    )
    assert not modules_loaded_by(code) & {"torch", "sentence_transformers"}


def test_trap_21_each_side_gets_its_own_prompt(embedding: EmbedtuneEmbedding, small_model: Path) -> None:
    """Vectors are those of the plain library."""
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(small_model), device="cpu")
    np.testing.assert_allclose(embedding.get_query_embedding("a red door"), model.encode_query("a red door"), atol=1e-6)
    texts = ["a red door", "a blue window"]
    found = embedding.get_text_embedding_batch(texts)
    np.testing.assert_allclose(found, model.encode_document(texts), atol=1e-6)
    assert abs(np.subtract(found[0], embedding.get_query_embedding("a red door"))).max() > 1e-3


def test_batches_are_of_the_size_asked_for(small_model: Path) -> None:
    sizes = []

    class Counting(HashEmbedder):
        def embed_documents(self, texts: Sequence[str]) -> Vectors:
            sizes.append(len(texts))
            return super().embed_documents(texts)

    EmbedtuneEmbedding(Counting(), embed_batch_size=3).get_text_embedding_batch(["a"] * 7)
    assert sizes == [3, 3, 1]


def test_the_name_tells_base_from_tuned_and_not_where_it_lies(
    small_model: Path, other_model: Path, embedding: EmbedtuneEmbedding, tmp_path: Path
) -> None:
    moved = shutil.copytree(small_model, tmp_path / "small")
    assert embedding.model_name == f"small@{as_embedder(str(small_model)).fingerprint}"
    assert EmbedtuneEmbedding(moved).model_name == embedding.model_name
    assert EmbedtuneEmbedding(other_model).fingerprint != embedding.fingerprint
    assert EmbedtuneEmbedding(small_model, truncate_dim=8).model_name != embedding.model_name


def test_a_dictionary_or_json_of_it_gives_the_same_model(small_model: Path) -> None:
    embedding = EmbedtuneEmbedding(small_model, device="cpu", truncate_dim=8, embed_batch_size=5, num_workers=2)
    for again in (
        EmbedtuneEmbedding.from_dict(embedding.to_dict()),
        EmbedtuneEmbedding.from_json(embedding.to_json()),
        pickle.loads(pickle.dumps(embedding)),
        copy.deepcopy(embedding),
    ):
        assert again.to_dict() == embedding.to_dict()
        assert again.get_query_embedding("a") == embedding.get_query_embedding("a")
        assert len(again.get_text_embedding("a")) == 8


@pytest.mark.slow
def test_trap_27_a_relative_folder_is_found_in_a_process_of_another_folder(
    small_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(small_model.parent)
    told = EmbedtuneEmbedding("./small").to_json()
    monkeypatch.chdir(tmp_path)
    code = (
        "from llama_index.embeddings.embedtune import EmbedtuneEmbedding\n"
        f"print(len(EmbedtuneEmbedding.from_json({told!r}).get_query_embedding('a')))"
    )
    assert run_python(code) == "384"


def test_a_model_that_was_replaced_is_not_taken_for_the_one_in_a_file(
    small_model: Path, other_model: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(small_model, tmp_path / "model")
    told = EmbedtuneEmbedding(folder).to_dict()
    shutil.rmtree(folder)
    shutil.copytree(other_model, folder)
    with pytest.raises(EmbeddingError, match=r"it was replaced.*embed the chunks again"):
        EmbedtuneEmbedding.from_dict(told)


def test_one_of_an_object_says_that_no_file_can_hold_it() -> None:
    embedding = EmbedtuneEmbedding(HashEmbedder())
    assert pickle.loads(pickle.dumps(embedding)).get_query_embedding("a") == embedding.get_query_embedding("a")
    with pytest.raises(EmbeddingError, match="save the model, and give its folder"):
        EmbedtuneEmbedding.from_dict(embedding.to_dict())


def test_an_ingestion_cache_never_mixes_two_models_at_one_place(
    small_model: Path, other_model: Path, tmp_path: Path
) -> None:
    """Tuned again into the same folder."""
    folder = shutil.copytree(small_model, tmp_path / "model")
    cache = IngestionCache()

    def run() -> list[float]:
        pipeline = IngestionPipeline(transformations=[EmbedtuneEmbedding(folder, device="cpu")], cache=cache)
        (node,) = pipeline.run(nodes=[TextNode(text="a red door", id_="n")])
        assert node.embedding is not None
        return node.embedding

    before, entries = run(), len(cache.cache.get_all(cache.collection))
    assert run() == before
    assert len(cache.cache.get_all(cache.collection)) == entries == 1
    shutil.rmtree(folder)
    shutil.copytree(other_model, folder)
    assert run() != before
    assert run() == EmbedtuneEmbedding(other_model, device="cpu").get_text_embedding("a red door")


def test_a_cache_of_vectors_mixes_neither_models_nor_sides(small_model: Path, other_model: Path) -> None:
    """LlamaIndex itself keys it by the text alone."""
    store = SimpleKVStore()
    plain = {folder: EmbedtuneEmbedding(folder, device="cpu") for folder in (small_model, other_model)}
    cached = {folder: EmbedtuneEmbedding(folder, device="cpu", embeddings_cache=store) for folder in plain}
    cached[other_model].embeddings_cache = store
    for _ in range(2):
        for folder, embedding in cached.items():
            assert embedding.get_query_embedding("a") == plain[folder].get_query_embedding("a")
            assert embedding.get_text_embedding("a") == plain[folder].get_text_embedding("a")
            assert embedding.get_text_embedding_batch(["a"]) == [plain[folder].get_text_embedding("a")]
            assert asyncio.run(embedding.aget_query_embedding("a")) == plain[folder].get_query_embedding("a")
    assert {len(store.get_all(name)) for name in store._collections_mappings} == {1}
    assert len(store._collections_mappings) == 4


def test_the_asynchronous_ways_give_the_same_and_leave_the_loop_free(embedding: EmbedtuneEmbedding) -> None:
    async def all_ways() -> tuple[list[float], list[float], list[list[float]], int]:
        ticks = 0

        async def tick() -> None:
            nonlocal ticks
            while True:
                await asyncio.sleep(0)
                ticks += 1

        ticking = asyncio.create_task(tick())
        query = await embedding.aget_query_embedding("a")
        text = await embedding.aget_text_embedding("a")
        texts = await embedding.aget_text_embedding_batch(["a", "b"])
        ticking.cancel()
        return query, text, texts, ticks

    query, text, texts, ticks = asyncio.run(all_ways())
    assert query == embedding.get_query_embedding("a")
    assert text == embedding.get_text_embedding("a")
    np.testing.assert_allclose(texts, embedding.get_text_embedding_batch(["a", "b"]), atol=1e-6)
    assert ticks > 10


def test_threads_may_share_one(embedding: EmbedtuneEmbedding) -> None:
    texts = [f"{'long ' * (n % 7)}text {n}" for n in range(24)]
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(embedding.get_text_embedding, texts))
    np.testing.assert_allclose(found, [embedding.get_text_embedding(text) for text in texts], atol=1e-6)


def test_it_is_evaluated_as_its_model_is(embedding: EmbedtuneEmbedding, small_model: Path) -> None:
    assert as_embedder(embedding).fingerprint == embedding.fingerprint, "so vectors are cached"
    assert evaluate(embedding, tiny_dataset(8)).metrics == evaluate(str(small_model), tiny_dataset(8)).metrics


def test_an_index_takes_it(embedding: EmbedtuneEmbedding, nodes: list[TextNode]) -> None:
    index = VectorStoreIndex(nodes, embed_model=embedding)
    (found,) = index.as_retriever(similarity_top_k=1).retrieve("what do drums cost?")
    assert "drums" in found.node.get_content()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 3}, r"has no setting 'batch'. Settings: device, .*embed_batch_size"),
        ({"model_name": "small"}, r"leave model_name out"),
        ({"options": {"api_key": "sk-1"}}, r"'api_key' would stand in every file"),
        ({"model": None}, r"needs model="),
        ({"max_seq_length": 1}, "max_seq_length must be a whole number of at least 2, or None; got 1"),
        ({"truncate_dim": 0}, "truncate_dim must be a whole number of at least 1, or None; got 0"),
    ],
)
def test_trap_26_what_is_not_known_is_refused(small_model: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        EmbedtuneEmbedding(**({"model": small_model} | arguments))


def test_a_missing_folder_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="No model folder"):
        EmbedtuneEmbedding(tmp_path / "none")


@pytest.mark.parametrize("name", ["model", "options", "model_name"])
def test_what_names_the_model_cannot_be_changed(embedding: EmbedtuneEmbedding, name: str) -> None:
    """It would say another model than the one that embeds."""
    with pytest.raises(EmbeddingError, match=f"'{name}' of an EmbedtuneEmbedding cannot be changed"):
        setattr(embedding, name, "other")
    with pytest.raises(EmbeddingError, match=f"'{name}' of an EmbedtuneEmbedding cannot be changed"):
        embedding.model_copy(update={name: "other"})
    assert embedding.model_copy(update={"embed_batch_size": 7}).embed_batch_size == 7
