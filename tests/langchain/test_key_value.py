"""LangChain's key-value store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from langchain_core.stores import BaseStore
from langchain_tests.integration_tests import BaseStoreAsyncTests, BaseStoreSyncTests

from lc_memory import InvalidKey, InvalidValue, Memory

VALUES = (b"foo", b"\0\xff", b"")


class TestSync(BaseStoreSyncTests[bytes]):
    @pytest.fixture
    def kv_store(self, memory: Memory) -> BaseStore[str, bytes]:
        return memory.key_value()

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return VALUES


class TestAsync(BaseStoreAsyncTests[bytes]):
    @pytest.fixture
    async def kv_store(self, memory: Memory) -> BaseStore[str, bytes]:
        return memory.key_value()

    @pytest.fixture
    def three_values(self) -> tuple[bytes, bytes, bytes]:
        return VALUES


def test_namespaces_and_users_share_no_key(memory: Memory) -> None:
    stores = [
        memory.key_value(),
        memory.key_value(("a",)),
        memory.key_value(("a", "b")),
        memory.key_value(("a-b",)),
        memory.as_user("ada").key_value(),
    ]
    for number, store in enumerate(stores):
        store.mset([("k", b"%d" % number)])
    assert [store.mget(["k"]) for store in stores] == [[b"%d" % n] for n in range(5)]
    assert [list(store.yield_keys()) for store in stores] == [["k"]] * 5
    stores[0].mdelete(["k"])
    assert [store.mget(["k"]) for store in stores] == [[None], *([b"%d" % n] for n in range(1, 5))]


async def test_many_keys_come_in_order_page_by_page(memory: Memory) -> None:
    store = memory.key_value()
    await store.amset([(f"{kind}{i:04}", b"x") for kind in "ba" for i in range(1200)])
    expected = [f"b{i:04}" for i in range(1200)]
    assert list(store.yield_keys(prefix="b")) == expected
    assert [key async for key in store.ayield_keys(prefix="b")] == expected
    assert len(list(store.yield_keys())) == 2400
    await store.amdelete(expected)
    assert await store.amget(["b0000", "a1199"]) == [None, b"x"]


def test_pairs_may_come_from_a_generator() -> None:
    with Memory("memory://") as memory:
        store = memory.key_value()
        pairs: Any = ((key, key.encode()) for key in "ab")
        store.mset(pairs)
        assert store.mget(["a", "b"]) == [b"a", b"b"]


def test_keys_are_exact(memory: Memory) -> None:
    store = memory.key_value()
    keys = ["k", "K", "k ", "ḱ", "k%", "k_", "../k", "k'; --", "😀", ""]
    store.mset([(key, key.encode()) for key in keys])
    assert store.mget(keys) == [key.encode() for key in keys]
    assert list(store.yield_keys(prefix="k_")) == ["k_"]
    assert sorted(store.yield_keys()) == sorted(keys)


@pytest.mark.parametrize(
    ("pair", "error"),
    [
        (("a\0b", b"x"), InvalidKey),
        (("x" * 5000, b"x"), InvalidKey),
        (("\ud800", b"x"), InvalidKey),
        (("k", "text"), InvalidValue),
        (("k", None), InvalidValue),
    ],
)
def test_a_bad_pair_changes_nothing(memory: Memory, pair: Any, error: type[Exception]) -> None:
    store = memory.key_value()
    with pytest.raises(error):
        store.mset([("fine", b"x"), pair])
    with pytest.raises(error):
        asyncio.run(store.amset([("fine", b"x"), pair]))
    assert store.mget(["fine"]) == [None]
    with pytest.raises(InvalidKey):
        memory.key_value("a string")  # type: ignore[arg-type]
