"""What layers rely on in every store, as tests."""

from __future__ import annotations

import threading
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from lc_memory.errors import Conflict
from lc_memory.records import (
    Append,
    Clear,
    Delete,
    Expect,
    Limits,
    Put,
    Query,
    Record,
    Restore,
    Touch,
)
from lc_memory.rows import Row
from lc_memory.store import Store
from lc_memory.testing.clock import FakeClock
from lc_memory.values import decode, encode, micros


class LayeringContract:
    """A part of :class:`StoreContract`, which supplies the store."""

    def test_an_expectation_is_a_precondition_and_changes_nothing(self, store: Store) -> None:
        seen = store.put(("n",), "k", {"a": 1})
        if not store.capabilities.atomic:
            assert store.write([Expect(("n",), "k", seen)]) == [None]
        else:
            assert store.write([Expect(("n",), "k", seen), Put(("n",), "x", {})])[0] is None
            assert store.write([Expect(("n",), "k"), Put(("n",), "x", {})])[0] is None
        assert store.get(("n",), "k") == seen
        store.put(("n",), "k", {"a": 2})
        with pytest.raises(Conflict):
            store.write([Expect(("n",), "k", seen)])
        with pytest.raises(Conflict):
            store.write([Expect(("n",), "absent")])

    def test_new_records_where_others_are_as_expected(self, store: Store) -> None:
        if not store.capabilities.atomic:
            pytest.skip("declares that it has no batches of several records")
        seen = store.put(("n",), "k", {"a": 1})
        there = [Expect(("n",), "k", seen), Expect(("n",), "k")]
        odd = {"text": "a\0b \ud800 é {1,2} \\", "bytes": b"\0\xff", "many": [None, 1.5, "]"]}
        later = store.expiry(60)
        wrote = store.write(
            [*there, Put(("a",), "x", odd, later, owner="ada"), Put(("b",), "y", {})]
        )
        assert wrote == [None, None, *store.read([(("a",), "x"), (("b",), "y")])]
        assert wrote[2] is not None
        assert (wrote[2].value, wrote[2].version, wrote[2].owner) == (odd, 1, "ada")
        assert wrote[2].expires_at == later
        again = store.write([*there, Put(("a",), "x", {}), Put(("a",), "z", {})])
        assert [record and record.version for record in again] == [None, None, 2, 1]
        itself = store.write(
            [Put(("c",), "new", {}), Expect(("c",), "new"), Put(("c",), "new", {"b": 2})]
        )
        assert [record and record.version for record in itself] == [1, None, 2]
        store.put(("n",), "k", {"a": 2})
        for missed in (Expect(("n",), "k", seen), Expect(("n",), "none"), Expect(("N",), "k")):
            with pytest.raises(Conflict):
                store.write(
                    [Expect(("n",), "k"), missed, Put(("d",), "x", {}), Put(("d",), "y", {})]
                )
        assert store.count(Query(("d",))) == 0

    def test_nothing_follows_what_is_not_there_any_more(self, store: Store) -> None:
        """Once a record was replaced, no batch that expects the old one is carried out."""
        if not store.capabilities.atomic:
            pytest.skip("declares that it has no batches of several records")
        for number in range(20):
            seen = store.put(("n",), "k", {})

            def follow(seen: Record = seen, key: str = f"{number}") -> None:
                with suppress(Conflict):
                    store.write([Expect(("n",), "k", seen), Put(("m",), key, {})])

            thread = threading.Thread(target=follow)
            thread.start()
            store.put(("n",), "k", {}, replacing=seen)
            there = store.get(("m",), f"{number}")
            thread.join()
            assert store.get(("m",), f"{number}") == there

    def test_a_state_is_the_records_and_changes_with_it(
        self, store: Store, clock: FakeClock
    ) -> None:
        soon = clock() + timedelta(minutes=1)
        held = store.put(("n",), "k", {"a": 1}, expires_at=soon)
        other = store.put(("n", "m"), "k", {"a": 1})
        ids = [other.id, (("n",), "absent"), held.id, other.id]
        states = [other.state, None, held.state, other.state]
        assert store.states(ids) == states
        assert held.state.expires == micros(soon)
        changed = store.put(("n",), "k", {"a": 2})
        assert store.states([held.id]) == [changed.state] != [held.state]
        store.delete(("n",), "k")
        anew = store.put(("n",), "k", {"a": 1})
        assert store.states([anew.id]) == [anew.state]
        assert anew.state not in (held.state, changed.state)
        assert store.states([]) == []

    def test_what_has_expired_has_a_state(self, store: Store, clock: FakeClock) -> None:
        held = store.put(("n",), "k", {}, expires_at=clock() + timedelta(minutes=1))
        clock.forward(120)
        assert store.read([held.id]) == [None]
        assert store.states([held.id]) == [held.state]

    def test_what_is_expected_stays_until_the_commit(self, store: Store) -> None:
        """Two batches that each expect what the other deletes: one of them is refused."""
        if not store.capabilities.atomic:
            pytest.skip("declares that it has no batches of several records")
        for _ in range(20):
            store.write([Put(("n",), "x", {}), Put(("n",), "y", {})])

            def remove(one: str, other: str) -> None:
                with suppress(Conflict):
                    store.write([Expect(("n",), other), Delete(("n",), one)])

            pair = [threading.Thread(target=remove, args=a) for a in (("x", "y"), ("y", "x"))]
            for thread in pair:
                thread.start()
            for thread in pair:
                thread.join()
            assert store.count(Query(("n",))) == 1

    def test_a_verbatim_write_can_be_conditional(self, store: Store) -> None:
        seen = store.put(("n",), "k", {"a": 1})
        store.write([Touch(("n",), "k", store.expiry(5))])
        with pytest.raises(Conflict):  # the expiry has changed since
            store.write([Restore(seen, replacing=seen)])
        now = store.get(("n",), "k")
        assert now is not None
        store.write([Restore(replace(now, value={"a": 2}), replacing=now)])
        assert store.get(("n",), "k") == replace(now, value={"a": 2})

    def test_a_query_stays_within_its_limits(self, store: Store) -> None:
        """Whole labels, single records, nothing at all; in pages, counts and every order."""
        for namespace in (("a",), ("a", "b"), ("ab",), ("c",), ("c", "d")):
            store.write([Put(namespace, key, {"n": int(key)}) for key in "12"])
        limits = Limits((("a",),), ((("c",), "2"), (("x",), "1")))
        allowed = [
            (("a",), "1"),
            (("a",), "2"),
            (("a", "b"), "1"),
            (("a", "b"), "2"),
            (("c",), "2"),
        ]
        for order in ("@key", "@updated_at", "n"):
            for filter in (None, {"n": {"$gte": 0}}):
                query = Query((), filter, order, within=limits)
                assert sorted(r.id for r in store.records(query)) == allowed
                assert sorted(r.id for r in store.records(query, size=2)) == allowed
                assert store.count(query) == 5
        assert store.count(Query(("c",), within=limits)) == 1
        assert store.count(Query(("c",), exact=True, within=limits)) == 1
        assert store.count(Query(("ab",), within=limits)) == 0
        assert store.count(Query(within=Limits())) == 0
        assert store.count(Query(within=Limits(((),)))) == 10
        many = tuple((("a",), str(i)) for i in range(1500))
        assert store.count(Query(within=Limits(tuple((f"p{i}",) for i in range(600)), many))) == 2

    def test_a_layer_has_the_last_word_on_what_is_stored(self, store: Store) -> None:
        """It sees the row as it will be, and what comes back to the writer is what was meant."""

        def seal(row: Row, held: Row | None) -> str:
            plain = row.text if held is None else decode(held.text)["plain"]
            return encode(
                {
                    "plain": plain,
                    "of": [*row.namespace, row.key, row.version],
                    "times": [row.created, row.updated, row.expires],
                    "owner": row.owner,
                }
            )

        def check(key: str) -> None:
            raw = store.get(("n",), key)
            assert raw is not None
            times = [raw.created_at, raw.updated_at, raw.expires_at]
            assert decode(raw.value["plain"]) == {"a": 1}
            assert raw.value["of"] == ["n", key, raw.version]
            assert raw.value["times"] == [t and micros(t) for t in times]
            assert raw.value["owner"] == raw.owner

        (put,) = store.write([Put(("n",), "k", {"a": 1}, owner="ada", seal=seal)])
        assert put is not None
        assert put.value == {"a": 1}
        check("k")
        store.write([Put(("n",), "k", {"a": 1}, seal=seal)])
        check("k")
        store.write([Touch(("n",), "k", store.expiry(5), seal=seal)])
        check("k")
        (restored,) = store.write([Restore(replace(put, key="r"), seal=seal)])
        assert restored == replace(put, key="r")
        check("r")
        store.write([Clear(("n",))])
        (entry,) = store.write([Append(("n",), {"a": 1}, seal=seal)])
        assert entry is not None
        assert entry.value == {"a": 1}
        check(entry.key)
