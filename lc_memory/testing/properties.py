"""Random batches, filters and pages, on a store and on the reference beside it."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lc_memory.errors import LCMemoryError
from lc_memory.records import (
    ABSENT,
    Append,
    Clear,
    Delete,
    Op,
    Put,
    Query,
    Record,
    Touch,
)
from lc_memory.store import Index, Store
from lc_memory.stores.memory import MemoryStore
from lc_memory.testing.clock import FakeClock

_LABELS = st.sampled_from(["a", "A", "á", "a ", "", "acme", "acme-corp", "a%", "\t", "\n", "😀"])
NAMESPACES = st.lists(_LABELS, max_size=3).map(tuple)
KEYS = st.sampled_from(["k", "K", "ḱ", "k ", "", "'", '"', "\\", "%", "\uffff", "😀"])

_WHEN = datetime(2024, 1, 15, tzinfo=UTC)
SCALARS = st.one_of(
    st.sampled_from([None, True, False, 0, 1, 1.0, -0.0, 0.1, 2, "", "a", "A", "b", "á", "1"]),
    st.sampled_from([2**53, 2**53 + 1, 2**63, 2**64, -(2**70), 1e308, 5e-324, 0.30000000000000004]),
    st.sampled_from(
        ["a\0", "a\0b", "\ud83d", "\ue000", "😀", "null", '{"x":1}', "[1]", "a'b", "%"]
    ),
    st.sampled_from([b"", b"a", b"\xff", _WHEN, _WHEN + timedelta(microseconds=1)]),
    st.integers(-5, 5),
    st.floats(-5, 5),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=3),
)
FIELDS = st.sampled_from(["a", "b", "c", "$d", "", "0", "x.y", 'q"', "é"])
_JSON = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(FIELDS, inner, max_size=3)
    ),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(FIELDS, _JSON, max_size=4)

PATHS = st.sampled_from(
    ["a", "b", "a.b", "b.a", "a.0", "a.b.c", "c", "é", 'q"', "a.$d", "x.y", "0"]
)
_ORDERED = SCALARS.filter(lambda value: value is not None)


def _conditions(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    few = st.lists(_JSON, max_size=3)
    operator = st.one_of(
        st.fixed_dictionaries({"$eq": _JSON}),
        st.fixed_dictionaries({"$ne": _JSON}),
        *(st.fixed_dictionaries({op: _ORDERED}) for op in ("$gt", "$gte", "$lt", "$lte")),
        st.fixed_dictionaries({"$gte": _ORDERED, "$lte": _ORDERED}),
        *(st.fixed_dictionaries({op: few}) for op in ("$in", "$nin", "$all")),
        st.fixed_dictionaries({"$exists": st.booleans()}),
        st.fixed_dictionaries({"$size": st.integers(0, 3)}),
        st.fixed_dictionaries({"$regex": st.sampled_from(["a", "^A", "b$", "[0-9]", "(?i)Á"])}),
    )
    return st.one_of(
        SCALARS,
        operator,
        operator.map(lambda condition: {"$not": condition}),
        st.one_of(operator, inner).map(lambda condition: {"$elemMatch": condition}),
    )


FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(PATHS, _conditions(st.just({"a": 1})), min_size=1, max_size=2),
    lambda inner: st.one_of(
        *(
            st.lists(inner, min_size=1, max_size=3).map(lambda nodes, op=op: {op: nodes})  # type: ignore[misc]
            for op in ("$and", "$or", "$nor")
        ),
        st.dictionaries(PATHS, _conditions(inner), min_size=1, max_size=2),
    ),
    max_leaves=4,
)

_EXPIRY = st.sampled_from([None, None, None, 1.0, 5.0, 60.0])
_SEEN = st.sampled_from([None, None, None, "absent", "seen", "stale"])

ORDERS = st.sampled_from(["@key", "-@key", "@updated_at", "-@updated_at", "@created_at", "a", "-b"])


@st.composite
def batches(draw: st.DrawFn) -> list[Any]:
    """Some operations, not yet bound to what the store holds."""
    put = st.tuples(st.just("put"), NAMESPACES, KEYS, DOCUMENTS, _EXPIRY, _SEEN)
    rest = st.one_of(
        st.tuples(st.just("append"), NAMESPACES.map(lambda n: ("log", *n)), DOCUMENTS),
        st.tuples(st.just("delete"), NAMESPACES, KEYS, _SEEN),
        st.tuples(st.just("touch"), NAMESPACES, KEYS, _EXPIRY),
        st.tuples(st.just("clear"), NAMESPACES.filter(bool)),
    )
    numbers = st.integers(0, 4).map(lambda number: f"{number:016}")
    in_a_log = st.one_of(
        st.tuples(st.just("append"), st.just(("log",)), DOCUMENTS),
        st.tuples(st.just("delete"), st.just(("log",)), numbers, st.none()),
        st.tuples(st.just("put"), st.just(("log",)), numbers, DOCUMENTS, st.none(), st.none()),
    )
    return draw(st.lists(st.one_of(put, put, rest, in_a_log), min_size=1, max_size=6))


class PropertyContract:
    """Inherit beside :class:`StoreContract`: the store must give the reference's every answer."""

    #: How many random histories to try.
    examples = 60

    def open_store(self, folder: Path, **options: Any) -> Store:
        raise NotImplementedError

    def test_every_answer_is_the_references(self) -> None:
        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            history=st.lists(batches(), min_size=1, max_size=6),
            questions=st.lists(
                st.tuples(NAMESPACES, FILTERS | st.none(), ORDERS, st.integers(1, 4)), max_size=5
            ),
        )
        def compare(history: list[Any], questions: list[Any]) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self._compare(Path(folder), history, questions)

        compare()

    def test_every_filter_means_what_matches_says(self) -> None:
        """Many documents at a time, with and without an index on the fields."""

        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            documents=st.lists(DOCUMENTS, min_size=1, max_size=25),
            filters=st.lists(FILTERS, min_size=1, max_size=12),
        )
        def compare(documents: list[Any], filters: list[Any]) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self._filters(Path(folder), documents, filters)

        compare()

    def test_every_order_is_the_references(self) -> None:
        """By a field with an index, page by page."""
        plain = st.one_of(SCALARS, st.sampled_from([1, 2, {}, {"b": 1}, {"b": "x"}]))
        odd = st.sampled_from(["x" * 300, "x" * 300 + "y", [2, 1], [], [{"b": 2}]])
        mixed = st.booleans().flatmap(lambda rare: odd if rare else plain)  # as many of each

        def some(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Any]]:
            document = st.fixed_dictionaries({"c": st.integers(0, 3)}, optional={"a": values})
            return st.lists(document, min_size=1, max_size=12)

        @settings(
            max_examples=self.examples,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(
            documents=some(plain) | some(mixed),
            questions=st.lists(
                st.tuples(
                    st.one_of(
                        st.none(),
                        _conditions(st.just({"a": 1})).map(lambda one: {"a": one}),
                        st.sampled_from([{"c": {"$gte": 1}}, {"a.b": {"$lt": "y"}, "c": 2}]),
                    ),
                    st.sampled_from(["a", "-a", "-a.b", "c"]),
                ),
                min_size=2,
                max_size=6,
            ),
            size=st.integers(1, 5),
        )
        def compare(documents: list[Any], questions: list[Any], size: int) -> None:
            with tempfile.TemporaryDirectory() as folder:
                self._orders(Path(folder), documents, questions, size)

        compare()

    def _orders(self, folder: Path, documents: list[Any], questions: list[Any], size: int) -> None:
        indexed = [Index.of(("i",), path) for path in ("a", "a.b", "c")]
        with self.open_store(folder) as store:
            options = {"indexes": indexed} if store.capabilities.indexes else {}
        with self.open_store(folder, **options) as store, MemoryStore() as model:
            puts = [Put(("i",), f"{i}", document) for i, document in enumerate(documents)]
            store.write(puts)
            model.write(puts)
            for filter, order in questions:
                query = Query(("i",), filter, order, exact=True)
                right = [record.key for record in model.find(query).records]
                paged = [record.key for record in store.records(query, size)]
                assert paged == right, (filter, order, documents)
                page = store.find(replace(query, limit=size, offset=1))
                assert [record.key for record in page.records] == right[1 : size + 1]

    def _compare(self, folder: Path, history: list[Any], questions: list[Any]) -> None:
        clock = FakeClock()
        with self.open_store(folder, clock=clock) as store, MemoryStore(clock=clock) as model:
            for batch in history:
                clock.forward(3)
                ops = [_bound(op, model, clock) for op in batch]
                assert _answer(store.write, ops) == _answer(model.write, ops)
            everything = model.find(Query(expired=True)).records
            assert _exactly(store.find(Query(expired=True)).records) == _exactly(everything)
            assert store.namespaces() == model.namespaces()
            ids = [record.id for record in everything]
            assert store.read([*ids, (("no",), "")]) == model.read([*ids, (("no",), "")])
            for prefix, filter, order, size in questions:
                query = Query(prefix, filter, order)
                whole = model.find(query).records
                assert _exactly(store.find(query).records) == _exactly(whole)
                assert list(store.records(query, size)) == whole
                assert store.count(query) == len(whole)
                assert store.namespaces(prefix, limit=size) == model.namespaces(prefix, limit=size)

    def _filters(self, folder: Path, documents: list[Any], filters: list[Any]) -> None:
        indexed = [Index.of(("i",), path) for path in ("a", "a.b", "b", "é")]
        with self.open_store(folder) as store:
            options = {"indexes": indexed} if store.capabilities.indexes else {}
        with self.open_store(folder, **options) as store:
            store.write(
                [
                    Put((space,), f"{i:03}", document)
                    for space in ("i", "j")
                    for i, document in enumerate(documents)
                ]
            )
            kept = [record.value for record in store.records(Query(("i",)))]
            for filter in filters:
                query = Query(filter=filter)
                assert query.node
                right = [f"{i:03}" for i, value in enumerate(kept) if query.node.matches(value)]
                for space in ("i", "j"):
                    found = store.find(Query((space,), filter, exact=True)).records
                    assert [record.key for record in found] == right, (filter, kept)


def _bound(op: Any, model: MemoryStore, clock: FakeClock) -> Op:
    """The operation, with its preconditions bound to what the reference holds."""
    kind, namespace, *rest = op
    if kind == "clear":
        return Clear(namespace)
    if kind == "append":
        return Append(namespace, rest[0])
    key = rest[0]
    if kind == "touch":
        return Touch(namespace, key, _expiry(rest[1], clock))
    seen: Any = {"absent": ABSENT, None: None}.get(rest[-1], model.get(namespace, key))
    if rest[-1] == "stale" and isinstance(seen, Record):
        seen = Record(namespace, key, {}, seen.version + 1, seen.created_at, seen.updated_at)
    if kind == "delete":
        return Delete(namespace, key, seen)
    return Put(namespace, key, rest[1], _expiry(rest[2], clock), seen)


def _expiry(seconds: float | None, clock: FakeClock) -> datetime | None:
    return None if seconds is None else clock() + timedelta(seconds=seconds)


def _answer(write: Any, ops: list[Op]) -> Any:
    try:
        return _exactly(write(ops))
    except LCMemoryError as error:
        return type(error)


def _exactly(records: Sequence[Record | None]) -> list[str]:
    """To the byte: ``1`` and ``1.0`` and ``-0.0`` differ here."""
    return [repr(record) for record in records]
