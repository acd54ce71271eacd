"""What every store must do with what is written to it, as tests."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from lc_memory.errors import (
    Conflict,
    InvalidKey,
    InvalidQuery,
    InvalidValue,
    MemoryNotFound,
)
from lc_memory.records import (
    ABSENT,
    Append,
    Clear,
    Delete,
    Expect,
    Put,
    Query,
    Record,
    Restore,
    Touch,
)
from lc_memory.store import Store, outcome
from lc_memory.testing.clock import FakeClock

#: Names that stores have confused, folded or broken on.
NAMES = (
    *("a", "A", "á", "a\u0301", "a ", " a", "", "acme", "acme-corp", "acme/x", "a%", "a_", "a.b"),
    *("'; DROP TABLE records; --", 'quo"te', "back\\slash", "new\nline", "tab\tbed", "\x01", "\r"),
    *("😀", "李雷", "../../etc/passwd", "null", "NO", "1e3", "~", "\u00ff", "\ud7ff", "\uffff"),
)

#: Values that must come back as they were.
VALUES: tuple[dict[str, Any], ...] = (
    {},
    {"text": "", "none": None, "yes": True, "no": False, "zero": 0, "one": 1, "float": 1.0},
    {"big": 2**63 - 1, "bigger": 2**64, "huge": -(10**400), "small": 5e-324, "large": 1e308},
    {"minus zero": -0.0, "third": 1 / 3, "e22": 1e22, "int float": 9007199254740993},
    {"nul": "a\0b", "surrogate": "cut \ud83d", "pair": "😀", "controls": "\x01\x1f\x7f\x85\u2028"},
    {"": "empty key", "$dollar": {"$bytes": "not a tag"}, "a.b": 1, "\ud800": "key", "k\0": 1},
    {"bytes": b"\x00\xff", "when": datetime(2024, 1, 15, 10, 0, 0, 1, tzinfo=UTC)},
    {"lists": [[], [[]], [None, 1, "x", {"deep": [{}]}]], "yaml": ["no", "1e3", "null", "~"]},
    {"lines": "a\r\nb\rc\n", "spaces": "  lead and trail  ", "formula": "=1+1", "csv": 'a,"b"\n'},
)


class WritingContract:
    """A part of :class:`StoreContract`, which supplies the store."""

    # -- values and names ------------------------------------------------------------------

    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    def test_a_value_comes_back_equal(self, store: Store, value: dict[str, Any]) -> None:
        """Types included: 1 is not 1.0 is not True, and -0.0 keeps its sign."""
        written = store.put(("n",), "k", value)
        found = store.get(("n",), "k")
        assert found == written
        assert repr(found.value) == repr(written.value) == repr(value)

    def test_a_value_of_five_megabytes_comes_back(self, store: Store) -> None:
        value = {"text": "ü" * 2_500_000, "bytes": b"\x00\x01" * 10_000}
        store.put(("n",), "k", value)
        assert store.get(("n",), "k").value == value  # type: ignore[union-attr]

    def test_every_name_is_its_own(self, store: Store) -> None:
        """No folding of case, accents, spaces or patterns, in keys or namespaces."""
        store.write([Put((name, "x"), name, {"n": name}) for name in NAMES])
        store.write([Put(("k",), name, {"n": name}) for name in NAMES])
        for name in NAMES:
            assert [r.value["n"] for r in store.records(Query((name,)))] == (
                [name] if name != "k" else []
            )
            assert store.get(("k",), name).value == {"n": name}  # type: ignore[union-attr]
        assert store.count() == 2 * len(NAMES)

    def test_order_is_the_order_of_bytes(self, store: Store) -> None:
        store.write([Put((name,), key, {}) for name in NAMES for key in ("2", "10", "ä", "Z", "a")])
        ids = [record.id for record in store.records(size=7)]
        in_bytes = sorted(ids, key=lambda id: ([p.encode() for p in id[0]], id[1].encode()))
        assert ids == in_bytes
        assert store.namespaces() == sorted({id[0] for id in ids})

    def test_a_callers_dict_is_not_the_stores(self, store: Store) -> None:
        value: dict[str, Any] = {"list": [1]}
        written = store.put(("n",), "k", value)
        value["list"].append(2)
        written.value["list"].append(3)
        store.get(("n",), "k").value["list"].append(4)  # type: ignore[union-attr]
        assert store.get(("n",), "k").value == {"list": [1]}  # type: ignore[union-attr]

    @pytest.mark.parametrize(
        ("value", "path"),
        [
            ({"a": {"b": [0, float("nan")]}}, "$.a.b[1]"),
            ({"a": float("inf")}, "$.a"),
            ({"a": {1, 2}}, "$.a"),
            ({"a": object()}, "$.a"),
            ({"a": {1: 2}}, "$.a"),
            ({"odd key": [datetime(2024, 1, 1)]}, '$["odd key"][0]'),
            ([1], "$"),
        ],
        ids=range(7),
    )
    def test_what_cannot_be_stored_is_refused_by_path(
        self, store: Store, value: Any, path: str
    ) -> None:
        store.put(("n",), "before", {})
        with pytest.raises(InvalidValue) as refused:
            store.write([Put(("n",), "other", {}), Put(("n",), "k", value)])
        assert refused.value.path == path
        assert [r.key for r in store.records()] == ["before"]

    def test_nesting_has_a_limit(self, store: Store) -> None:
        deep: Any = {}
        for _ in range(300):
            deep = {"a": deep}
        with pytest.raises(InvalidValue, match="deeper"):
            store.put(("n",), "k", deep)

    @pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 10_240, "ü" * 600, 7, None, b"k"])
    def test_names_that_no_store_can_keep(self, store: Store, name: Any) -> None:
        for namespace, key in ((("n",), name), ((name,), "k")):
            with pytest.raises(InvalidKey):
                store.put(namespace, key, {})
            for ask in (store.read, store.states):
                with pytest.raises(InvalidKey):
                    ask([(namespace, key)])
        with pytest.raises(InvalidKey):
            Query((name,))
        with pytest.raises(InvalidKey):
            store.namespaces((name,))
        with pytest.raises(InvalidKey):
            store.namespaces(after=(name,))
        with pytest.raises(InvalidQuery):
            store.namespaces(limit=-1)
        assert store.count() == 0

    # -- versions, times, owners -----------------------------------------------------------

    def test_an_update_keeps_created_at(self, store: Store, clock: FakeClock) -> None:
        first = store.put(("n",), "k", {"v": 1}, owner="ada")
        clock.forward(0.000001)
        second = store.put(("n",), "k", {"v": 2})
        assert (first.version, second.version) == (1, 2)
        assert second.created_at == first.created_at == first.updated_at
        assert second.updated_at - first.updated_at == timedelta(microseconds=1)
        assert second.owner == "ada"
        assert store.get(("n",), "k") == second

    def test_time_stamps_never_repeat(self, store: Store, clock: FakeClock) -> None:
        """Even if the clock stands still, or goes back."""
        records = [store.put(("n",), str(i), {}) for i in range(3)]
        clock.forward(-3600)
        records += [r for r in store.write([Put(("n",), f"b{i}", {}) for i in range(3)]) if r]
        times = [record.updated_at for record in records]
        assert times == sorted(set(times))

    def test_restore_writes_verbatim(self, store: Store) -> None:
        record = Record(
            ("n",),
            "k",
            {"v": b"1"},
            7,
            datetime(2020, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
            datetime(2021, 1, 1, tzinfo=UTC),
            datetime(2099, 1, 1, tzinfo=UTC),
            "ada",
        )
        assert store.write([Restore(record)]) == [record]
        assert store.get(("n",), "k") == record

    # -- batches and preconditions ---------------------------------------------------------

    def test_a_batch_is_carried_out_in_order(self, store: Store) -> None:
        store.put(("old",), "k", {})
        results = store.write(
            [
                Put(("n",), "k", {"v": 1}),
                Put(("n",), "k", {"v": 2}),
                Delete(("n",), "k"),
                Put(("n",), "k", {"v": 3}),
                Clear(("old",)),
                Put(("old",), "new", {}),
                Delete(("n",), "nothing"),
            ]
        )
        assert [r and r.version for r in results] == [1, 2, 2, 1, None, 1, None]
        assert [r.id for r in store.records()] == [(("n",), "k"), (("old",), "new")]
        assert store.get(("n",), "k").value == {"v": 3}  # type: ignore[union-attr]

    def test_a_large_batch_of_new_records_may_meet_one_that_is_there(
        self, store: Store, clock: FakeClock
    ) -> None:
        later = clock() + timedelta(days=1)
        store.put(("n",), "110", {"v": "old"}, owner="ada")
        puts = [
            Put(("n", "m")[: 1 + i % 2], f"{i:03d}", {"v": i}, later if i == 7 else None, None, o)
            for i, o in enumerate(["bob", *[None] * 120])
        ]
        written = store.write(puts)
        assert store.read([(put.namespace, put.key) for put in puts]) == written
        records = [record for record in written if record]
        assert [r.version for r in records] == [1] * 110 + [2] + [1] * 10
        assert {r.owner: r.key for r in records} == {"bob": "000", None: "120", "ada": "110"}
        assert [r.key for r in records if r.expires_at == later] == ["007"]
        assert store.count() == 121

    def test_a_refused_batch_changes_nothing(self, store: Store) -> None:
        seen = store.put(("n",), "k", {"v": 1})
        store.put(("n",), "k", {"v": 2})
        before = list(store.records())
        with pytest.raises(Conflict):
            store.write(
                [
                    Put(("n",), "new", {}),
                    Append(("log",), {}),
                    Clear(("n",)),
                    Put(("m",), "k", {}, replacing=ABSENT),
                    Delete(("n",), "k", replacing=seen),
                ]
            )
        assert list(store.records()) == before

    def test_replacing_what_was_seen(self, store: Store, clock: FakeClock) -> None:
        with pytest.raises(Conflict):
            store.put(("n",), "k", {}, replacing=Record(("n",), "k", {}, 1, clock(), clock()))
        seen = store.put(("n",), "k", {"v": 1}, replacing=ABSENT)
        with pytest.raises(Conflict):
            store.put(("n",), "k", {}, replacing=ABSENT)
        store.put(("n",), "k", {"v": 2}, replacing=seen)
        with pytest.raises(Conflict):
            store.put(("n",), "k", {"v": 3}, replacing=seen)
        assert store.get(("n",), "k").value == {"v": 2}  # type: ignore[union-attr]

    def test_delete_and_recreate_does_not_fool_a_precondition(self, store: Store) -> None:
        seen = store.put(("n",), "k", {})
        store.delete(("n",), "k")
        store.put(("n",), "k", {})
        with pytest.raises(Conflict):
            store.put(("n",), "k", {}, replacing=seen)

    def test_batches_of_others_are_not_touched_by_a_conflict(self, store: Store) -> None:
        outcomes = store.write_many(
            [
                [Put(("n",), "a", {})],
                [Put(("n",), "b", {}), Put(("n",), "a", {}, replacing=ABSENT)],
                [Put(("n",), "c", {"bad": float("nan")})],
                [Put(("n",), "d", {})],
            ]
        )
        assert [type(each) for each in outcomes] == [list, Conflict, InvalidValue, list]
        assert [r.key for r in store.records()] == ["a", "d"]

    def test_new_records_of_several_batches_each_on_its_own_conditions(self, store: Store) -> None:
        head = store.put(("n",), "head", {})
        outcomes = store.write_many(
            [
                [Put(("n",), "a", {"of": "a"}, replacing=ABSENT)],
                [Expect(("n",), "head"), Put(("n",), "b", {}), Put(("n",), "c", {})],
                [Put(("m",), "d", {}, replacing=ABSENT)],
            ]
        )
        written = [record for each in outcomes for record in outcome(each) if record]
        assert [record.key for record in written] == ["a", "b", "c", "d"]
        assert store.read([record.id for record in written]) == written
        outcomes = store.write_many(
            [
                [Put(("n",), "e", {}, replacing=ABSENT)],
                [Expect(("n",), "none"), Put(("n",), "f", {})],
                [Put(("n",), "a", {"of": "another"}, replacing=ABSENT)],
                [Put(("n",), "g", {}), Expect(("n",), "head", head)],
            ]
        )
        assert [type(each) for each in outcomes] == [list, Conflict, Conflict, list]
        assert [r.key for r in store.records()] == ["d", "a", "b", "c", "e", "g", "head"]
        assert store.read([(("n",), "a")]) == written[:1]

    def test_a_value_that_raises_is_its_own_batchs_affair(self, store: Store) -> None:
        class Broken(dict[str, Any]):
            def items(self) -> Any:
                raise RuntimeError("broken")

        outcomes = store.write_many([[Put(("n",), "a", {})], [Put(("n",), "b", Broken(x=1))]])
        assert [type(each) for each in outcomes] == [list, RuntimeError]
        assert [r.key for r in store.records()] == ["a"]

    def test_an_empty_batch_and_an_empty_read(self, store: Store) -> None:
        assert store.write([]) == []
        assert store.read([]) == []

    def test_forty_thousand_puts_in_a_batch(self, store: Store) -> None:
        store.write([Put(("many",), f"{i:05}", {"i": i}) for i in range(40_000)])
        assert store.count() == 40_000
        ids = [(("many",), f"{i:05}") for i in range(0, 40_000, 10)]
        assert [r and r.value["i"] for r in store.read(ids)] == list(range(0, 40_000, 10))

    def test_update_merges_for_all_writers(self, store: Store) -> None:
        """No increment of concurrent writers is lost."""
        store.put(("n",), "k", {"count": 0, "gone": 1})
        errors: list[BaseException] = []

        def add() -> None:
            try:
                for _ in range(20):
                    store.update(("n",), "k", lambda value: {**value, "count": value["count"] + 1})
            except BaseException as error:
                errors.append(error)

        threads = [threading.Thread(target=add) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
        assert store.update(("n",), "k", {"gone": None}).value == {"count": 80}
        with pytest.raises(MemoryNotFound):
            store.update(("n",), "missing", {})

    # -- expiry ----------------------------------------------------------------------------

    @pytest.mark.parametrize("when", [datetime.max, datetime.min], ids=["late", "early"])
    def test_a_time_that_utc_does_not_know_is_refused(self, store: Store, when: datetime) -> None:
        """It could be stored as a number, and nobody could read it, or what lies beside it."""
        west, east = (timezone(timedelta(hours=hours)) for hours in (-14, 14))
        odd = when.replace(tzinfo=west if when == datetime.max else east)
        with pytest.raises(InvalidQuery, match="years 1 to 9999"):
            store.put(("n",), "k", {}, expires_at=odd)
        with pytest.raises(InvalidValue, match=r"^\$\.at: .* years 1 to 9999"):
            store.put(("n",), "k", {"at": odd})
        kept = store.put(("n",), "k", {"at": when.replace(tzinfo=UTC)})
        assert store.get(("n",), "k") == kept

    def test_what_has_expired_is_absent(self, store: Store, clock: FakeClock) -> None:
        old = store.put(("n",), "k", {"v": 1}, expires_at=clock() + timedelta(seconds=10))
        store.put(("n",), "other", {})
        assert store.get(("n",), "k") == old
        clock.forward(10)
        assert store.get(("n",), "k") is None
        assert store.read([(("n",), "k")], expired=True) == [old]
        assert [r.key for r in store.find(Query()).records] == ["other"]
        assert [r.key for r in store.find(Query(expired=True)).records] == ["k", "other"]
        assert (store.count(), store.count(Query(expired=True))) == (1, 2)
        assert store.delete(("n",), "k") is False
        new = store.put(("n",), "k", {"v": 2}, replacing=ABSENT)
        assert new.version == 1
        assert new.created_at >= clock()

    def test_touch_changes_the_expiry_only(self, store: Store, clock: FakeClock) -> None:
        seen = store.put(("n",), "k", {"v": 1}, expires_at=clock() + timedelta(seconds=10))
        clock.forward(5)
        later = clock() + timedelta(seconds=10)
        assert store.write([Touch(("n",), "k", later), Touch(("n",), "no", later)]) == [
            replace(seen, expires_at=later),
            None,
        ]
        assert store.get(("n",), "k") == replace(seen, expires_at=later)

    def test_sweep_removes_what_has_expired(self, store: Store, clock: FakeClock) -> None:
        soon = clock() + timedelta(seconds=1)
        store.write([Put(("n",), str(i), {}, expires_at=soon) for i in range(5)])
        store.put(("n",), "stays", {})
        assert store.sweep() == 0
        clock.forward(2)
        assert store.sweep() == 5
        assert [r.key for r in store.find(Query(expired=True)).records] == ["stays"]
