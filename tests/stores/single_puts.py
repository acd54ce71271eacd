"""Puts of one record, which a store may carry out without reading it first, beside the reference:
the same versions, times, owners, expiries and refusals."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from lc_memory import ABSENT, Conflict, Store, Touch
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing import FakeClock


class SinglePuts:
    """For a store that is opened by ``open_store``, as in the contract."""

    def open_store(self, folder: Path, **options: Any) -> Store:
        raise NotImplementedError

    def test_single_puts_are_the_references(self, tmp_path: Path) -> None:
        clock = FakeClock()
        with self.open_store(tmp_path, clock=clock) as store:
            store.put(("other",), "first", {})  # SQL stores learn of their indexes
            compare_puts(store, clock)

    def test_a_slow_clock_takes_no_time_back(self, tmp_path: Path) -> None:
        clock = FakeClock()
        with (
            self.open_store(tmp_path, clock=clock) as store,
            self.open_store(tmp_path, clock=FakeClock()) as slow,
        ):
            clock.forward(60)
            first = store.put(("n",), "a", {}, owner="ada")
            assert slow.put(("n",), "other", {}).version == 1
            second = slow.put(("n",), "a", {"n": 2})
            assert second.updated_at == first.updated_at
            assert second.created_at == first.created_at
            assert (second.version, second.owner) == (2, "ada")
            assert store.get(("n",), "a") == second


def compare_puts(store: Store, clock: FakeClock) -> None:
    reference = MemoryStore(clock=clock)

    def put(key: str, *, later: float = 1, **options: Any) -> None:
        clock.forward(later)
        value = {"at": clock().isoformat()}
        assert store.put(("n",), key, value, **options) == reference.put(
            ("n",), key, value, **options
        )
        assert store.get(("n",), key) == reference.get(("n",), key)

    for key in ("a", "b"):
        put(key)
        put(key, owner="ada")
        put(key, later=0)  # two within a microsecond; the owner stays
        put(key, later=-60)  # the clock was set back
        put(key, owner="bob", expires_at=clock() + timedelta(minutes=2))
        put(key, expires_at=clock() + timedelta(minutes=3))
        put(key, owner="bob")  # it expires no more
        put(key, expires_at=clock() + timedelta(minutes=3))
        put(f"new {key}", replacing=ABSENT, owner="eve")
        put(key, replacing=reference.get(("n",), key))
        put(key, replacing=store.get(("n",), key), owner="ada")

    old = store.get(("n",), "a")
    put("a", expires_at=clock() + timedelta(minutes=1))
    for other in (store.get(("n",), "b"), old, ABSENT):
        with pytest.raises(Conflict):
            store.put(("n",), "a", {}, replacing=other)
    seen = store.get(("n",), "a")
    for each in (store, reference):  # when it expires is changed, and no version
        each.write([Touch(("n",), "a", clock() + timedelta(hours=1))])
    put("a", later=120, replacing=seen, expires_at=clock() + timedelta(minutes=3))

    seen = store.get(("n",), "a")
    clock.forward(3600)
    with pytest.raises(Conflict):
        store.put(("n",), "a", {}, replacing=seen)
    again = store.put(("n",), "a", {})
    assert (again.version, again.owner) == (1, None)
    assert again.created_at == again.updated_at >= clock()
    store.put(("n",), "a", {}, expires_at=clock() + timedelta(minutes=1), owner="ada")
    clock.forward(3600)
    fresh = store.put(("n",), "a", {}, replacing=ABSENT)
    assert (fresh.version, fresh.owner) == (1, None)
    assert store.get(("n",), "a") == fresh
