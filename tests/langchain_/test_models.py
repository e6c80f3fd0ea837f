"""LangChain's embedding, chat and completion models as embedtune's own."""

import asyncio
import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from langchain_core.embeddings import DeterministicFakeEmbedding, Embeddings
from langchain_core.language_models import BaseChatModel, FakeListChatModel, FakeListLLM
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult

from embedtune import EmbeddingError, GenerationError, PluginManager, QADataset, TextChunk, evaluate
from embedtune.protocols import LLMAnswer, LLMRequest
from embedtune.testing import EmbedderContract, HashEmbedder, LLMContract, tiny_dataset
from fault_server import Faults, fault_server
from framework_models import AsyncChat
from langchain_embedtune import LangChainEmbedder, LangChainLLM
from servers import Reply, Request, chat_answer, scripted_server


class WordEmbeddings(Embeddings):
    """Bag of words; queries carry a mark, so that a mix-up of the sides shows."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [[*vector, 0.0] for vector in HashEmbedder().embed_documents(texts).tolist()]

    def embed_query(self, text: str) -> list[float]:
        return [*HashEmbedder().embed_queries([text])[0].tolist(), 1.0]


class HttpChat(BaseChatModel):
    """A LangChain chat model over the wire."""

    base_url: str

    @property
    def _llm_type(self) -> str:
        return "http"

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        assert [type(message) for message in messages] == [HumanMessage]
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": messages[0].text}]}).encode()
        request = urllib.request.Request(
            f"{self.base_url}/chat/completions", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:
            choice = json.load(answer)["choices"][0]
        told = {"finish_reason": choice["finish_reason"]}
        message = AIMessage(content=choice["message"]["content"], response_metadata=told)
        return ChatResult(generations=[ChatGeneration(message=message)])


class TestEmbeddingsContract(EmbedderContract):
    def make(self) -> LangChainEmbedder:
        return LangChainEmbedder(WordEmbeddings())


class TestFakeEmbeddingsContract(EmbedderContract):
    def make(self) -> LangChainEmbedder:
        return LangChainEmbedder(DeterministicFakeEmbedding(size=8))


class TestChatModelContract(LLMContract):
    @pytest.fixture(autouse=True)
    def _server(self) -> Iterator[None]:
        with scripted_server(lambda _: Reply(chat_answer("Why?"))) as server:
            self.model = HttpChat(base_url=server.base_url)
            yield

    def make(self) -> LangChainLLM:
        return LangChainLLM(self.model)


class TestCompletionModelContract(LLMContract):
    def make(self) -> LangChainLLM:
        return LangChainLLM(FakeListLLM(responses=["Why?"]))


def test_an_embedding_model_is_claimed_and_evaluates() -> None:
    assert isinstance(PluginManager().as_embedder(WordEmbeddings()), LangChainEmbedder)
    assert evaluate(WordEmbeddings(), tiny_dataset(), top_k=1).hit_rate == 1


def test_queries_and_documents_go_their_own_ways() -> None:
    embedder = LangChainEmbedder(WordEmbeddings())
    assert embedder.embed_queries(["a", "b"])[:, -1].tolist() == [1, 1]
    assert embedder.embed_documents(["a", "b"])[:, -1].tolist() == [0, 0]


def test_vectors_are_those_of_the_model() -> None:
    model = WordEmbeddings()
    np.testing.assert_allclose(LangChainEmbedder(model).embed_queries(["a b"])[0], model.embed_query("a b"), rtol=1e-6)


def test_a_model_that_loses_a_text_is_an_error_not_a_shifted_row() -> None:
    class Losing(WordEmbeddings):
        def embed_documents(self, texts: list[str]) -> list[list[float]]:
            return super().embed_documents(texts[1:])

    with pytest.raises(EmbeddingError, match=r"'Losing' returned shape \(1, 65\) for 2 texts"):
        LangChainEmbedder(Losing()).embed_documents(["a", "b"])


@pytest.mark.parametrize("model", [FakeListChatModel(responses=["a"]), FakeListLLM(responses=["a"])])
def test_chat_and_completion_models_are_claimed(model: object) -> None:
    assert isinstance(PluginManager().as_llm(model), LangChainLLM)


def test_strangers_are_not_claimed() -> None:
    manager = PluginManager()
    for stranger in (object(), "text", Embeddings, BaseChatModel, HumanMessage("Hi.")):
        assert manager.claim("embedtune_as_embedder", stranger) is None
        assert manager.claim("embedtune_as_llm", stranger) is None


def test_an_answer_in_parts_gives_its_text() -> None:
    parts = [{"type": "reasoning", "reasoning": "Hm."}, {"type": "text", "text": "Why"}, {"type": "text", "text": "?"}]
    with scripted_server(lambda _: Reply(chat_answer(parts))) as server:  # type: ignore[arg-type]
        assert LangChainLLM(HttpChat(base_url=server.base_url)).chat_completion("Hello?") == "Why?"


@pytest.mark.parametrize("content", ["", " \n", [], [{"type": "reasoning", "reasoning": "Hm."}]])
def test_an_answer_without_text_names_its_finish_reason(content: Any) -> None:
    with scripted_server(lambda _: Reply(chat_answer(content, "content_filter"))) as server:
        llm = LangChainLLM(HttpChat(base_url=server.base_url))
        with pytest.raises(GenerationError, match=r"without text \(finish_reason 'content_filter'\)"):
            llm.chat_completion("Hello?")


def test_a_model_without_an_asynchronous_way_waits_on_threads() -> None:
    """The framework's own threads are few; and one after another would take a night."""

    async def all_at_once(llm: LangChainLLM) -> list[LLMAnswer]:
        requests = [LLMRequest(prompt=f"chunk-number-{number}") for number in range(24)]
        answers = await asyncio.gather(*map(llm.acomplete, requests))
        await llm.aclose()
        return answers

    with fault_server(Faults(latency=0.5)) as server:
        llm = LangChainLLM(HttpChat(base_url=server.url))
        assert not llm.is_async
        answers = asyncio.run(all_at_once(llm))
        assert max(entry.n_open for entry in server.log) > 16
        assert len(asyncio.run(all_at_once(llm))) == 24, "after aclose too"
    assert all(f"item {number} " in answer.text for number, answer in enumerate(answers))


