"""The sentence-transformers function: paths, metadata, prompts, fingerprints, tuning."""

import json
import os
import shutil
from pathlib import Path

import lancedb.embeddings
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import embedtune
from embedtune import EmbeddingError, TuningError
from embedtune.fingerprints import folder_fingerprint
from embedtune.protocols import Embedder
from embedtune.testing import EmbedderContract, tiny_dataset
from embedtune_lancedb import get_registry
from lance_tables import TEXTS, function_of, run_script, save_with_prompts


class TestOurFunctionAsEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def folder(self, minilm: Path) -> None:
        self._folder = minilm

    def make(self) -> Embedder:
        return embedtune.as_embedder(function_of(self._folder))


class TestStockFunctionAsEmbedder(EmbedderContract):
    @pytest.fixture(autouse=True)
    def folder(self, minilm: Path) -> None:
        self._folder = minilm

    def make(self) -> Embedder:
        stock = lancedb.embeddings.get_registry().get("sentence-transformers")
        return embedtune.as_embedder(stock.create(name=str(self._folder)))


def test_a_missing_folder_is_named_before_torch_and_without_retries() -> None:
    code = """
import sys, time
from embedtune import ModelNotFoundError
from embedtune_lancedb import get_registry
started = time.monotonic()
for name in ("./missing", "/nowhere/model", "~/nowhere/model"):
    try:
        get_registry().get("sentence-transformers").create(name=name)
    except ModelNotFoundError as error:
        assert name in str(error), error
    else:
        raise AssertionError(name)
assert time.monotonic() - started < 1
print({"torch", "sentence_transformers"} & set(sys.modules))
"""
    assert run_script(code)[0] == "set()"


def test_making_a_function_loads_no_model(minilm: Path) -> None:
    code = f"""
import sys
from embedtune_lancedb import get_registry
get_registry().get("sentence-transformers").create(name={str(minilm)!r})
print("torch" in sys.modules)
"""
    assert run_script(code)[0] == "False"


@pytest.mark.parametrize("spelling", ["./model", "model", "~/model"])
def test_a_table_keeps_an_absolute_path(
    spelling: str, minilm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "model").symlink_to(minilm)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    kept = get_registry().get("sentence-transformers").create(name=spelling).safe_model_dump()
    assert kept["name"] == str(tmp_path / "model")


def test_a_table_keeps_trust_and_fingerprint(minilm: Path) -> None:
    function = get_registry().get("sentence-transformers").create(name=minilm, device="cpu")
    assert function.safe_model_dump() == {
        "name": str(minilm),
        "device": "cpu",
        "trust_remote_code": False,
        "fingerprint": folder_fingerprint(minilm),
    }
    assert json.loads(json.dumps(function.safe_model_dump())) == function.safe_model_dump()
    trusting = get_registry().get("sentence-transformers").create(name=minilm, trust_remote_code=True)
    assert trusting.safe_model_dump()["trust_remote_code"] is True


def test_field_values_are_hashable_and_equal_functions_are_equal(minilm: Path) -> None:
    assert hash(function_of(minilm)) == hash(function_of(minilm))
    assert function_of(minilm) == function_of(minilm)


def test_without_prompts_vectors_equal_those_of_lancedbs_class(minilm: Path) -> None:
    ours = function_of(minilm)
    stock = lancedb.embeddings.get_registry().get("sentence-transformers").create(**ours.safe_model_dump())
    assert not hasattr(stock, "finetune")
    assert ours.ndims() == stock.ndims() == 384
    np.testing.assert_allclose(ours.compute_source_embeddings(TEXTS), stock.compute_source_embeddings(TEXTS), atol=1e-6)
    np.testing.assert_allclose(ours.compute_query_embeddings("How?"), stock.compute_query_embeddings("How?"), atol=1e-6)


