"""The registry: LanceDB's own classes with more, and nothing of LanceDB changed."""

from pathlib import Path

import lancedb.embeddings
import pytest
from lancedb.embeddings import EmbeddingFunctionRegistry, TextEmbeddingFunction

import embedtune
from embedtune import BackendNotFoundError, EmbeddingError, EvaluationError, TuningError
from embedtune.testing import HashEmbedder, tiny_dataset
from embedtune_lancedb import get_registry, register
from embedtune_lancedb.functions import TunableFunction
from lance_tables import run_script

STOCK = lancedb.embeddings.get_registry()
ALIASES = sorted(STOCK._functions)

each_alias = pytest.mark.parametrize("alias", ALIASES)


@each_alias
def test_every_alias_gives_a_subclass_of_lancedbs_class_once(alias: str) -> None:
    ours = get_registry().get(alias)
    assert issubclass(ours, STOCK.get(alias))
    assert ours is get_registry().get(alias)
    assert callable(ours.finetune)
    assert callable(ours.evaluate)
    assert ours.__embedding_function_registry_alias__ == alias


@each_alias
def test_lancedbs_own_class_and_registry_stay_as_they_are(alias: str) -> None:
    get_registry().get(alias)
    stock = STOCK.get(alias)
    assert stock.__module__.startswith("lancedb.")
    assert not hasattr(stock, "finetune")
    assert not hasattr(stock, "evaluate")


def test_the_registry_is_lancedbs_for_all_that_users_call_on_it() -> None:
    registry = get_registry()
    assert isinstance(registry, EmbeddingFunctionRegistry)
    assert registry.get_instance() is registry
    registry.set_var("model-of-a-test", "text-embedding-3-small")
    assert STOCK.get_var("model-of-a-test") == registry.get_var("model-of-a-test") == "text-embedding-3-small"
    function = registry.get("openai").create(name="$var:model-of-a-test")
    assert function.name == "text-embedding-3-small"
    assert function.safe_model_dump() == {"name": "$var:model-of-a-test"}


def test_an_unknown_alias_names_the_known_ones() -> None:
    with pytest.raises(BackendNotFoundError, match=r"no embedding function 'sentence_transformers'.*openai, sentence-"):
        get_registry().get("sentence_transformers")


@pytest.mark.parametrize("alias", ["openai", "ollama", "sentence-transformers"])
def test_an_unknown_keyword_is_refused_and_the_fields_are_named(alias: str) -> None:
    with pytest.raises(EmbeddingError, match=rf"'{alias}' has no field 'modle'. Fields: .*\bname\b"):
        get_registry().get(alias).create(modle="a")


def test_a_function_of_images_is_not_evaluated() -> None:
    function = get_registry().get("open-clip").model_construct(name="ViT-B-32")
    with pytest.raises(EvaluationError, match="'open-clip' embeds images"):
        function.evaluate(tiny_dataset())


def test_a_function_of_images_is_not_tuned(tmp_path: Path) -> None:
    function = get_registry().get("open-clip").model_construct(name="ViT-B-32")
    with pytest.raises(TuningError, match="'open-clip' embeds images"):
        function.finetune(tiny_dataset(), path=tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_a_users_own_function_is_evaluated_too() -> None:
    @STOCK.register("words-of-a-test")
    class Words(TextEmbeddingFunction):
        def ndims(self) -> int:
            raise AssertionError("the dimension is read from the vectors")

        def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
            return HashEmbedder().embed_documents(texts).tolist()

    try:
        assert get_registry().get("words-of-a-test").create().evaluate(tiny_dataset()).hit_rate == 1
        assert embedtune.evaluate(Words.create(), tiny_dataset()).hit_rate == 1, "LanceDB's own object is claimed"
        with pytest.raises(TuningError, match="path="):
            get_registry().get("words-of-a-test").create().finetune(tiny_dataset())
    finally:
        del STOCK._functions["words-of-a-test"]


def test_register_changes_the_whole_process_and_has_a_way_back() -> None:
    before = {alias: STOCK.get(alias) for alias in ALIASES}
    with register() as registration:
        assert STOCK.get("openai") is get_registry().get("openai")
        assert issubclass(STOCK.get("sentence-transformers"), TunableFunction)
        assert "open-clip" not in registration.aliases
        with register() as again:
            assert again.aliases == [], "a second call changes nothing"
        assert issubclass(STOCK.get("openai"), TunableFunction)
    assert {alias: STOCK.get(alias) for alias in ALIASES} == before
    assert STOCK.get("openai").__embedding_function_registry_alias__ == "openai"


@pytest.mark.parametrize("use", ["ndims", "SourceField", "VectorField", "safe_model_dump"])
def test_a_table_of_an_openai_model_that_lancedb_does_not_know_is_refused_early(use: str) -> None:
    function = get_registry().get("openai").create(name="multilingual-e5-small", base_url="http://127.0.0.1:9")
    with pytest.raises(EmbeddingError, match=r"'multilingual-e5-small': it knows .*ada-002.*dim=") as caught:
        getattr(function, use)()
    assert "text-embedding-3-large" in str(caught.value)
    assert "text-embedding-3-small" in str(caught.value)


def test_dim_sets_the_size_of_the_newer_openai_models() -> None:
    assert get_registry().get("openai").create(name="text-embedding-3-small", dim=256).ndims() == 256


def test_fingerprints_of_hosted_functions_know_the_address_and_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(**fields: object) -> str | None:
        return embedtune.as_embedder(get_registry().get("openai").create(**fields)).fingerprint

    plain = fingerprint(name="m", base_url="http://a/v1")
    get_registry().set_var("key-of-a-test", "secret-one")
    assert plain == fingerprint(name="m", base_url="http://a/v1", api_key="$var:key-of-a-test")
    assert plain == fingerprint(name="m", base_url="http://user:secret@a/v1/")
    assert (
        len({plain, fingerprint(name="n", base_url="http://a/v1"), fingerprint(name="m", base_url="http://b/v1")}) == 3
    )
    assert plain != fingerprint(name="m", base_url="http://a/v1", dim=8)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://a/v1")
    assert plain == fingerprint(name="m")


def test_neither_the_package_nor_its_plugin_imports_lancedb() -> None:
    code = """
import sys, embedtune_lancedb, embedtune_lancedb.plugin
from embedtune.plugins import plugin_manager
assert {"lancedb"} <= {row.name for row in plugin_manager().search_engines()}
assert plugin_manager().as_embedder(object()) is None
print({"lancedb", "pyarrow"} & set(sys.modules))
"""
    assert run_script(code)[0] == "set()"


def test_public_names_are_sorted_documented_and_there() -> None:
    import embedtune_lancedb

    assert embedtune_lancedb.__all__ == sorted(embedtune_lancedb.__all__)
    for name in embedtune_lancedb.__all__:
        assert getattr(embedtune_lancedb, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nope'"):
        embedtune_lancedb.nope  # noqa: B018