@pytest.mark.parametrize("model", [FakeListChatModel(responses=["Why?"]), FakeListLLM(responses=["Why?"])])
def test_an_answer_without_counts_is_answered_with_none(model: object) -> None:
    answer = asyncio.run(LangChainLLM(model).acomplete(LLMRequest(prompt="Hello?")))
    assert (answer.text, answer.prompt_tokens, answer.completion_tokens) == ("Why?", None, None)


def test_any_error_of_a_model_is_a_generation_error_with_its_reason() -> None:
    with scripted_server(lambda _: Reply({}, status=503)) as server:
        llm = LangChainLLM(HttpChat(base_url=server.base_url))
        with pytest.raises(GenerationError, match=r"HttpChat failed: HTTPError: HTTP Error 503"):
            llm.chat_completion("Hello?")


def test_trap_9_a_chunk_that_fails_takes_no_other_chunks_questions() -> None:
    """``llm.with_retry()`` with ``batch(return_exceptions=True)`` puts them on the wrong chunk: one invoke each."""

    def write(request: Request) -> Reply:
        prompt = request.body["messages"][0]["content"]
        (number,) = [n for n in range(3) if f"number {n}." in prompt]
        return Reply({}, status=500) if number == 1 else Reply(chat_answer(f"1. What is number {number}?"))

    chunks = [TextChunk.from_chunk(f"This is number {n}.") for n in range(3)]
    with scripted_server(write) as server:
        dataset = QADataset.from_llm(chunks, HttpChat(base_url=server.base_url), retries=1, progress=False)
    assert {dataset.corpus[dataset.relevant_docs[q][0]]: text for q, text in dataset.queries.items()} == {
        "This is number 0.": "What is number 0?",
        "This is number 2.": "What is number 2?",
    }


def test_trap_10_no_answer_is_lost_on_one_failure_and_requests_at_once_are_bounded() -> None:
    """Plain ``batch`` loses all that is paid for, ``abatch`` asks for everything at once."""
    chunks = [TextChunk.from_chunk(f"A text on chunk-number-{number}, with some words.") for number in range(24)]
    with fault_server(Faults(latency=0.1, always_fails=frozenset({7}))) as server:
        llm = AsyncChat(base_url=server.url)
        dataset = QADataset.from_llm(chunks, llm, concurrency=4, retries=1, progress=False)
        assert 2 <= max(entry.n_open for entry in server.log) <= 4
    asked = {chunk for found in dataset.relevant_docs.values() for chunk in found}
    assert asked == {chunk.id for number, chunk in enumerate(chunks) if number != 7}


def test_trap_12_an_answer_in_prose_is_read_since_no_structured_output_is_asked_for() -> None:
    """``with_structured_output`` gives None for it, without an error."""
    prose = "Sure! Here are two questions:\n\n1. What is number zero?\n2. Who counts number zero?"
    with scripted_server(lambda _: Reply(chat_answer(prose))) as server:
        dataset = QADataset.from_llm(
            [TextChunk.from_chunk("This is number zero.")], HttpChat(base_url=server.base_url), progress=False
        )
        assert not {"response_format", "tools", "tool_choice"} & server.requests[0].body.keys()
    assert set(dataset.queries.values()) == {"What is number zero?", "Who counts number zero?"}


def test_trap_16_both_work_inside_a_running_event_loop() -> None:
    """A notebook always has one."""

    async def cell() -> tuple[str, tuple[int, ...]]:
        with scripted_server(lambda _: Reply(chat_answer("Hi."))) as server:
            text = LangChainLLM(HttpChat(base_url=server.base_url)).chat_completion("Hello?")
        return text, LangChainEmbedder(WordEmbeddings()).embed_queries(["a"]).shape

    assert asyncio.run(cell()) == ("Hi.", (1, 65))


@pytest.mark.slow
def test_a_real_local_llm_answers(local_llm: str) -> None:
    assert LangChainLLM(HttpChat(base_url=local_llm)).chat_completion("Write one question about apples.").strip()
