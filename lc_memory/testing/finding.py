"""What every store must find, and how it pages, as tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lc_memory.errors import (
    InvalidQuery,
)
from lc_memory.paging import page_of, write_cursor
from lc_memory.records import (
    ABSENT,
    Append,
    Clear,
    Delete,
    Expect,
    Op,
    Order,
    Put,
    Query,
)
from lc_memory.store import Index, Store
from lc_memory.testing.clock import FakeClock


class FindingContract:
    """A part of :class:`StoreContract`, which supplies the store."""

    def test_a_prefix_matches_whole_labels(self, store: Store) -> None:
        spaces = [("acme",), ("acme", "x"), ("acme-corp",), ("acme\tx",), ("acm",), ("b", "acme")]
        store.write([Put(space, "k", {}) for space in spaces])
        found = [r.namespace for r in store.records(Query(("acme",)))]
        assert found == [("acme",), ("acme", "x")] == store.namespaces(("acme",))
        assert [r.namespace for r in store.records(Query(("acme",), exact=True))] == [("acme",)]
        store.write([Clear(("acme",))])
        assert sorted(store.namespaces()) == sorted(spaces[2:])

    def test_pages_join_to_the_whole(self, store: Store, clock: FakeClock) -> None:
        """In every order and size, with and without a filter, while records are added behind."""
        for i in range(23):
            clock.forward()
            store.put(("n", str(i % 3)), f"{i * 7 % 23:02}", {"i": i % 5, "odd": bool(i % 2)})
        for order in ("@key", "-@key", "@updated_at", "-@created_at", "i", "-i"):
            for filter in (None, {"odd": True}):
                whole = store.find(Query(("n",), filter, order)).records
                assert len(whole) == (11 if filter else 23)
                for size in (1, 4, 11, 23, 50):
                    assert list(store.records(Query(("n",), filter, order), size)) == whole
                assert store.find(Query(("n",), filter, order, 5, 3)).records == whole[3:8]
        assert store.find(Query(limit=0)).records == []

    def test_several_queries_at_once(self, store: Store) -> None:
        for i in range(7):
            store.put(("n", str(i % 2)), f"k{i}", {"i": i})
        queries = [
            Query(("n", "0"), exact=True, order="-@key", limit=2),
            Query(("n",), order="-@key", limit=4),
            Query(("none",), limit=3),
            Query(("n",), order="@key", limit=3, offset=2),
            Query(("n",)),
        ]
        assert store.find_many(queries) == [store.find(query) for query in queries]
        queries.append(Query(("n",), {"i": {"$gt": 2}}, order="i", limit=2))
        assert store.find_many(queries) == [store.find(query) for query in queries]
        assert store.find_many([]) == []

    def test_a_cursor_belongs_to_its_order(self, store: Store) -> None:
        store.write([Put(("n",), str(i), {}) for i in range(3)])
        cursor = store.find(Query(limit=1)).cursor
        assert cursor
        for bad in ("", "x", "é", "e30", cursor[:-3]):
            with pytest.raises(InvalidQuery):
                store.find(Query(cursor=bad))
        with pytest.raises(InvalidQuery):
            store.find(Query(cursor=cursor, order="-@key"))
        for limit in (-1, 1.5, "1", True, 10**30):
            with pytest.raises(InvalidQuery):
                Query(limit=limit)  # type: ignore[arg-type]
            with pytest.raises(InvalidQuery):
                Query(limit=1, offset=limit)  # type: ignore[arg-type]
        newest = Order.parse("@updated_at")
        for forged in ((2**63, ("n",), "k"), (0, ("n\0",), "k"), (0, ("n",), "x" * 5000)):
            with pytest.raises(InvalidQuery):
                store.find(Query(order=newest, cursor=write_cursor(newest, forged)))

    def test_hostile_filters_are_only_filters(self, store: Store) -> None:
        store.put(("n",), "k", {"a": 1, 'x" OR 1=1 --': 2, "it's": 3, "semi;colon": 4})
        for field in ("') OR 1=1 --", 'a" OR "1"="1', "a'] = 1 OR 1=1; --", "%", "a\0", "\ud800"):
            assert store.find(Query(filter={field: 1})).records == []
            assert len(store.find(Query(filter={field: None})).records) == 1
        for field, value in (('x" OR 1=1 --', 2), ("it's", 3), ("semi;colon", 4)):
            assert len(store.find(Query(filter={field: value})).records) == 1
        assert store.count() == 1

    def test_a_filter_may_be_large(self, store: Store) -> None:
        """Up to its own limits: what is too much for the database is Python's."""
        store.put(("n",), "k", {"a": 899})
        many = [{"a": number} for number in range(900)]
        for filter in (
            {"$or": many},
            {"$and": many[-1:] * 900},
            {"$and": [{"$or": [{"a": {"$in": []}}, {"a": 899}]}] * 300},
            {"a": {"$in": list(range(100_000))}},
            {".".join("a" * 3000): None},
            {"$or": [{".".join("b" * 40): 1}] * 900 + [{"a": 899}]},
        ):
            assert [r.key for r in store.find(Query(("n",), filter)).records] == ["k"]

    def test_a_field_exists_whatever_it_holds(self, store: Store) -> None:
        held: list[Any] = [{"a": v} for v in list[Any](([], [[]], {}, None, "", 0))]
        held += [{"a": {"b": []}}, {"a": [{"b": []}]}, {"a": [{"b": None}]}, {}]
        store.write([Put(("n",), str(i), value) for i, value in enumerate(held)])
        for path, keys in (("a", "012345678"), ("a.b", "678")):
            there = Query(("n",), {path: {"$exists": True}}, exact=True)
            assert "".join(r.key for r in store.find(there).records) == keys
            missing = Query(("n",), {path: {"$exists": False}}, exact=True)
            others = set("0123456789") - set(keys)
            assert {r.key for r in store.find(missing).records} == others

    def test_declared_indexes_change_no_answer(
        self, store: Store, reopen: Callable[..., Store]
    ) -> None:
        """Declared before or after the records, by this opener or another."""
        if not store.capabilities.indexes:
            pytest.skip("declares no indexes")
        values: list[Any] = [1, 1.0, True, "1", None, [1, 9], ["a", 2], {"x": 1}, "é" * 300, 2**70]
        store.write([Put(("n",), str(i), {"f": v}) for i, v in enumerate(values)])
        store.write([Expect(("n",), "0"), Put(("n",), "before", {"f": 1})])
        indexed = reopen(indexes=[Index.of(("n",), "f"), Index.of(("*", "y"), "f")])
        store.write([Expect(("n",), "0"), Put(("n",), "after", {"f": 1})])
        store.write([Put(("n",), f"{i}b", {"f": v}) for i, v in enumerate(values)])
        store.write([Delete(("n",), "0"), Put(("n",), "1", {"f": 5}), Put(("n",), "gone", {})])
        filters: list[dict[str, Any]] = [{"f": value} for value in values]
        filters += [{"f": {op: v}} for op in ("$gt", "$lte") for v in (1, 0.5, "0", "é" * 299)]
        filters += [{"f": {"$gte": 2, "$lt": 8}}, {"f": {"$in": [1, "1"]}}, {"f": {"$ne": 1}}]
        for filter in filters:
            plain = [r.id for r in store.records() if Query(filter=filter).node.matches(r.value)]  # type: ignore[union-attr]
            query = Query(("n",), filter, exact=True)
            assert [r.id for r in indexed.find(query).records] == plain, filter

    def test_who_came_before_an_index_was_declared_keeps_it_in_step(
        self, store: Store, reopen: Callable[..., Store]
    ) -> None:
        if not store.capabilities.indexes:
            pytest.skip("declares no indexes")
        store.write([Put(("n",), "old", {"f": 1})])
        batches: list[list[Op]] = [
            [Put(("n",), "new", {"f": 2})],
            [Put(("n",), "old", {"f": 2})],
            [Put(("n",), "absent", {"f": 2}, replacing=ABSENT)],
            [Expect(("n",), "old"), Put(("n",), "guarded", {"f": 2}, replacing=ABSENT)],
            [Append(("log",), {"f": 2})],
        ]
        openers = [reopen() for _ in batches]
        for number, opener in enumerate(openers):  # each learns that there is no index
            opener.write([Put(("m",), str(number), {})])
            opener.write([Append(("log",), {"f": 1})])
        indexed = reopen(indexes=[Index.of(("n",), "f"), Index.of(("log",), "f")])
        for opener, batch in zip(openers, batches, strict=True):
            opener.write(batch)
        for namespace, keys in ((("n",), "absent guarded new old"), (("log",), f"{5:016}")):
            found = indexed.find(Query(namespace, {"f": 2}, exact=True)).records
            assert [record.key for record in found] == keys.split()

    def test_a_wide_range_of_an_index_pages_like_any(self, reopen: Callable[..., Store]) -> None:
        store = reopen()
        if not store.capabilities.indexes:
            pytest.skip("declares no indexes")
        store = reopen(indexes=[Index.of(("n",), "f")])
        values: list[Any] = [i if i % 50 else [i, -i] for i in range(1500)]
        store.write([Put(("n",), f"{i:04}", {"f": v}) for i, v in enumerate(values)])
        for filter, first in (({"f": {"$gte": 0}}, 0), ({"f": {"$gt": 1100}}, 1101)):
            for order in ("@key", "-@key", "@updated_at", "-@updated_at"):
                wanted = [f"{i:04}" for i in range(first, 1500)]
                wanted = wanted[::-1] if order[0] == "-" else wanted
                query = Query(("n",), filter, order, limit=150, offset=20, exact=True)
                for start in (20, 170, 320):
                    page = store.find(query)
                    assert [r.key for r in page.records] == wanted[start : start + 150], order
                    query = replace(query, offset=0, cursor=page.cursor)
            for order in ("f", "-f"):  # arrays among the values: the index does not tell all
                query = Query(("n",), filter, order, limit=150, exact=True)
                right = page_of(store.records(Query(("n",), exact=True)), query)
                assert [r.key for r in store.find(query).records] == [r.key for r in right.records]
