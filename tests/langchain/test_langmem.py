"""langmem's own tools over ``memory.store()``, on every store."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from lc_memory import Memory
from tests.openai_server import Call, OpenAIServer, Say, Step

langmem = pytest.importorskip("langmem", reason="langmem is not installed")

ADA = ("memories", "ada")


class Pet(BaseModel):
    """A pet."""

    name: str


def test_what_the_tool_manages_is_in_the_store(memory: Memory) -> None:
    store = memory.store()
    manage = langmem.create_manage_memory_tool(ADA, store=store)
    said = manage.invoke({"content": "Ada has a cat.", "action": "create"})
    [item] = store.search(ADA)
    assert said == f"created memory {item.key}"
    assert item.value == {"content": "Ada has a cat."}

    change = {"content": "Ada has two cats.", "action": "update", "id": item.key}
    assert manage.invoke(change) == f"updated memory {item.key}"
    [changed] = store.search(ADA)
    assert (changed.key, changed.value) == (item.key, {"content": "Ada has two cats."})
    assert changed.created_at == item.created_at < changed.updated_at

    manage.invoke({"action": "delete", "id": item.key})
    assert store.search(ADA) == []


async def test_async_and_with_a_schema(memory: Memory) -> None:
    store = memory.store()
    manage = langmem.create_manage_memory_tool(ADA, store=store, schema=Pet)
    await manage.ainvoke({"content": {"name": "Turing"}, "action": "create"})
    search = langmem.create_search_memory_tool(ADA, store=store)
    for found in (await search.ainvoke({"query": ""}), search.invoke({"query": ""})):
        [item] = json.loads(found)
        assert item["value"] == {"content": {"name": "Turing"}}
        assert item["namespace"] == list(ADA)
    await manage.ainvoke({"action": "delete", "id": item["key"]})
    assert await store.asearch(ADA) == []


def test_the_search_tool_filters_and_pages(memory: Memory) -> None:
    store = memory.store()
    manage = langmem.create_manage_memory_tool(ADA, store=store)
    for number in range(5):
        manage.invoke({"content": f"fact {number}", "action": "create"})
    search = langmem.create_search_memory_tool(ADA, store=store)
    pages = [search.invoke({"query": "", "limit": 2, "offset": at}) for at in (0, 2, 4)]
    found = [item["value"]["content"] for page in pages for item in json.loads(page)]
    assert sorted(found) == [f"fact {number}" for number in range(5)]
    [one] = json.loads(search.invoke({"query": "", "filter": {"content": "fact 3"}}))
    assert one["value"] == {"content": "fact 3"}


def test_an_agent_keeps_users_apart_with_them(memory: Memory) -> None:
    """The store comes from the graph, the namespace from the run's config."""
    namespace = ("memories", "{user}")
    tools = [
        langmem.create_manage_memory_tool(namespace),
        langmem.create_search_memory_tool(namespace),
    ]
    facts = {"ada": "Likes Python.", "bob": "Likes Go."}
    keep: list[Step] = [
        step
        for fact in facts.values()
        for step in (Call("manage_memory", {"content": fact, "action": "create"}), Say("Kept."))
    ]
    look: list[Step] = [Call("search_memory", {"query": ""}), Say("Python.")]
    with OpenAIServer([*keep, *look]) as server:
        model = ChatOpenAI(model="gpt-test", base_url=server.base_url, api_key="test")  # type: ignore[arg-type]
        agent: Any = create_agent(model, tools, store=memory.store())
        for user in (*facts, "ada"):
            config = {"configurable": {"user": user}}
            state = agent.invoke({"messages": [("user", "Hello")]}, config)
    seen = state["messages"][-2].content
    assert facts["ada"] in seen
    assert facts["bob"] not in seen
    for user, fact in facts.items():
        [item] = memory.store().search(("memories", user))
        assert item.value == {"content": fact}
        assert str(uuid.UUID(item.key)) == item.key
