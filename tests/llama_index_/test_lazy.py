"""Law 2: LlamaIndex costs its import only to those who use it; its namespace stays shared."""

import pytest

from subprocesses import modules_loaded_by, run_python


@pytest.mark.parametrize(
    "code",
    [
        "import llama_index.embeddings.embedtune",
        "import llama_index.embeddings.embedtune.plugin",
        "from embedtune import PluginManager\nassert PluginManager().as_llm(object()) is None\n"
        "assert PluginManager().as_embedder(object()) is None",
    ],
)
def test_no_llama_index_core_before_an_object_of_it(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "llama_index.embeddings.embedtune" in loaded
    assert not loaded & {"llama_index.core", "torch", "openai", "langchain_core"}


def test_llama_index_namespaces_are_shared() -> None:
    code = "import llama_index, llama_index.embeddings as e, llama_index.core\nprint(llama_index.__file__, e.__file__)"
    assert run_python("import embedtune, llama_index.embeddings.embedtune\n" + code) == "None None"
