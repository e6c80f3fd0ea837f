"""Law 2: LangChain costs its import only to those who use it."""

import pytest

from subprocesses import modules_loaded_by


@pytest.mark.parametrize(
    "code",
    [
        "import langchain_embedtune",
        "import langchain_embedtune.plugin",
        "from embedtune import PluginManager\nassert PluginManager().as_llm(object()) is None\n"
        "assert PluginManager().as_embedder(object()) is None",
    ],
)
def test_no_langchain_core_before_an_object_of_it(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "langchain_embedtune" in loaded
    assert not loaded & {"langchain_core", "torch", "openai", "llama_index.core"}
