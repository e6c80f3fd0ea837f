"""LangChain's own suites for integrations, over a base and over a tuned model, without a network."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import InMemoryVectorStore, VectorStore
from langchain_tests.integration_tests import EmbeddingsIntegrationTests, VectorStoreIntegrationTests
from langchain_tests.unit_tests import EmbeddingsUnitTests
from pytest_socket import disable_socket, enable_socket

from langchain_embedtune import EmbedtuneEmbeddings


@pytest.fixture(params=["minilm", "tuned"])
def folder(request: pytest.FixtureRequest) -> Path:
    found: Path = request.getfixturevalue(request.param)
    return found


@functools.cache
def embeddings_of(folder: Path) -> EmbedtuneEmbeddings:
    """Loaded once: the suite makes dozens of stores."""
    return EmbedtuneEmbeddings(model=folder, device="cpu")


@pytest.fixture(autouse=True)
def _no_sockets() -> Iterator[None]:
    disable_socket(allow_unix_socket=True)  # an event loop wakes itself by one
    yield
    enable_socket()


class OurModel:
    """What the suites ask for."""

    @pytest.fixture(autouse=True)
    def _folder(self, folder: Path) -> None:
        self.folder = folder

    @property
    def embeddings_class(self) -> type[Embeddings]:
        return EmbedtuneEmbeddings

    @property
    def embedding_model_params(self) -> dict[str, Any]:
        return {"model": str(self.folder), "device": "cpu"}


class TestUnit(OurModel, EmbeddingsUnitTests):
    pass


class TestIntegration(OurModel, EmbeddingsIntegrationTests):
    pass


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, folder: Path) -> VectorStore:
        return InMemoryVectorStore(embeddings_of(folder))
