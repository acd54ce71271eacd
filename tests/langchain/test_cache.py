"""LangChain's cache of model answers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import BaseCache
from langchain_core.globals import set_llm_cache
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.outputs import (
    ChatGeneration,
    ChatGenerationChunk,
    Generation,
    GenerationChunk,
)
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import AsyncCacheTestSuite, SyncCacheTestSuite
from pydantic import BaseModel

from lc_memory import InvalidValue, Memory
from lc_memory.testing.clock import FakeClock
from tests.openai_server import Call, OpenAIServer, Say


class TestSync(SyncCacheTestSuite):
    @pytest.fixture
    def cache(self, memory: Memory) -> BaseCache:
        return memory.llm_cache()


class TestAsync(AsyncCacheTestSuite):
    @pytest.fixture
    async def cache(self, memory: Memory) -> BaseCache:
        return memory.llm_cache()


@pytest.fixture
def everywhere() -> Iterator[None]:
    yield
    set_llm_cache(None)


CALLS = AIMessage(
    "",
    id="a1",
    tool_calls=[{"name": "f", "args": {"x": [1, None]}, "id": "c1", "type": "tool_call"}],
    usage_metadata={"input_tokens": 1, "output_tokens": 2, "total_tokens": 3},
    response_metadata={"logprobs": None},
)
ANSWERS: list[list[Generation]] = [
    [Generation(text="a", generation_info={"reason": "stop"}), GenerationChunk(text="b")],
    [ChatGeneration(message=CALLS, generation_info={"x": 1})],
    [ChatGeneration(message=AIMessage([{"type": "text", "text": "x"}]))],
    [ChatGenerationChunk(message=AIMessageChunk("piece"))],
    [Generation(text="cut \ud83d and nul \0")],
    [],
]


@pytest.mark.parametrize("answer", ANSWERS)
def test_answers_come_back_equal(memory: Memory, answer: list[Generation]) -> None:
    memory.llm_cache().update("p", "m", answer)
    found = memory.llm_cache().lookup("p", "m")
    assert found == answer
    assert [type(g) for g in found or ()] == [type(g) for g in answer]


class Parsed(BaseModel):
    n: int


class OwnGeneration(Generation):
    pass


class OwnMessage(AIMessage):
    pass


@pytest.mark.parametrize(
    "bad",
    [
        ChatGeneration(message=AIMessage("x", additional_kwargs={"parsed": Parsed(n=1)})),
        ChatGeneration(message=OwnMessage("x")),
        Generation(text="x", generation_info={"score": float("nan")}),
        OwnGeneration(text="x"),
        ChatGeneration(message=BaseMessage(content="x", type="strange")),
    ],
)
async def test_what_would_not_come_back_equal_is_not_cached(memory: Memory, bad: Any) -> None:
    cache = memory.llm_cache()
    cache.update("p", "m", [bad])
    assert cache.lookup("p", "m") is None
    cache.update("p", "m", [Generation(text="older")])
    await cache.aupdate("p", "m", [Generation(text="fine"), bad])
    assert await cache.alookup("p", "m") is None


def test_prompts_and_models_are_told_apart_exactly(memory: Memory) -> None:
    asked = [("ab", "c"), ("a", "bc"), ("", "abc"), ("AB", "c"), ("ab\0", "c"), ("\ud800", "c")]
    asked.append(("long " * 10_000, "c"))
    cache = memory.llm_cache()
    for number, (prompt, model) in enumerate(asked):
        cache.update(prompt, model, [Generation(text=str(number))])
    assert [cache.lookup(*pair) for pair in asked] == [
        [Generation(text=str(number))] for number in range(len(asked))
    ]
    assert memory.as_user("ada").llm_cache().lookup("ab", "c") is None


def test_an_entry_under_anothers_digest_is_no_answer(memory: Memory) -> None:
    cache = memory.llm_cache()
    cache.update("p", "m", [Generation(text="x")])
    (record,) = memory.backend.records()
    memory.backend.put(record.namespace, record.key, record.value | {"prompt": "another"})
    assert cache.lookup("p", "m") is None


def test_stored_data_is_never_revived_as_another_object(memory: Memory) -> None:
    trap = {"lc": 1, "type": "secret", "id": ["OPENAI_API_KEY"]}
    answer = [ChatGeneration(message=AIMessage("x", additional_kwargs={"trap": trap}))]
    memory.llm_cache().update("p", "m", answer)
    (found,) = memory.llm_cache().lookup("p", "m") or ()
    assert isinstance(found, ChatGeneration)
    assert found.message.additional_kwargs == {"trap": trap}


@pytest.mark.usefixtures("everywhere")
async def test_a_model_is_asked_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/memory.db"
    with OpenAIServer([Call("f", {"x": 1}), Say("another")]) as server:
        for round in range(3):  # each time as in another process
            model = ChatOpenAI(model="gpt-test", base_url=server.base_url, api_key="test")
            with Memory(url) as memory:
                set_llm_cache(memory.llm_cache())
                reply = await model.ainvoke("Hi") if round == 1 else model.invoke("Hi")
                assert [call["args"] for call in reply.tool_calls] == [{"x": 1}]
        with Memory(url) as memory:
            set_llm_cache(memory.llm_cache())
            assert model.invoke("Hello").text == "another"
        assert len(server.requests) == 2


def test_a_models_own_cache(memory: Memory) -> None:
    answers = iter([AIMessage("one"), AIMessage("two")])
    model = GenericFakeChatModel(messages=answers, cache=memory.llm_cache())
    assert [model.invoke(text).text for text in ("a", "a", "b", "a")] == [
        "one",
        "one",
        "two",
        "one",
    ]


def test_answers_are_good_for_their_time(clocked: Memory, clock: FakeClock) -> None:
    cache = clocked.llm_cache(ttl=10)
    cache.update("p", "m", [Generation(text="x")])
    clock.forward(9 * 60)
    assert cache.lookup("p", "m")
    clock.forward(2 * 60)
    assert cache.lookup("p", "m") is None
    with pytest.raises(InvalidValue, match="ttl"):
        clocked.llm_cache(ttl=0)