def test_each_side_gets_its_own_prompt_and_lancedbs_class_gives_none(prompted: Path) -> None:
    model, ours = SentenceTransformer(str(prompted)), function_of(prompted)
    queries, documents = ours.compute_query_embeddings(TEXTS[0]), ours.compute_source_embeddings(TEXTS)
    np.testing.assert_allclose(queries, model.encode_query(TEXTS[:1]), atol=1e-6)
    np.testing.assert_allclose(documents, model.encode_document(TEXTS), atol=1e-6)
    stock = lancedb.embeddings.get_registry().get("sentence-transformers").create(name=str(prompted))
    np.testing.assert_allclose(stock.compute_query_embeddings(TEXTS[0]), model.encode(TEXTS[:1]), atol=1e-6)
    assert np.abs(np.array(queries) - stock.compute_query_embeddings(TEXTS[0])).max() > 0.01


def test_a_text_that_is_none_has_no_vector(minilm: Path) -> None:
    first, second = function_of(minilm).compute_source_embeddings([None, "a text"])
    assert first is None
    assert len(second) == 384


def test_normalize_false_leaves_the_length(minilm: Path, tmp_path: Path) -> None:
    model = SentenceTransformer(str(minilm))
    del model[-1]  # the module that normalises
    model.save(str(tmp_path / "raw"))
    make = get_registry().get("sentence-transformers").create
    raw = make(name=tmp_path / "raw", normalize=False).compute_source_embeddings(TEXTS)
    unit = make(name=tmp_path / "raw").compute_source_embeddings(TEXTS)
    assert np.linalg.norm(raw, axis=1).min() > 1.5
    np.testing.assert_allclose(np.linalg.norm(unit, axis=1), 1, atol=1e-6)


def test_another_model_than_the_fingerprint_says_is_refused(minilm: Path) -> None:
    with pytest.raises(EmbeddingError, match=r"the vectors were made with 1234.*re-embed"):
        get_registry().get("sentence-transformers").create(name=minilm, fingerprint="1234")


def test_a_function_does_not_go_over_to_a_model_that_replaced_its_own(minilm: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(minilm, folder)
    function = function_of(folder)
    function.compute_query_embeddings("How?")
    shutil.rmtree(folder)
    save_with_prompts(minilm, folder)
    with pytest.raises(EmbeddingError, match="the vectors were made with"):
        function.compute_query_embeddings("How?")
    np.testing.assert_allclose(
        function_of(folder).compute_query_embeddings("How?"),
        SentenceTransformer(str(folder)).encode_query(["How?"]),
        atol=1e-6,
    )


def test_evaluate_gives_what_the_models_own_evaluation_gives(prompted: Path) -> None:
    ours = function_of(prompted).evaluate(tiny_dataset(8), top_k=1)
    assert ours.metrics == embedtune.evaluate(str(prompted), tiny_dataset(8), top_k=1).metrics


def test_an_unknown_option_of_finetune_is_refused(minilm: Path, tmp_path: Path) -> None:
    with pytest.raises(TuningError, match="no option 'batchsize'"):
        function_of(minilm).finetune(tiny_dataset(), path=tmp_path / "tuned", batchsize=2)
    assert os.listdir(tmp_path) == []


def test_finetune_without_a_path_says_so(minilm: Path) -> None:
    with pytest.raises(TuningError, match="path="):
        function_of(minilm).finetune(tiny_dataset())


@pytest.mark.slow
def test_the_base_scores_the_same_before_and_after_it_was_tuned(minilm: Path, tmp_path: Path) -> None:
    dataset = tiny_dataset(24)
    base = function_of(minilm)
    before, vectors = base.evaluate(dataset, top_k=1), base.compute_source_embeddings(TEXTS)
    result = base.finetune(dataset, path=tmp_path / "tuned", epochs=1, folds=2, learning_rate=2e-4, progress=False)
    after = base.evaluate(dataset, top_k=1)
    assert before.metrics == after.metrics
    np.testing.assert_array_equal(vectors, base.compute_source_embeddings(TEXTS))
    np.testing.assert_array_equal(vectors, function_of(minilm).compute_source_embeddings(TEXTS))
    tuned = function_of(result.path)
    assert tuned.safe_model_dump()["fingerprint"] == result.record.fingerprint
    if not result.kept_base:
        assert np.abs(np.array(tuned.compute_source_embeddings(TEXTS)) - np.array(vectors)).max() > 1e-3
    assert tuned.evaluate(dataset).n_seen == len(dataset)
