"""Law 2: the client costs its import only where it is used."""

import pytest

from subprocesses import modules_loaded_by


@pytest.mark.parametrize(
    "code",
    [
        "import embedtune_openai",
        "import embedtune_openai.plugin",
        "from embedtune_openai import Openai, OpenAIEmbedder; Openai(api_key='k'); OpenAIEmbedder('m', api_key='k')",
        "from embedtune import plugin_manager as p; p().llms(); p().llm('openai:m', api_key='k')",
    ],
)
def test_no_openai_before_the_first_request(code: str) -> None:
    loaded = modules_loaded_by(code)
    assert "embedtune_openai" in loaded
    assert not loaded & {"openai", "httpx", "httpx2", "torch"}
