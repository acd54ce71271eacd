"""Recall through LangChain's and LangGraph's own interfaces."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import HumanMessage
from langchain_tests.integration_tests import RetrieversIntegrationTests
from langgraph.store.memory import InMemoryStore

from lc_memory import Memory
from lc_memory.errors import InvalidQuery, Unsupported
from lc_memory.langchain.retriever import MemoryRetriever
from lc_memory.search.recall import Recall
from tests.search.test_recall import concepts


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Memory]:
    url = f"sqlite:///{tmp_path}/memory.db"
    with Memory(url, recall=Recall(embeddings=concepts)) as opened:
        yield opened


class TestRetriever(RetrieversIntegrationTests):
    """LangChain's own tests of a retriever."""

    @pytest.fixture(autouse=True)
    def _filled(self, tmp_path: Path) -> Iterator[None]:
        with Memory(f"sqlite:///{tmp_path}/memory.db", recall=True) as memory:
            memory.batch_store(
                [("notes", {"id": str(i), "text": f"example query {i}"}) for i in range(5)]
            )
            TestRetriever.filled = memory
            yield

    filled: Memory

    @property
    def retriever_constructor(self) -> type[MemoryRetriever]:
        return MemoryRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"memory": self.filled}

    @property
    def retriever_query_example(self) -> str:
        return "example query"


def test_a_retriever_says_where_its_documents_are_from(memory: Memory) -> None:
    ada = memory.as_user("ada")
    ada.chat_history("s").add_messages([HumanMessage("I am allergic to peanuts")])
    memory.store_memory("notes", {"text": "peanuts of others"})
    (document,) = ada.as_retriever(k=3).invoke("nuts")
    assert document.page_content == "I am allergic to peanuts"
    assert document.metadata["source"] == "users/ada/messages/s/0000000000000000"
    assert document.metadata["score"] > 0
    json.dumps(document.metadata)
    assert memory.as_retriever(namespaces=["messages"]).invoke("nuts") == []


async def test_a_retriever_is_async_too(memory: Memory) -> None:
    await memory.astore_memory("notes", {"text": "a terrier"})
    (document,) = await memory.as_retriever().ainvoke("puppy")
    assert document.page_content == "a terrier"


def test_collections_are_searched_by_query(memory: Memory) -> None:
    memory.store_memory("notes", {"id": "1", "text": "a terrier", "kind": "pet"})
    memory.store_memory("notes", {"id": "2", "text": "an umbrella", "kind": "thing"})
    memory.store_memory("others", {"id": "3", "text": "a dog"})
    assert memory.search_memory("notes", query="puppy", limit=1)[0]["id"] == "1"
    found = memory.search_memory("notes", {"kind": "thing"}, query="puppy")
    assert [value["id"] for value in found] == ["2"]
    with pytest.raises(InvalidQuery, match="order_by"):
        memory.search_memory("notes", query="puppy", order_by="id")


def fill(store: Any) -> None:
    store.put(("u", "ada"), "dog", {"text": "a terrier", "kind": "pet"})
    store.put(("u", "ada"), "rain", {"text": "an umbrella", "kind": "thing"})
    store.put(("u", "ada"), "nuts", {"text": "no peanuts", "kind": "food"})
    store.put(("u", "adam"), "dog", {"text": "a puppy", "kind": "pet"})


def test_langgraphs_search_gives_the_same_first_as_its_own_store(memory: Memory) -> None:
    index: Any = {"dims": 4, "embed": concepts, "fields": ["text"]}
    theirs, ours = InMemoryStore(index=index), memory.store(index=index)
    for store in (theirs, ours):
        fill(store)
    for query in ("puppy", "wet", "allergic"):
        for given in ({}, {"filter": {"kind": "pet"}}, {"limit": 1}):
            mine = ours.search(("u", "ada"), query=query, **given)
            other = theirs.search(("u", "ada"), query=query, **given)
            assert len(mine) == len(other)
            assert mine[0].key == other[0].key
            assert mine[0].score is not None
            assert [item.namespace for item in mine] == [("u", "ada")] * len(mine)
    whole = [item.key for item in ours.search(("u", "ada"), query="puppy")]
    rest = [item.key for item in ours.search(("u", "ada"), query="puppy", offset=1)]
    assert rest == whole[1:]


async def test_langgraphs_search_is_async_too(memory: Memory) -> None:
    store = memory.store()
    await store.aput(("u",), "dog", {"text": "a terrier"})
    (found,) = await store.asearch(("u",), query="puppy")
    assert found.key == "dog"


def test_only_the_fields_that_were_named_are_searched(memory: Memory) -> None:
    store = memory.store(index={"dims": 4, "embed": concepts, "fields": ["text", "tags[*].name"]})
    store.put(("u",), "1", {"text": "hidden", "other": "peanuts"})
    store.put(("u",), "2", {"text": "no", "tags": [{"name": "peanuts"}]})
    store.put(("u",), "3", {"text": "peanuts"}, index=False)
    store.put(("u",), "4", {"text": "no", "other": "peanuts"}, index=["other"])
    found = [item.key for item in store.search(("u",), query="peanuts")]
    assert found[:2] == ["2", "4"] or found[:2] == ["4", "2"]
    assert "3" not in found


def test_expired_items_are_found_or_not_as_langgraph_says(memory: Memory) -> None:
    memory.store().put(("u",), "old", {"text": "peanuts"}, ttl=1e-6)
    assert [item.key for item in memory.store().search(("u",), query="peanuts")] == ["old"]
    hiding = memory.store(ttl={"omit_expired": True})
    assert hiding.search(("u",), query="peanuts") == []


def test_other_embeddings_than_the_memorys_are_refused(memory: Memory, tmp_path: Path) -> None:
    def other(texts: list[str]) -> list[list[float]]:
        return [[1.0] for _ in texts]

    with pytest.raises(Unsupported, match="mixed"):
        memory.store(index={"dims": 1, "embed": other})
    with pytest.raises(Unsupported, match="dimensions"):
        memory.store(index={"dims": 5, "embed": concepts})
    with (
        Memory(f"sqlite:///{tmp_path}/words.db", recall=True) as by_words,
        pytest.raises(Unsupported, match="embeddings="),
    ):
        by_words.store(index={"dims": 4, "embed": concepts})


def test_without_recall_langgraphs_query_says_what_is_missing() -> None:
    with Memory("memory://") as memory:
        with pytest.raises(Unsupported, match="recall=True"):
            memory.store(index={"dims": 4, "embed": concepts})
        with pytest.raises(Unsupported, match="recall=True"):
            memory.store().search(("u",), query="peanuts")
        with pytest.raises(Unsupported, match="recall=True"):
            memory.search_memory("notes", query="peanuts")
