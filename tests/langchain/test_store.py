"""LangGraph's store: items, batches, search and namespaces, as its users rely on them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, TypedDict

import pytest
from langgraph.config import get_store
from langgraph.graph import END, START, StateGraph
from langgraph.runtime import Runtime
from langgraph.store.base import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)

from lc_memory import Memory
from lc_memory.errors import (
    InvalidFilter,
    InvalidKey,
    InvalidQuery,
    InvalidValue,
    Unsupported,
)
from lc_memory.records import Id
from lc_memory.testing.clock import FakeClock

USERS = ("users", "u1")


@pytest.fixture
def memory(clocked: Memory) -> Memory:
    return clocked


def keys(items: list[Any]) -> list[str]:
    return [item.key for item in items]


# -- items -------------------------------------------------------------------------------------


def test_an_item_comes_back_with_its_times(store: Any, clock: FakeClock) -> None:
    value = {"text": "hi", "n": 1.5, "deep": [{"a": None}], "été 😀": "ü", "$op": {"$date": "no"}}
    made = clock.time
    store.put(USERS, "k é 😀", value)
    clock.forward(1.000_001)
    store.put(USERS, "k é 😀", value | {"n": 2})
    item = store.get(USERS, "k é 😀")
    assert (item.namespace, item.key, item.value) == (USERS, "k é 😀", value | {"n": 2})
    assert item.created_at == made  # kept when the item is replaced
    assert item.updated_at == made + timedelta(seconds=1, microseconds=1)
    assert item.created_at.utcoffset() == timedelta(0)


def test_values_are_copies(store: Any) -> None:
    value = {"list": [1]}
    store.put(USERS, "k", value)
    value["list"].append(2)
    store.get(USERS, "k").value["list"].append(3)
    first, second = store.batch([GetOp(USERS, "k"), GetOp(USERS, "k")])
    first.value["list"].append(4)
    assert second.value == store.search(USERS)[0].value == {"list": [1]}


def test_delete_and_put_none_delete(store: Any) -> None:
    store.put(USERS, "a", {})
    store.put(USERS, "b", {})
    store.delete(USERS, "a")
    store.batch([PutOp(USERS, "b", None)])
    store.delete(USERS, "never there")
    assert store.search(()) == []
    assert store.list_namespaces() == []


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"a": [1, {"b": object()}]}, r"^\$\.a\[1\]\.b: a object cannot be stored"),
        ({"value": float("nan")}, r"^\$\.value: nan"),
        ({1: "x"}, r"^\$: a key that is a int"),
        ([1], r"^\$: a list, not an object"),
    ],
)
def test_errors_name_the_path_in_the_users_value(store: Any, value: Any, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        store.put(USERS, "k", value)


@pytest.mark.parametrize("bad", [(), ("a.b",), ("",), ("langgraph", "x"), (1,), "users"])
def test_put_refuses_namespaces_that_langgraph_refuses(store: Any, bad: Any) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.put(bad, "k", {})


@pytest.mark.parametrize(
    "op",
    [
        GetOp(("a.b",), "k"),
        PutOp(("a", ""), "k", {}),
        SearchOp(("a\0",)),
        ListNamespacesOp((MatchCondition("suffix", ("a.b",)),)),
    ],
)
def test_batch_checks_namespaces_too(store: Any, op: Op) -> None:
    with pytest.raises(InvalidNamespaceError):
        store.batch([PutOp(USERS, "k", {}), op])
    assert store.get(USERS, "k") is None


def test_no_namespace_is_refused_as_any_bad_one_is(store: Any) -> None:
    for op in (PutOp, GetOp):
        with pytest.raises(TypeError, match="not iterable"):
            store.batch([op(None, "k", *([{}] if op is PutOp else []))])


def test_names_too_long_or_half_a_character_are_refused(store: Any) -> None:
    for namespace, key in [(USERS, "k" * 2000), (("n" * 2000,), "k"), (USERS, "\ud83d")]:
        with pytest.raises(InvalidKey):
            store.put(namespace, key, {})


def test_users_and_other_parts_of_the_memory_are_apart(memory: Memory) -> None:
    memory.store_memory("users", {"id": "x"})
    memory.store().put(USERS, "k", {"of": "nobody"})
    memory.as_user("u1").store().put(USERS, "k", {"of": "u1"})
    assert [item.value for item in memory.store().search(())] == [{"of": "nobody"}]
    assert [item.value for item in memory.as_user("u1").store().search(())] == [{"of": "u1"}]
    assert memory.store().list_namespaces() == [USERS]
    assert memory.as_user("u2").store().list_namespaces() == []


def test_how_an_item_is_indexed_is_kept(memory: Memory, store: Any) -> None:
    store.put(USERS, "k", {"text": "x"}, index=["text"])
    store.put(USERS, "no", {"text": "x"}, index=False)
    assert store.get(USERS, "k").value == {"text": "x"}
    kept = memory.backend.read([(("store", *USERS), key) for key in ("k", "no")])
    assert [record.value["index"] for record in kept if record] == [["text"], False]
    with pytest.raises(InvalidValue, match="index"):
        store.put(USERS, "k", {}, index=[1])


# -- batches -----------------------------------------------------------------------------------


def test_a_batch_reads_before_it_writes_and_the_last_write_wins(store: Any) -> None:
    store.put(USERS, "old", {"n": 0})
    ops = [
        PutOp(USERS, "old", {"n": 1}),
        PutOp(USERS, "new", {"n": 1}),
        GetOp(USERS, "old"),
        GetOp(USERS, "new"),
        SearchOp(("users",)),
        ListNamespacesOp(),
        PutOp(USERS, "new", {"n": 2}),
        PutOp(USERS, "old", None),
    ]
    results = store.batch(iter(ops))
    assert results[:2] == results[6:] == [None, None]
    assert (results[2].value, results[3]) == ({"n": 0}, None)
    assert [item.value for item in results[4]] == [{"n": 0}]
    assert results[5] == [USERS]
    assert [item.value for item in store.search(())] == [{"n": 2}]


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        (PutOp(USERS, "bad", {"x": object()}), InvalidValue),
        (PutOp(USERS, "bad", {}, ttl=-1), InvalidValue),
        (PutOp(USERS, "bad\0", {}), InvalidKey),
        (SearchOp(USERS, filter={"a": {"$nope": 1}}), InvalidFilter),
        (SearchOp(USERS, query="meaning"), Unsupported),
        (SearchOp(USERS, limit=-1), InvalidQuery),
        (SearchOp(("\ud800",)), InvalidKey),
        (ListNamespacesOp((MatchCondition("middle", ("a",)),)), InvalidQuery),  # type: ignore[arg-type]
        ("not an op", InvalidQuery),
    ],
)
def test_one_bad_operation_changes_nothing(store: Any, bad: Any, error: type[Exception]) -> None:
    store.put(USERS, "k", {"n": 1})
    with pytest.raises(error):
        store.batch([PutOp(USERS, "k", {"n": 2}), PutOp(USERS, "new", {}), bad])
    assert [(item.key, item.value) for item in store.search(USERS)] == [("k", {"n": 1})]


# -- search ------------------------------------------------------------------------------------


def test_search_gives_the_newest_first_page_by_page(store: Any) -> None:
    for number in range(5):
        store.put(("n", str(number % 2)), f"k{number}", {"n": number})
    store.put(("n", "0"), "k0", {"n": 9})
    assert keys(store.search(("n",))) == ["k0", "k4", "k3", "k2", "k1"]
    assert keys(store.search(("n",), limit=2, offset=1)) == ["k4", "k3"]
    assert keys(store.search(("n", "0"), limit=2, offset=1)) == ["k4", "k2"]
    assert keys(store.search(("n",), filter={"n": {"$lt": 4}}, limit=1, offset=1)) == ["k2"]
    assert store.search(("n",), limit=0) == []


def test_a_prefix_matches_whole_labels(store: Any) -> None:
    for namespace in [("acme",), ("acme-corp",), ("acme", "x"), ("Acme",), ("acmé",), ("acme%",)]:
        store.put(namespace, "k", {})
    assert {item.namespace for item in store.search(("acme",))} == {("acme",), ("acme", "x")}
    assert store.list_namespaces(prefix=("acme",)) == [("acme",), ("acme", "x")]
    assert store.search(("acm",)) == store.list_namespaces(prefix=("acm",)) == []


DOCUMENTS: dict[str, dict[str, Any]] = {
    "number": {"a": 10},
    "float": {"a": 9.5},
    "text": {"a": "10"},
    "date": {"a": "2024-05-01"},
    "true": {"a": True},
    "none": {"a": None},
    "missing": {"a.b": 1},
    "list": {"a": ["x", "y"]},
    "object": {"a": {"b": 1, "c": {"d": [1, {"e": 2}]}}},
    "objects": {"a": [{"b": 1, "c": 5}, {"b": 2, "c": 1}]},
}


@pytest.mark.parametrize(
    ("filter", "found"),
    [
        ({"a": 10}, {"number"}),
        ({"a": {"$eq": 10.0}}, {"number"}),
        ({"a": True}, {"true"}),
        ({"a": None}, {"none", "missing"}),
        ({"a": {"$ne": 10}}, set(DOCUMENTS) - {"number"}),
        ({"a": {"$gt": 9}}, {"number", "float"}),  # as numbers: "10" and True are none
        ({"a": {"$gte": 9.5, "$lt": 10}}, {"float"}),
        ({"a": {"$gt": "2024-01-01", "$lte": "2024-12-31"}}, {"date"}),  # strings as strings
        ({"a": {"$lte": "2"}}, {"text"}),
        ({"a.b": 1}, {"missing"}),  # a name, not a path
        ({"a": {"b": 1}}, {"object"}),
        ({"a": {}}, {"object"}),
        ({"a": {"b": {"$gte": 1}, "c": {"d": [1, {"e": {"$lt": 3}}]}}}, {"object"}),
        ({"a": {"zzz": None}}, {"object"}),
        ({"a": {"$eq": {"b": 1}}}, set()),  # the whole object, not a subset
        ({"a": ["x", "y"]}, {"list"}),
        ({"a": ["y", "x"]}, set()),
        ({"a": ["x"]}, set()),
        ({"a": {"$eq": ["x", "y"]}}, {"list"}),
        ({"a": "x"}, set()),
        ({"a": {"$in": [10, "x"]}}, {"number", "list"}),
        ({"a": {"$nin": [10, "x", None]}}, set(DOCUMENTS) - {"number", "list", "none", "missing"}),
        ({"a": {"$exists": False}}, {"missing"}),
        ({"a": {"$regex": "^X", "$options": "i"}}, {"list"}),
        ({"a": {"$all": ["y", "x"]}}, {"list"}),
        ({"a": {"$size": 2}}, {"list", "objects"}),
        ({"a": {"$elemMatch": {"b": 1, "c": {"$gt": 4}}}}, {"objects"}),
        ({"a": {"$elemMatch": {"b": 1, "c": {"$lt": 4}}}}, set()),
        ({"a": {"$not": {"$eq": 10}}}, set(DOCUMENTS) - {"number"}),
        ({"$or": [{"a": 10}, {"a": {"b": 1}}]}, {"number", "object"}),
        ({"$and": [{"a": {"$gt": 9}}, {"$nor": [{"a": 10}]}]}, {"float"}),
    ],
)
def test_what_filters_find(store: Any, filter: dict[str, Any], found: set[str]) -> None:
    store.batch([PutOp(USERS, key, value) for key, value in DOCUMENTS.items()])
    assert set(keys(store.search(("users",), filter=filter, limit=100))) == found


@pytest.mark.parametrize("name", ["' OR 1=1 --", '"; DROP TABLE x; --', "a') OR ('1'='1", "😀", ""])
def test_a_hostile_name_is_just_a_name(store: Any, name: str) -> None:
    store.put(USERS, "has", {name: "x", "$.a": 1})
    store.put(USERS, "lacks", {"a": "x"})
    assert keys(store.search((), filter={name: "x"})) == ["has"]
    assert keys(store.search((), filter={name: {"$ne": "x"}})) == ["lacks"]
    assert store.search((), filter={"a": name}) == []


@pytest.mark.parametrize(
    "filter",
    [
        {"a": {"$where": "1"}},
        {"$where": "1"},
        {"a": {"$gt": 1, "b": 2}},
        {"a": {1: 2}},
        {"a": {"$eq": object()}},
        ["a"],
    ],
)
def test_what_has_no_meaning_is_an_error(store: Any, filter: Any) -> None:
    with pytest.raises(InvalidFilter):  # before anything is looked at
        store.search((), filter=filter)


def test_searching_by_meaning_says_what_to_do(memory: Memory, store: Any) -> None:
    with pytest.raises(Unsupported, match=r"recall=True.*filter="):
        store.search(USERS, query="pizza")
    with pytest.raises(Unsupported, match="recall=True"):
        memory.store(index={"dims": 3, "embed": lambda texts: [[0.0] * 3 for _ in texts]})


# -- namespaces --------------------------------------------------------------------------------


def test_list_namespaces(store: Any) -> None:
    spaces = [("a", "b", "c"), ("a", "b", "d", "e"), ("a", "b", "d", "i"), ("a", "c", "f"), ("a",)]
    store.batch([PutOp(space, "k", {}) for space in spaces])
    listed = store.list_namespaces
    assert listed() == sorted(spaces)
    assert listed(prefix=("a", "b"), max_depth=3) == [("a", "b", "c"), ("a", "b", "d")]
    assert listed(max_depth=2, limit=1, offset=2) == [("a", "c")]
    assert listed(prefix=("a", "*", "d")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert listed(suffix=("d", "*")) == [("a", "b", "d", "e"), ("a", "b", "d", "i")]
    assert listed(prefix=("a", "b"), suffix=("c",)) == [("a", "b", "c")]
    assert listed(prefix=("*",) * 5) == []  # a label each: never none, never two
    assert listed(limit=2, offset=3) == sorted(spaces)[3:]
    for wrong in ({"limit": -1}, {"max_depth": -1}, {"prefix": "ab"}, {"suffix": "ab"}):
        with pytest.raises(InvalidQuery):
            listed(**wrong)


def test_more_namespaces_than_a_page(memory: Memory) -> None:
    store = memory.store()
    spaces = [("n", f"{number:04}", "x" if number % 2 else "y") for number in range(2100)]
    store.batch([PutOp(space, "k", {}) for space in spaces])
    assert store.list_namespaces(suffix=("x",), limit=5000) == spaces[1::2]
    assert store.list_namespaces(limit=3, offset=2050) == spaces[2050:2053]
    assert store.list_namespaces(max_depth=1) == [("n",)]


# -- in a graph --------------------------------------------------------------------------------


class State(TypedDict):
    user: str
    seen: int


def test_inside_a_graph(memory: Memory) -> None:
    def count(state: State, runtime: Runtime[None]) -> dict[str, int]:
        assert runtime.store is not None
        item = runtime.store.get(("visits",), state["user"])
        seen = item.value["n"] + 1 if item else 1
        runtime.store.put(("visits",), state["user"], {"n": seen})
        return {"seen": seen}

    async def acount(state: State) -> dict[str, int]:
        store = get_store()
        item = await store.aget(("visits",), state["user"])
        assert item is not None
        await store.aput(("visits",), state["user"], {"n": item.value["n"] + 1})
        return {"seen": item.value["n"] + 1}

    def compiled(node: Any) -> Any:
        builder = StateGraph(State).add_node("count", node)
        builder.add_edge(START, "count").add_edge("count", END)
        return builder.compile(store=memory.store())

    assert compiled(count).invoke({"user": "ana", "seen": 0})["seen"] == 1
    assert compiled(count).invoke({"user": "ana", "seen": 0})["seen"] == 2
    assert asyncio.run(compiled(acount).ainvoke({"user": "ana", "seen": 0}))["seen"] == 3
    assert memory.store().search(("visits",))[0].value == {"n": 3}


def test_items_outlive_the_process(tmp_path: Path) -> None:
    place = f"sqlite:///{tmp_path}/kept.db"
    with Memory(place) as memory:
        memory.store().put(USERS, "k", {"a": 1}, ttl=5)
        before = memory.store().get(USERS, "k", refresh_ttl=False)
    with Memory(place) as memory:
        assert memory.store().get(USERS, "k") == before
        kept: Id = (("store", *USERS), "k")
        (record,) = memory.backend.read([kept])
        assert record is not None
        assert record.expires_at is not None
