"""The OpenAI Agents SDK's session, with the real SDK over a loopback server."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    HumanMessage,
    RemoveMessage,
    SystemMessage,
    ToolMessage,
)
from langchain_openai import ChatOpenAI
from openai import AsyncOpenAI

from agents import (
    Agent,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    RunConfig,
    Runner,
    Session,
    SessionSettings,
    function_tool,
    set_tracing_disabled,
)
from lc_memory import (
    InvalidKey,
    InvalidQuery,
    InvalidValue,
    Memory,
    MissingExtra,
    items_of,
    messages_of,
)
from tests.openai_server import Call, OpenAIServer, Say

set_tracing_disabled(True)

MODELS = [OpenAIChatCompletionsModel, OpenAIResponsesModel]

ITEMS: list[Any] = [
    {"role": "developer", "content": "Be kind."},
    {"role": "user", "content": "Hi, I'm Ada"},
    {
        "role": "user",
        "content": [
            {"type": "input_text", "text": "What is this?"},
            {"type": "input_image", "detail": "low", "image_url": "data:image/png;base64,aGk="},
            {"type": "input_image", "detail": "auto", "image_url": "https://example.org/a.png"},
            {"type": "input_file", "filename": "a.pdf", "file_id": "file_1"},
            {"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}},
        ],
    },
    {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}, {"type": "summary_text", "text": "so"}],
        "encrypted_content": "opaque",
    },
    {
        "type": "message",
        "role": "assistant",
        "id": "msg_1",
        "status": "completed",
        "content": [
            {
                "type": "output_text",
                "text": "A picture.",
                "annotations": [{"type": "file_citation", "file_id": "f", "index": 0}],
            }
        ],
    },
    {
        "type": "function_call",
        "call_id": "c1",
        "id": "fc_1",
        "name": "add",
        "arguments": '{"a": [1, {"b": "ü"}]}',
    },
    {"type": "function_call", "call_id": "c2", "name": "add", "arguments": "{broken"},
    {"type": "function_call_output", "call_id": "c1", "output": "3"},
    {
        "type": "function_call_output",
        "call_id": "c2",
        "output": [{"type": "input_text", "text": "no"}],
    },
    {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search"}},
    {
        "type": "message",
        "role": "assistant",
        "id": "m",
        "content": [{"type": "refusal", "refusal": "I won't."}],
    },
    {"role": "assistant", "content": "cut \ud83d and nul \0 and 😀"},
    {"role": "assistant", "content": "another message"},
]


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/memory.db"


@pytest.fixture
def server() -> Iterator[OpenAIServer]:
    with OpenAIServer() as opened:
        yield opened


@function_tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def agent_of(server: OpenAIServer, model: Any) -> Agent[Any]:
    client = AsyncOpenAI(base_url=server.base_url, api_key="test", max_retries=0)
    return Agent(name="Tutor", model=model("gpt-test", client), tools=[add])


@pytest.mark.parametrize("model", MODELS)
async def test_an_agent_goes_on_where_another_process_stopped(
    server: OpenAIServer, model: Any, url: str
) -> None:
    server.script.extend([[Call("add", {"a": 1, "b": 2}), Call("add", {"a": 3, "b": 4})]])
    server.script.extend([Say("3 and 7, Ada."), Say("You are Ada.")])
    with Memory(url) as memory:
        first = await Runner.run(
            agent_of(server, model), "I'm Ada: 1+2, 3+4?", session=memory.session("s")
        )
    assert first.final_output == "3 and 7, Ada."
    with Memory(url) as memory:
        session = memory.session("s")
        second = await Runner.run(agent_of(server, model), "Who am I?", session=session)
        items: list[Any] = await session.get_items()
    assert second.final_output == "You are Ada."
    sent = str(server.requests[-1].body)
    for said in ("I'm Ada: 1+2, 3+4?", "3 and 7, Ada.", "Who am I?"):
        assert said in sent
    assert [item.get("type", item.get("role")) for item in items] == [
        "user",
        *["function_call"] * 2,
        *["function_call_output"] * 2,
        "message",
        "user",
        "message",
    ]
    assert [i["output"] for i in items if i.get("type") == "function_call_output"] == ["3", "7"]


async def test_a_stream_is_kept_too(server: OpenAIServer, memory: Memory) -> None:
    server.script.append(Say("Hello, Ada."))
    agent, session = agent_of(server, OpenAIResponsesModel), memory.session("s")
    async for _ in Runner.run_streamed(agent, "I'm Ada", session=session).stream_events():
        pass
    assert [m.text for m in await session.as_messages()] == ["I'm Ada", "Hello, Ada."]


async def test_it_is_the_sdks_protocol_and_items_come_back_equal(memory: Memory) -> None:
    session = memory.session("s")
    assert isinstance(session, Session)
    assert session.session_id == "s"
    await session.add_items(ITEMS)
    await session.add_items([])
    assert await memory.session("s").get_items() == ITEMS
    assert await session.pop_item() == ITEMS[-1]
    await session.clear_session()
    assert await session.get_items() == []
    assert await session.pop_item() is None


async def test_a_limit_gives_the_latest_in_order(server: OpenAIServer, memory: Memory) -> None:
    await memory.session("s").add_items([{"role": "user", "content": str(i)} for i in range(30)])

    async def got(settings: Any = None, limit: int | None = None) -> list[str]:
        items: list[Any] = await memory.session("s", settings).get_items(limit)
        return [item["content"] for item in items]

    assert await got(limit=2) == ["28", "29"]
    assert await got(SessionSettings(limit=3)) == ["27", "28", "29"]
    assert await got({"limit": 1}) == ["29"]
    assert await got(SessionSettings(limit=3), 1) == ["29"]
    assert await got(SessionSettings(limit=3), 0) == []
    assert len(await got()) == 30
    with pytest.raises(InvalidQuery):
        await got(limit=-1)

    server.script.extend([Say("a"), Say("b")])
    agent = agent_of(server, OpenAIChatCompletionsModel)
    await Runner.run(agent, "new", session=memory.session("s", SessionSettings(limit=2)))
    config = RunConfig(session_settings=SessionSettings(limit=1))
    await Runner.run(agent, "newer", session=memory.session("s"), run_config=config)
    sent = [[m["content"] for m in request.body["messages"]] for request in server.requests]
    assert sent == [["28", "29", "new"], ["a", "newer"]]


async def test_items_are_added_all_or_none(memory: Memory) -> None:
    session = memory.session("s")
    bad: list[Any] = [{"role": "user", "content": "fine"}, {"role": "user", "n": float("nan")}]
    with pytest.raises(InvalidValue, match=r"\$\.n"):
        await session.add_items(bad)
    assert await session.get_items() == []


async def test_concurrent_batches_stay_together_and_each_item_is_popped_once(
    memory: Memory,
) -> None:
    async def talk(name: str) -> None:
        batch: Any = [{"role": "user", "content": f"{name} {i}"} for i in range(3)]
        await memory.session("s").add_items(batch)

    await asyncio.gather(*(talk(f"t{n}") for n in range(30)))
    items: list[Any] = await memory.session("s").get_items()
    said = [item["content"].split() for item in items]
    assert len(said) == 90
    assert [number for _, number in said] == ["0", "1", "2"] * 30
    assert all(len({name for name, _ in said[i : i + 3]}) == 1 for i in range(0, 90, 3))

    popped: list[Any] = await asyncio.gather(*(memory.session("s").pop_item() for _ in range(100)))
    given = [item["content"] for item in popped if item]
    assert sorted(given) == sorted(item["content"] for item in items)
    assert popped.count(None) == 10


def test_one_session_serves_several_event_loops(server: OpenAIServer, memory: Memory) -> None:
    server.script.extend([Say("ok")] * 6)
    session, errors = memory.session("s"), []

    def talk() -> None:
        try:
            agent = agent_of(server, OpenAIChatCompletionsModel)
            for _ in range(2):
                asyncio.run(Runner.run(agent, "hi", session=session))  # type: ignore[arg-type]
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=talk) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert len(asyncio.run(session.get_items())) == 12


async def test_sessions_and_users_are_told_apart_exactly(memory: Memory) -> None:
    ids = ["s", "S", "ś", "s ", "s/1", "s%", "../s", "s'; DROP TABLE records; --", "😀"]
    for id in ids:
        await memory.session(id).add_items([{"role": "user", "content": id}])
    await memory.as_user("eve").session("s/1").add_items([{"role": "user", "content": "hers"}])
    memory.chat_history("s%").add_user_message("a chat history of its own")
    await memory.session("s").clear_session()
    found: list[Any] = [await memory.session(id).get_items() for id in ids]
    assert [[item["content"] for item in items] for items in found] == [[], *([i] for i in ids[1:])]
    for bad in ("", "a\0b", 7, None, "x" * 5000, "\ud800"):
        with pytest.raises(InvalidKey, match="session id"):
            memory.session(bad)  # type: ignore[arg-type]


def test_only_settings_of_the_sdks_own_need_the_sdk(
    memory: Memory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "agents", None)
    session = memory.session("s")
    asyncio.run(session.add_items([{"role": "user", "content": "hi"}]))
    assert len(asyncio.run(session.get_items())) == 1
    with pytest.raises(MissingExtra, match=r"lc-memory\[openai-agents\]"):
        memory.session("s", {"limit": 3})


def test_items_as_messages() -> None:
    found = messages_of(ITEMS)
    assert [type(m) for m in found] == [
        SystemMessage,
        HumanMessage,
        HumanMessage,
        AIMessage,
        ToolMessage,
        ToolMessage,
        AIMessage,
        AIMessage,
    ]
    image = found[2].content_blocks[1]
    assert image["type"] == "image"
    assert (image["base64"], image["mime_type"]) == ("aGk=", "image/png")
    turn = found[3]
    assert isinstance(turn, AIMessage)
    assert turn.text == "A picture."
    assert [(c["name"], c["args"], c["id"]) for c in turn.tool_calls] == [
        ("add", {"a": [1, {"b": "ü"}]}, "c1")
    ]
    assert [c["args"] for c in turn.invalid_tool_calls] == ["{broken"]
    assert turn.content_blocks[0]["reasoning"] == "hm\n\nso"  # type: ignore[typeddict-item]
    result = found[4]
    assert isinstance(result, ToolMessage)
    assert (result.tool_call_id, result.content, result.name) == ("c1", "3", "add")
    assert [m.text for m in found[6:]] == ["cut \ud83d and nul \0 and 😀", "another message"]


@pytest.mark.parametrize(
    "bad", [{"type": "message"}, {"role": "user", "content": [1]}, {"role": 5, "content": {}}, "x"]
)
def test_what_is_no_item_is_refused_by_its_place(bad: Any) -> None:
    with pytest.raises(InvalidValue, match=r"items\[1\]: no item"):
        messages_of([{"role": "user", "content": "Hi"}, bad])


def test_items_come_back_equal_from_messages() -> None:
    assert items_of(messages_of(ITEMS)) == ITEMS


async def test_a_long_session_is_converted_outside_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    threads = []

    def noted(items: Any) -> list[BaseMessage]:
        threads.append(threading.current_thread())
        return messages_of(items)

    monkeypatch.setattr("lc_memory.openai_agents.messages_of", noted)
    async with Memory("memory://") as memory:
        session = memory.session("s")
        await session.add_items([{"role": "user", "content": "Hi"}])
        assert await session.as_messages() == [HumanMessage("Hi")]
    assert threads != [threading.current_thread()]


def test_a_refusal_that_is_not_called_a_message_comes_back_as_one() -> None:
    refused: Any = {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]}
    assert items_of(messages_of([refused])) == [{"type": "message", **refused}]


MESSAGES: list[BaseMessage] = [
    SystemMessage("Be kind."),
    HumanMessage("Hi"),
    HumanMessage([{"type": "text", "text": "a"}, {"type": "image", "url": "https://e.org/a.png"}]),
    AIMessage(
        "Wait",
        tool_calls=[{"name": "f", "args": {"x": "ü"}, "id": "c1", "type": "tool_call"}],
        id="run-1",
        usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
    ),
    ToolMessage("3", tool_call_id="c1"),
    AIMessage([{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "Done"}]),
    ChatMessage("custom", role="critic"),
]


def test_messages_as_items_and_back() -> None:
    found = items_of(MESSAGES)
    assert found == [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "Hi"},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "a"},
                {"type": "input_image", "image_url": "https://e.org/a.png", "detail": "auto"},
            ],
        },
        {"role": "assistant", "content": "Wait"},
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": "ü"}'},
        {"type": "function_call_output", "call_id": "c1", "output": "3"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}]},
        {"role": "assistant", "content": "Done"},
        {"role": "critic", "content": "custom"},
    ]
    again = messages_of(found)
    assert [(type(m), m.text) for m in again] == [(type(m), m.text) for m in MESSAGES]
    assert again[3].tool_calls == MESSAGES[3].tool_calls  # type: ignore[attr-defined]
    with pytest.raises(InvalidValue, match=r"messages\[1\].*RemoveMessage"):
        items_of([HumanMessage("a"), RemoveMessage(id="x")])


@pytest.mark.parametrize("responses", [False, True])
async def test_each_framework_goes_on_with_the_others_conversation(
    server: OpenAIServer, memory: Memory, responses: bool
) -> None:
    """Both take a tool's work of the other, and the servers' APIs see all of it."""
    script = [Call("add", {"a": 1, "b": 2}), Say("3, Ada."), Say("From LangChain."), Say("Back.")]
    server.script.extend(script)
    agent = agent_of(server, MODELS[responses])
    session, history = memory.session("s"), memory.chat_history("s")
    await Runner.run(agent, "I'm Ada: 1+2?", session=session)

    model = ChatOpenAI(
        model="gpt-test", base_url=server.base_url, api_key="test", use_responses_api=responses
    )
    past = await session.as_messages()
    assert [m.type for m in past] == ["human", "ai", "tool", "ai"]
    history.add_messages([*past, HumanMessage("And now?")])
    history.add_message(model.invoke(history.messages))

    await Runner.run(agent, [*history.as_items(), {"role": "user", "content": "Again"}])
    assert await history.aas_items(2) == history.as_items(2)
    for request in server.requests[2:]:
        sent = str(request.body)
        for said in ("I'm Ada: 1+2?", "'3'", "3, Ada.", "And now?"):
            assert said in sent
    assert "From LangChain." in str(server.requests[3].body)


@pytest.mark.parametrize("responses", [False, True])
def test_langchains_models_take_reasoning_and_calls_of_items(
    server: OpenAIServer, responses: bool
) -> None:
    server.script.append(Say("ok"))
    model = ChatOpenAI(
        model="gpt-test", base_url=server.base_url, api_key="test", use_responses_api=responses
    )
    past = [*ITEMS[:2], *ITEMS[3:6], ITEMS[7]]
    assert model.invoke(messages_of(past)).text == "ok"
    sent = server.requests[0].body
    if responses:
        assert [item.get("id") for item in sent["input"]] == [
            None,
            None,
            "rs_1",
            "msg_1",
            "fc_1",
            None,
        ]
        assert "opaque" in str(sent)
    else:
        assert [call["id"] for call in sent["messages"][2]["tool_calls"]] == ["c1"]
    assert str(sent).count("'c1'") == 2
