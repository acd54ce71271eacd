"""LangGraph's store beside LangGraph's own InMemoryStore: the same operations, drawn at random."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import (
    GetOp,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    SearchOp,
)
from langgraph.store.memory import InMemoryStore

from lc_memory import Memory

USERS = ("users", "u1")


@pytest.fixture
def memory(clocked: Memory) -> Memory:
    return clocked


SCALARS = st.sampled_from([None, 2, 3.5, 7, "a", "b", "2024-01-01"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=4,
)
FIELDS = st.sampled_from(["a", "b", "a.b", "c'"])
ITEMS = st.dictionaries(FIELDS, VALUES, max_size=3)
SPACES = st.lists(st.sampled_from(["x", "y", "x-y"]), min_size=1, max_size=3).map(tuple)
KEYS = st.sampled_from("pqr")
GETS = st.tuples(SPACES, KEYS).map(lambda drawn: GetOp(*drawn))
PUTS = st.tuples(SPACES, KEYS, st.none() | ITEMS).map(lambda drawn: PutOp(*drawn))
SEARCHES = SPACES.map(lambda space: SearchOp(space[1:], limit=100))
LABELS = st.lists(st.sampled_from(["x", "y", "*"]), max_size=2).map(tuple)
MATCHES = st.tuples(st.sampled_from(["prefix", "suffix"]), LABELS)
LISTS = st.tuples(
    st.lists(MATCHES.map(lambda drawn: MatchCondition(*drawn)), max_size=2).map(tuple),
    st.sampled_from([None, 1, 2]),
    st.sampled_from([1, 2, 100]),
    st.sampled_from([0, 1]),
).map(lambda drawn: ListNamespacesOp(*drawn))
BATCHES = st.lists(st.lists(GETS | SEARCHES | LISTS | PUTS, max_size=4), max_size=6)
COUNTER = itertools.count()


def conditions(like: Any) -> st.SearchStrategy[Any]:
    """What may be asked of a field whose value is like this one."""
    some = st.just(like) | VALUES
    numbers = st.sampled_from([2, 3, 3.5, 7])
    operators = st.tuples(st.sampled_from(["$eq", "$ne"]), some) | st.tuples(
        st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), numbers
    )
    asked = some | st.lists(operators, min_size=1, max_size=2).map(dict)
    if isinstance(like, list):
        asked |= st.tuples(*map(conditions, like)).map(list)
    if isinstance(like, dict):
        asked |= st.fixed_dictionaries(
            {}, optional={name: conditions(inner) for name, inner in like.items()}
        )
    return asked


@st.composite
def asked_documents(draw: st.DrawFn) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Some documents, and a filter that may well match some of them."""
    documents = draw(st.lists(ITEMS, min_size=2, max_size=6))
    like = draw(st.sampled_from(documents))
    names = draw(st.sets(st.sampled_from([*like]) | FIELDS if like else FIELDS, max_size=2))
    return documents, {name: draw(conditions(like.get(name))) for name in sorted(names)}


def plain(result: Any) -> Any:
    """A result without its times and its order of search."""
    if isinstance(result, list) and result and not isinstance(result[0], tuple):
        return sorted(((i.namespace, i.key, i.value) for i in result), key=lambda i: i[:2])
    return result and (result if isinstance(result, list) else (result.namespace, result.value))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=BATCHES)
def test_batches_do_the_same_as_in_memory_store(memory: Memory, batches: list[list[Op]]) -> None:
    theirs, ours = InMemoryStore(), memory.as_user(f"u{next(COUNTER)}").store()
    for ops in batches:
        # InMemoryStore also lists namespaces that were only ever read or emptied.
        ops.sort(key=lambda op: not isinstance(op, ListNamespacesOp))
        for empty in [space for space, held in theirs._data.items() if not held]:
            del theirs._data[empty]
        assert list(map(plain, ours.batch(ops))) == list(map(plain, theirs.batch(ops)))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(asked=asked_documents())
def test_filters_find_the_same_as_in_memory_store(memory: Memory, asked: Any) -> None:
    documents, filter = asked
    theirs, ours = InMemoryStore(), memory.as_user(f"u{next(COUNTER)}").store()
    for store in (theirs, ours):
        store.batch([PutOp(USERS, str(n), value) for n, value in enumerate(documents)])
    try:
        expected = theirs.search((), filter=filter)
    except (TypeError, ValueError):  # it raises where different types are compared
        return
    assert plain(ours.search((), filter=filter)) == plain(expected)
