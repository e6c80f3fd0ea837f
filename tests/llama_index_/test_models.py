"""LlamaIndex's embedding models and LLMs as embedtune's own."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.base.llms.types import (
    ChatMessage,
    ChatResponse,
    CompletionResponse,
    CompletionResponseGen,
    LLMMetadata,
)
from llama_index.core.embeddings import MockEmbedding
from llama_index.core.llms import CustomLLM, MockLLM
from pydantic import Field

from embedtune import EmbeddingError, GenerationError, PluginManager, QADataset, TextChunk, evaluate
from embedtune.protocols import LLMAnswer, LLMRequest
from embedtune.testing import EmbedderContract, HashEmbedder, LLMContract, tiny_dataset
from fault_server import Faults, fault_server
from llama_index.embeddings.embedtune import LlamaIndexEmbedder, LlamaIndexLLM
from servers import Reply, Request, chat_answer, scripted_server


class WordEmbedding(BaseEmbedding):
    """Bag of words; queries carry a mark, so that a mix-up of the sides shows."""

    calls: list[tuple[str, int]] = Field(default_factory=list)

    def _get_query_embedding(self, query: str) -> list[float]:
        self.calls.append(("query", 1))
        return [*HashEmbedder().embed_queries([query])[0].tolist(), 1.0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return self._get_query_embedding(query)

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._get_text_embeddings([text])[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        self.calls.append(("texts", len(texts)))
        return [[*vector, 0.0] for vector in HashEmbedder().embed_documents(texts).tolist()]


class HttpLLM(CustomLLM):
    """A LlamaIndex LLM over the wire, by chat or by completion of the same endpoint."""

    base_url: str
    is_chat: bool = True

    @property
    def metadata(self) -> LLMMetadata:
        return LLMMetadata(model_name="m", is_chat_model=self.is_chat)

    def chat(self, messages: list[ChatMessage], **kwargs: Any) -> ChatResponse:
        assert [message.role for message in messages] == ["user"]
        return ChatResponse(message=ChatMessage(role="assistant", content=self._post(messages[0].content or "")))

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        return CompletionResponse(text=self._post(prompt))

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        raise NotImplementedError

    def _post(self, prompt: str) -> str:
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": prompt}]}).encode()
        request = urllib.request.Request(
            f"{self.base_url}/chat/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            return str(json.load(answer)["choices"][0]["message"]["content"])


class TestEmbeddingContract(EmbedderContract):
    def make(self) -> LlamaIndexEmbedder:
        return LlamaIndexEmbedder(WordEmbedding())


@pytest.mark.parametrize("is_chat", [True, False])
class TestLLMContract(LLMContract):
    @pytest.fixture(autouse=True)
    def _server(self, is_chat: bool) -> Iterator[None]:
        with scripted_server(lambda _: Reply(chat_answer("Why?"))) as server:
            self.llm = HttpLLM(base_url=server.base_url, is_chat=is_chat)
            yield

    def make(self) -> LlamaIndexLLM:
        return LlamaIndexLLM(self.llm)

    def test_answers_with_text(self, is_chat: bool) -> None:
        super().test_answers_with_text()


def test_an_embedding_model_is_claimed_and_evaluates() -> None:
    assert isinstance(PluginManager().as_embedder(WordEmbedding()), LlamaIndexEmbedder)
    assert evaluate(WordEmbedding(), tiny_dataset(), top_k=1).hit_rate == 1


def test_queries_and_texts_go_their_own_ways_in_the_models_batches() -> None:
    model = WordEmbedding(embed_batch_size=2)
    embedder = LlamaIndexEmbedder(model)
    texts = ["a b", "c", "d"]
    assert embedder.embed_queries(texts)[:, -1].tolist() == [1, 1, 1]
    assert embedder.embed_documents(texts)[:, -1].tolist() == [0, 0, 0]
    assert model.calls == [("query", 1)] * 3 + [("texts", 2), ("texts", 1)]


def test_vectors_are_those_of_the_model() -> None:
    model = WordEmbedding()
    np.testing.assert_allclose(
        LlamaIndexEmbedder(model).embed_documents(["a b"])[0], model.get_text_embedding("a b"), rtol=1e-6
    )


def test_a_vector_with_nan_is_an_error() -> None:
    class Broken(MockEmbedding):
        def _get_vector(self) -> list[float]:
            return [float("nan")] * self.embed_dim

    with pytest.raises(EmbeddingError, match="'Broken' returned NaN"):
        LlamaIndexEmbedder(Broken(embed_dim=4)).embed_documents(["a"])


def test_an_llm_is_claimed() -> None:
    assert isinstance(PluginManager().as_llm(MockLLM()), LlamaIndexLLM)


def test_strangers_are_not_claimed() -> None:
    manager = PluginManager()
    for stranger in (object(), "text", BaseEmbedding, CustomLLM):
        assert manager.claim("embedtune_as_embedder", stranger) is None
        assert manager.claim("embedtune_as_llm", stranger) is None


@pytest.mark.parametrize("is_chat", [True, False])
def test_an_llm_without_an_asynchronous_way_waits_on_threads(is_chat: bool) -> None:
    """``CustomLLM.achat`` calls ``chat``, and so would hold the event loop up: one request after another."""

    async def all_at_once(llm: LlamaIndexLLM) -> list[LLMAnswer]:
        requests = [LLMRequest(prompt=f"chunk-number-{number}") for number in range(24)]
        answers = await asyncio.gather(*map(llm.acomplete, requests))
        await llm.aclose()
        return answers

    with fault_server(Faults(latency=0.5)) as server:
        llm = LlamaIndexLLM(HttpLLM(base_url=server.url, is_chat=is_chat))
        assert not llm.is_async
        answers = asyncio.run(all_at_once(llm))
        assert max(entry.n_open for entry in server.log) > 16
    assert all(f"item {number} " in answer.text for number, answer in enumerate(answers))


def test_an_answer_without_counts_is_answered_with_none() -> None:
    answer = asyncio.run(LlamaIndexLLM(MockLLM()).acomplete(LLMRequest(prompt="Hello?")))
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Hello?", None, None)


def test_any_error_of_an_llm_is_a_generation_error_with_its_reason() -> None:
    with scripted_server(lambda _: Reply({}, status=503)) as server:
        llm = LlamaIndexLLM(HttpLLM(base_url=server.base_url))
        with pytest.raises(GenerationError, match=r"HttpLLM failed: HTTPError: HTTP Error 503"):
            llm.chat_completion("Hello?")


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_answer_without_text_is_a_generation_error(text: str) -> None:
    with scripted_server(lambda _: Reply(chat_answer(text))) as server:
        llm = LlamaIndexLLM(HttpLLM(base_url=server.base_url))
        with pytest.raises(GenerationError, match="HttpLLM answered without text"):
            llm.chat_completion("Hello?")


def test_a_chunk_that_fails_takes_no_other_chunks_questions() -> None:
    def write(request: Request) -> Reply:
        prompt = request.body["messages"][0]["content"]
        (number,) = [n for n in range(3) if f"number {n}." in prompt]
        return Reply({}, status=500) if number == 1 else Reply(chat_answer(f"1. What is number {number}?"))

    chunks = [TextChunk.from_chunk(f"This is number {n}.") for n in range(3)]
    with scripted_server(write) as server:
        dataset = QADataset.from_llm(chunks, HttpLLM(base_url=server.base_url), retries=1, progress=False)
    assert {dataset.corpus[dataset.relevant_docs[q][0]]: text for q, text in dataset.queries.items()} == {
        "This is number 0.": "What is number 0?",
        "This is number 2.": "What is number 2?",
    }


def test_trap_16_both_work_inside_a_running_event_loop() -> None:
    """A notebook always has one."""

    async def cell() -> tuple[str, tuple[int, ...]]:
        with scripted_server(lambda _: Reply(chat_answer("Hi."))) as server:
            text = LlamaIndexLLM(HttpLLM(base_url=server.base_url)).chat_completion("Hello?")
        return text, LlamaIndexEmbedder(WordEmbedding()).embed_queries(["a"]).shape

    assert asyncio.run(cell()) == ("Hi.", (1, 65))


@pytest.mark.slow
def test_a_real_local_llm_answers(local_llm: str) -> None:
    assert LlamaIndexLLM(HttpLLM(base_url=local_llm)).chat_completion("Write one question about apples.").strip()
