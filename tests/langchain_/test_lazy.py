"""Law 2: LangChain costs its import only to those who use it."""

import pytest

import langchain_embedtune
from subprocesses import modules_loaded_by


@pytest.mark.parametrize(
    "code",
    [
        "import langchain_embedtune",
        "import langchain_embedtune.plugin",
        "import langchain_embedtune\nassert 'EmbedtuneEmbeddings' in dir(langchain_embedtune)",
        "from embedtune import PluginManager\nassert PluginManager().as_search(object()) is None",
        "from embedtune import PluginManager\nassert PluginManager().as_llm(object()) is None\n"
        "assert PluginManager().as_embedder(object()) is None",
    ],
)
def test_no_langchain_core_before_an_object_of_it(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "langchain_embedtune" in loaded
    assert not loaded & {"langchain_core", "torch", "openai", "llama_index.core"}


def test_no_torch_before_the_first_text_is_embedded() -> None:
    loaded = modules_loaded_by("from langchain_embedtune import EmbedtuneEmbeddings, finetune")
    assert "langchain_core.embeddings" in loaded
    assert not loaded & {"torch", "sentence_transformers", "openai", "llama_index.core"}


def test_public_names_are_all_there_and_no_other() -> None:
    assert sorted(langchain_embedtune.__all__) == langchain_embedtune.__all__
    for name in langchain_embedtune.__all__:
        assert getattr(langchain_embedtune, name).__doc__
    with pytest.raises(AttributeError, match="module 'langchain_embedtune' has no attribute 'Embeddings'"):
        _ = langchain_embedtune.Embeddings
