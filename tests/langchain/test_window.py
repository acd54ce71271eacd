"""Windows over a conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from lc_memory import InvalidQuery, Memory, window


def call(*ids: str) -> AIMessage:
    calls = [{"name": "f", "args": {}, "id": id, "type": "tool_call"} for id in ids]
    return AIMessage("", tool_calls=calls)


def result(id: str) -> ToolMessage:
    return ToolMessage(id, tool_call_id=id)


SYSTEM = SystemMessage("Be kind.")
TALK: list[BaseMessage] = [
    SYSTEM,
    HumanMessage("one"),
    call("a", "b"),
    result("a"),
    result("b"),
    AIMessage("first"),
    HumanMessage("two"),
    AIMessage("second"),
]


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        (8, [0, *range(1, 8)]),
        (7, [0, 6, 7]),
        (4, [0, 6, 7]),
        (3, [0, 6, 7]),
        (2, [0, 7]),
        (1, [0, 7]),
    ],
)
def test_by_messages(limit: int, kept: list[int]) -> None:
    assert window(TALK, max_messages=limit) == [TALK[i] for i in kept]


def test_by_tokens() -> None:
    def words(messages: list[BaseMessage]) -> int:
        return sum(len(str(m.content).split()) for m in messages)

    talk = [SYSTEM, HumanMessage("a b c"), AIMessage("d e"), HumanMessage("f"), AIMessage("g")]
    assert window(talk, max_tokens=9, token_counter=words) == talk
    assert window(talk, max_tokens=8, token_counter=words) == [SYSTEM, *talk[3:]]
    assert window(talk, max_tokens=4, token_counter=words) == [SYSTEM, *talk[3:]]
    assert window(talk, max_tokens=3, token_counter=words) == [SYSTEM, talk[4]]
    assert window(talk, max_tokens=8, max_messages=2, token_counter=words) == [SYSTEM, talk[4]]
    long = [HumanMessage("word " * 1000), AIMessage("ok"), HumanMessage("short")]
    assert window(long, max_tokens=100) == long[2:]


def test_calls_and_results_stay_together_even_over_the_limit() -> None:
    talk = [HumanMessage("q"), call("a", "b", "c"), result("a"), result("b"), result("c")]
    assert window(talk, max_messages=2) == talk[1:]
    assert window(talk, max_messages=4) == talk[1:]
    apart = [HumanMessage("q"), call("a"), HumanMessage("wait"), result("a"), AIMessage("x")]
    assert window(apart, max_messages=3) == apart[4:]
    assert window(apart, max_messages=4) == apart[1:]


def test_a_model_that_uses_ids_again_is_understood() -> None:
    talk = [HumanMessage("1"), call("x"), result("x"), HumanMessage("2"), call("x"), result("x")]
    assert window(talk, max_messages=3) == talk[3:]


def test_a_result_without_its_call_is_left_out() -> None:
    talk = [result("a"), AIMessage("first"), HumanMessage("two"), result("z"), AIMessage("second")]
    assert window(talk) == [talk[2], talk[4]]


def test_nothing_is_nothing() -> None:
    assert window([]) == []
    assert window([SYSTEM], max_messages=1) == [SYSTEM]
    assert window([AIMessage("Hello!")]) == [AIMessage("Hello!")]
    for limits in ({"max_messages": 0}, {"max_tokens": -1}):
        with pytest.raises(InvalidQuery, match="from 1 up"):
            window(TALK, **limits)


@st.composite
def talks(draw: st.DrawFn) -> list[BaseMessage]:
    messages: list[BaseMessage] = [SYSTEM] if draw(st.booleans()) else []
    for turn in range(draw(st.integers(0, 6))):
        messages.append(HumanMessage(f"q{turn}"))
        for step in range(draw(st.integers(0, 2))):
            ids = [f"{turn}.{step}.{i}" for i in range(draw(st.integers(1, 3)))]
            messages += [call(*ids), *map(result, draw(st.permutations(ids)))]
        if draw(st.booleans()):
            messages.append(AIMessage(f"a{turn}"))
    return messages


@given(talks(), st.integers(1, 25))
def test_every_window_keeps_the_promises(talk: list[BaseMessage], limit: int) -> None:
    found = window(talk, max_messages=limit)
    first = talk[:1] if talk[:1] == [SYSTEM] else []
    rest = found[len(first) :]
    assert found[: len(first)] == first
    assert rest == talk[len(talk) - len(rest) :]  # the latest, with no gap
    asked = [c["id"] for m in rest if isinstance(m, AIMessage) for c in m.tool_calls]
    assert sorted(asked) == sorted(m.tool_call_id for m in rest if isinstance(m, ToolMessage))
    if len(talk) > len(first):
        assert rest
    if any(m.type == "human" for m in rest):
        assert rest[0].type == "human"
    last = max((i for i, m in enumerate(rest) if not isinstance(m, ToolMessage)), default=0)
    assert len(found) <= limit or last == 0


async def test_a_history_gives_its_window_and_keeps_everything(memory: Memory) -> None:
    history = memory.chat_history("s")
    talk: list[BaseMessage] = [SYSTEM]
    for i in range(60):
        talk += [HumanMessage(f"q{i}"), call(f"c{i}"), result(f"c{i}"), AIMessage(f"a{i}")]
    history.add_messages(talk)
    for limit in (1, 5, 30, 63, 64, 65, 100, 239, 240, 241, 300):
        assert history.window(max_messages=limit) == window(talk, max_messages=limit), limit
    for tokens in (5, 100, 500, 100_000):
        assert await history.awindow(max_tokens=tokens) == window(talk, max_tokens=tokens)
    assert history.window() == talk
    assert history.window(max_tokens=3, token_counter=len) == [SYSTEM, AIMessage("a59")]
    assert history.messages == talk
    assert memory.chat_history("empty").window(max_messages=3) == []


def test_a_long_turn_is_found_whole(memory: Memory) -> None:
    ids = [f"c{i}" for i in range(150)]
    talk = [HumanMessage("q"), AIMessage("a"), HumanMessage("all of it"), call(*ids)]
    talk += map(result, ids)
    memory.chat_history("s").add_messages(talk)
    assert memory.chat_history("s").window(max_messages=10) == talk[3:]


def test_a_history_finds_the_call_of_a_late_result() -> None:
    talk: list[BaseMessage] = [SYSTEM]
    for i in range(50):
        talk += [HumanMessage(f"q{i}"), call(f"c{i}"), result(f"c{i}"), AIMessage(f"a{i}")]
    late = [call("late"), *(HumanMessage(f"and {i}?") for i in range(70)), result("late")]
    with Memory("memory://") as memory:
        for name, said in (("late", [*talk, *late]), ("lost", [*talk, result("lost"), *talk[1:9]])):
            history = memory.chat_history(name)
            history.add_messages(said)
            for limit in (5, 30, 64, 100, 150, 250, 300):
                found = history.window(max_messages=limit)
                assert found == window(said, max_messages=limit), (name, limit)
