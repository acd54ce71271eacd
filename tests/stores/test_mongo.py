"""MongoDB keeps the contract, on a real server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.errors import WriteError

from lc_memory import ABSENT, Index, Memory, Query, __version__
from lc_memory.errors import CorruptStore, InvalidValue, NewerFormat, StoreError, Unsupported
from lc_memory.log import Log
from lc_memory.paging import read_cursor
from lc_memory.records import Append, Clear, Delete, Put, Record, Restore, Touch
from lc_memory.rows import prepare
from lc_memory.stores.memory import MemoryStore
from lc_memory.stores.mongo import MongoStore
from lc_memory.stores.mongo_client import VERSION
from lc_memory.stores.mongo_filters import condition, joined
from lc_memory.testing import FakeClock, PropertyContract, StoreContract
from lc_memory.testing.writing import VALUES
from lc_memory.values import MAX_DEPTH, decode, micros
from tests.databases import Databases
from tests.servers import MongoDB
from tests.stores.single_puts import SinglePuts


class TestMongo(StoreContract, PropertyContract, SinglePuts):
    """A fresh database for each test; the same one when it is opened again."""

    databases: Databases
    examples = 25

    @pytest.fixture(autouse=True)
    def _databases(self, mongodb_databases: Databases) -> None:
        self.databases = mongodb_databases

    def open_store(self, folder: Path, **options: Any) -> MongoStore:
        return MongoStore(self.databases(folder), **options)

    def documents(self, folder: Path) -> list[dict[str, Any]]:
        """What a person would see in the collection."""
        with _client(self.databases(folder)) as client:
            return list(client.get_default_database()["lc_memory_records"].find())

    # -- documents -------------------------------------------------------------------------

    def test_a_document_can_be_read_by_people(self, tmp_path: Path, clock: FakeClock) -> None:
        value = {
            "title": "Tea",
            "tags": ["green", 2, 2.5, None, True],
            "at": datetime(2024, 1, 15, 10, 0, 0, 123000, tzinfo=UTC),
            "raw": b"\x00\xff",
            "big": 2**62,
            "a.b": {"c.d": "C:\\users \t \x01"},
        }
        with self.open_store(tmp_path, clock=clock) as store:
            store.put(("users", "ada"), "n1", value, owner="ada")
            assert repr(store.get(("users", "ada"), "n1").value) == repr(value)  # type: ignore[union-attr]
        now = micros(clock())
        stored = {**value, "at": datetime(2024, 1, 15, 10, 0, 0, 123000)}
        assert self.documents(tmp_path) == [
            {
                "_id": "users\tada\t\x01n1",
                "namespace": "users\tada\t",
                "key": "n1",
                "value": stored,
                "version": 1,
                "created_at": now,
                "updated_at": now,
                "owner": "ada",
            }
        ]

    @pytest.mark.parametrize(
        ("item", "seen"),
        [
            (
                datetime(2024, 1, 15, 0, 0, 0, 1999, tzinfo=UTC),
                datetime(2024, 1, 15, 0, 0, 0, 1000),
            ),
            (2**64, float(2**64)),
            (-(10**400), float("-inf")),
            ("cut \ud83d", "cut \ufffd"),
            ([{"$x": 1, "": 2, "k\0": 3, "\ud800": 4, "y": 5}], [{"y": 5}]),
        ],
        ids=str,
    )
    def test_what_bson_would_lose_is_kept_as_text(
        self, tmp_path: Path, item: Any, seen: Any
    ) -> None:
        with self.open_store(tmp_path) as store:
            written = store.put(("n",), "k", {"item": item})
            assert repr(store.get(("n",), "k")) == repr(written)
            assert repr(written.value) == repr({"item": item})
            (document,) = self.documents(tmp_path)
            assert document["value"] == {"item": seen}
            assert decode(document["text"]) == {"item": item}
            store.put(("n",), "k", {"item": 1})
            assert "text" not in self.documents(tmp_path)[0]

    def test_the_deepest_value_is_stored(self, tmp_path: Path) -> None:
        value: Any = 1
        for i in range(MAX_DEPTH):
            value = {"a": value} if i % 2 else [value]
        with self.open_store(tmp_path) as store:
            store.write([Put(("n",), "k", value), Put(("n",), "l", value)])
            assert store.find(Query(filter={"a": {"$exists": True}})).records[0].value == value

    def test_more_than_a_document_holds_is_refused(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            for value in ({"t": "x" * 2**24}, {"t": "ü" * 2**23}, {"t": [1] * 1_500_000}):
                with pytest.raises(InvalidValue, match=r"^\$: takes .* MB"):
                    store.write([Put(("n",), "small", {}), Put(("n",), "large", value)])
            assert store.count() == 0
            store.put(("n",), "k", {"t": "x" * (2**24 - 10_000)})

    def test_a_foreign_document_is_an_error(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            records = store._records
            for change in ({"$unset": {"value": 1}}, {"$unset": {"version": 1}}):
                records.update_one({}, change)
                with pytest.raises(CorruptStore):
                    store.get(("n",), "k")
                records.update_one({}, {"$set": {"value": {}}})

    # -- queries ---------------------------------------------------------------------------

    def test_a_declared_field_has_an_index_of_the_database(
        self, tmp_path: Path, mongodb: MongoDB
    ) -> None:
        wanted = [Index.of(("docs",), "n"), Index.of(("users", "*", "docs"), "n")]
        with (
            self.open_store(tmp_path, indexes=wanted) as store,
            self.open_store(tmp_path, indexes=wanted),
        ):
            store.write([Put(("docs",), str(i), {"n": [i, {"x": i}]}) for i in range(30)])
            index = store._records.index_information()["by_value.n"]
            assert index["key"] == [("namespace", 1), ("value.n", 1)]
            for asked in (7, {"$gte": 29}, {"$in": [3, 7]}):
                query = Query(("docs",), {"n": asked, "x": {"$ne": 1}}, exact=True)
                found = store._records.find(joined(store._candidates(query)))
                plan = found.sort("_id").explain()["queryPlanner"]["winningPlan"]
                assert b"by_value.n" in plan.raw, plan
                assert len(store.find(query).records) == len(list(found.rewind()))
            dead = store.now() - timedelta(minutes=1)
            store.put(("docs",), "dead", {"n": 7}, expires_at=dead)
            for order in ("@key", "-@updated_at", "n"):
                for limit in (None, 5):
                    query = Query(("docs",), {"n": 7}, order, limit, exact=True)
                    assert [record.key for record in store.find(query).records] == ["7"]
                    found = store.find(replace(query, expired=True)).records
                    assert {record.key for record in found} == {"7", "dead"}

    def test_an_index_is_made_when_it_is_first_of_use(self, tmp_path: Path) -> None:
        later = datetime(2100, 1, 1, tzinfo=UTC)
        with MemoryStore() as model:
            expiring = model.put(("n",), "k", {}, expires_at=later)
        uses: dict[str, list[Callable[[MongoStore], object]]] = {
            "by_key": [
                lambda store: Log(store, ("log",)).append([{}]),
                lambda store: Log(store, ("log",)).append([{}, {}]),
            ],
            "expiring": [
                lambda store: store.put(("n",), "k", {}, expires_at=later),
                lambda store: store.write([Put(("n",), k, {}, later) for k in "ab"]),
                lambda store: store.write([Touch(("n",), "old", later)]),
                lambda store: store.write([Restore(expiring)]),
                lambda store: store.restore(lambda: [expiring]),
            ],
        }
        for name, ways in uses.items():
            for number, use in enumerate(ways):
                folder = tmp_path / f"{name} {number}"
                folder.mkdir()
                with self.open_store(folder) as store:
                    store.put(("n",), "old", {})
                    assert _indexes(store) == {"_id_", "by_time"}
                    use(store)
                    assert _indexes(store) == {"_id_", "by_time", name}
                    store._records.drop_index(name)  # as if made by an older release
                with self.open_store(folder) as store:
                    use(store)
                    assert name in _indexes(store)

    def test_what_came_since_is_sought_in_an_index(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            *_, last = Log(store, ("log",)).append([{}] * 30)
            for seen in (None, last.key):
                for sharded in (False, True):
                    store._logs._sharded = sharded
                    asked = store._logs._later(("log",), seen)
                    if not sharded:  # where SecantusDB is out of its depth
                        plan = store._records.find(asked).explain()["queryPlanner"]["winningPlan"]
                        assert b"by_key" in plan.raw, plan
                    assert len(list(store._records.find(asked))) == (0 if seen else 30)
                    assert store._logs._next_place(("log",), seen) == f"{30:016d}"

    def test_a_field_that_cannot_be_indexed_is_refused(self, tmp_path: Path) -> None:
        for path in (("a", "$b"), ("a", "0"), ("",), ("a.b",), ("a\0",)):
            with pytest.raises(Unsupported):
                self.open_store(tmp_path, indexes=[Index(("n",), path)])

    def test_a_page_is_sought_by_its_place(self, tmp_path: Path) -> None:
        """In the server: what lies before the cursor is not fetched."""
        with self.open_store(tmp_path) as store:
            store.write([Put(("n",), f"{i:03}", {"i": i}) for i in range(60)])
            for order in ("@key", "-@key", "@updated_at", "-@created_at"):
                cursor = store.find(Query(("n",), order=order, limit=50, exact=True)).cursor
                query = Query(("n",), order=order, cursor=cursor, exact=True)
                place = read_cursor(query.sort, cursor or "")
                assert len(store._select(query, place, None, 0)) == 10

    # -- writers and openers ---------------------------------------------------------------

    def test_appends_go_round_what_others_wrote_meanwhile(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        log = ("log",)
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            first = Log(other, log).append([{"n": 0}])[0].key
            Log(other, log).append([{"n": 1}])
            Log(other, log).append([{"n": 2}])
            other.delete(log, first)  # so that its place is free, and the next ones are not
            with monkeypatch.context() as patch:
                patch.setattr("lc_memory.stores.mongo_logs.Logs._next_place", lambda *_: first)
                steps = prepare([Append(log, {"n": n}) for n in (10, 11, 12)])
                told = store._logs._appended(steps)
            held = [(record.key, record.value["n"]) for record in Log(store, log).tail()]
            assert [n for _, n in held] == [10, 1, 2, 11, 12]
            assert [record.key for record in told if isinstance(record, Record)] == [
                held[0][0],
                held[3][0],
                held[4][0],
            ]

    def test_an_append_that_is_refused_is_so_alone(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            rule = {"value.bad": {"$exists": False}}
            store._records.database.command("collMod", store._records.name, validator=rule)
            steps = prepare([Append(("log",), v) for v in ({"n": 0}, {"bad": 1}, {"n": 2})])
            kept, refused, last = store._logs._appended(steps)
            assert isinstance(kept, Record)
            assert isinstance(refused, WriteError)
            assert isinstance(last, Record)
            assert [r.value for r in Log(store, ("log",)).tail()] == [kept.value, last.value]
            for n in range(3):
                with pytest.raises(StoreError):
                    Log(store, ("log",)).append([{"bad": 1}])
                Log(store, ("log",)).append([{"n": n}])
            assert [r.value.get("n") for r in Log(store, ("log",)).tail()] == [0, 2, 0, 1, 2]

    def test_who_appends_alone_asks_for_the_end_once(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> Any:
            raise AssertionError("the end was asked for")

        values: list[Any] = [{"first": 1}, *VALUES, {"a.b": {"$c": 1, "": 2}, "t": "\ud83d"}]
        with self.open_store(tmp_path) as store:
            log = Log(store, ("log",))
            first = log.append(values[:1])
            with monkeypatch.context() as unasked:
                unasked.setattr("lc_memory.stores.mongo_logs.Logs._next_place", refuse)
                further = [log.append([value])[0] for value in values[1:]]
                later = store.now() + timedelta(minutes=1)
                ops = [Append(("log",), {"t": "x" * (2**24 - 10_000)}, later, "ada")]
                (large,) = store.write(ops)
            assert [record.value for record in further] == values[1:]
            assert log.tail() == [*first, *further, large]
            assert [repr(r.value) for r in further] == [repr(v) for v in values[1:]]
            assert [int(record.key) for record in log.tail()] == list(range(len(values) + 1))
            inserted, upserted, *_, last = self.documents(tmp_path)
            assert set(upserted) == set(inserted)
            assert last.items() >= {"_id": f"log\t\x01{large.key}", "owner": "ada"}.items()
            assert last["expires_at"] == micros(later)

    def test_an_append_comes_after_what_others_kept(self, tmp_path: Path) -> None:
        """Though the place after one's own was free, or the end is gone."""
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            mine, theirs = (Log(each, ("log",)) for each in (store, other))
            mine.append([{"n": 0}])
            mine.append([{"n": 1}])
            (early,) = theirs.append([{"n": 2}])
            theirs.append([{"n": 3}])
            other.delete(("log",), early.key)
            mine.append([{"n": 4}])
            mine.append([{"n": 5}])
            mine.append([{"n": 6}])
            assert [record.value["n"] for record in mine.tail()] == [0, 1, 3, 4, 5, 6]
            theirs.pop()
            mine.append([{"n": 7}])
            theirs.append([{"n": 8}])
            assert [record.value["n"] for record in mine.tail()] == [0, 1, 3, 4, 5, 7, 8]
            theirs.clear()
            for n in range(3):
                (mine if n % 2 else theirs).append([{"n": n}])
            assert [record.value["n"] for record in theirs.tail()] == [0, 1, 2]

    def test_a_batch_goes_after_what_others_kept(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            mine, theirs = (Log(each, ("log",)) for each in (store, other))
            numbers = iter(range(100))

            def append(log: Log, count: int) -> list[Record]:
                return log.append([{"n": next(numbers)} for _ in range(count)])

            append(mine, 2)
            early, *_ = append(theirs, 3)
            other.delete(("log",), early.key)
            append(mine, 2)
            append(theirs, 1)
            append(mine, 1)
            theirs.pop()
            append(theirs, 2)
            append(mine, 3)
            held = [record.value["n"] for record in mine.tail()]
            assert held == [0, 1, *range(3, 8), *range(9, 14)]
            theirs.clear()
            append(mine, 2)
            append(theirs, 2)
            append(mine, 2)
            assert [record.value["n"] for record in mine.tail()] == list(range(14, 20))

    def test_an_end_that_is_deleted_here_is_written_again(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            log = Log(store, ("log",))
            for change in (log.pop, log.clear, lambda: log.append([{}, {}])):
                for _ in range(3):
                    log.append([{}])
                change()
                held = [int(record.key) for record in log.tail()]
                assert int(log.append([{}])[0].key) == max(held, default=-1) + 1

    def test_writers_of_two_stores_meet(self, tmp_path: Path) -> None:
        """Appends alone and in batches, and updates, from two processes' worth of clients."""
        stores = [self.open_store(tmp_path) for _ in range(2)]

        def work(number: int) -> None:
            store = stores[number % 2]
            for i in range(10):
                Log(store, ("log",)).append([{"who": number, "i": i}, {"who": number, "i": i}])
                Log(store, ("single",)).append([{"who": number, "i": i}])
                store.put(("n",), str(i), {"who": number})
                store.update(("c",), "c", lambda v: {"n": v["n"] + 1}, default={"n": 0})

        assert _in_threads(4, work) == []
        found = [record.value for record in Log(stores[0], ("log",)).tail()]
        assert len(found) == 80
        assert found[::2] == found[1::2]  # batches stay together
        singles = [record.value for record in Log(stores[0], ("single",)).tail()]
        assert len(singles) == 40
        for who in range(4):
            assert [value["i"] for value in singles if value["who"] == who] == list(range(10))
        assert stores[1].get(("c",), "c").value == {"n": 40}  # type: ignore[union-attr]
        assert [r.version for r in stores[0].records(Query(("n",)))] == [4] * 10
        for store in stores:
            store.close()

    def test_an_append_sees_the_batch_before_it(self, tmp_path: Path) -> None:
        key = f"{9:016d}"
        batch = [
            *(Append(("l",), {}), Put(("l",), key, {}), Append(("l",), {}), Delete(("l",), key)),
            *(Clear(("l",)), Append(("l",), {})),
        ]
        with self.open_store(tmp_path) as store, MemoryStore() as model:
            for size in range(1, len(batch) + 1):
                keys = [[r and r.key for r in s.write(batch[:size])] for s in (store, model)]
                assert keys[0] == keys[1]

    def test_more_is_cleared_than_a_transaction_takes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lc_memory.stores.mongo._MOST_IN_TRANSACTION", 2)
        with self.open_store(tmp_path) as store:
            store.write([Put((name,), str(i), {}) for name in ("n", "m") for i in range(3)])
            assert store.write([Clear(("n",))]) == [None]
            assert store.namespaces() == [("m",)]

    def test_what_was_put_here_is_put_again_unread(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(*_: Any) -> Any:
            raise AssertionError("it was read")

        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            store.put(("n",), "k", {})
            seen = other.put(("n",), "other", {})
            with monkeypatch.context() as without:
                without.setattr("lc_memory.stores.mongo.load", refuse)
                assert store.put(("n",), "k", {"n": 2}).version == 2
                assert store.put(("n",), "other", {}, replacing=seen).version == 2
                assert store.put(("n",), "new", {}, replacing=ABSENT).version == 1
                assert store.put(("n",), "not met before", {}).version == 1
            other.delete(("n",), "k")
            assert other.put(("n",), "k", {"n": 3}).version == 1
            assert store.put(("n",), "k", {"n": 4}).version == 2
            for key in ("a", "b", "c"):  # written by others, and not met here
                made = other.put(("n",), key, {}, owner="ada")
                again = store.put(("n",), key, {"n": 5})
                assert (again.version, again.owner) == (2, "ada")
                assert again.created_at == made.created_at
                assert store.put(("n",), f"new {key}", {}).version == 1

    def test_a_put_that_must_read_first_takes_no_more_of_the_time(self, tmp_path: Path) -> None:
        """What it was made from was wrong: the times are those of the reference all the same."""
        clock = FakeClock()
        stores = self.open_store(tmp_path, clock=clock), MemoryStore(clock=clock)
        put = Put(("n",), "k", {})
        with stores[0], stores[1]:
            for batch in ([put], [put, Delete(("n",), "k")], [put], [put]):
                ours, theirs = (store.write(batch) for store in stores)
                assert ours == theirs

    def test_openers_at_once_make_one_schema(self, tmp_path: Path) -> None:
        self.databases(tmp_path)
        assert _in_threads(6, lambda _: self.open_store(tmp_path).close()) == []
        with _client(self.databases(tmp_path)) as client:
            schema = client.get_default_database()["lc_memory_schema"]
            assert list(schema.find()) == [
                {"_id": "records", "version": VERSION, "library": __version__}
            ]

    def test_a_newer_format_is_left_alone(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
        with _client(self.databases(tmp_path)) as client:
            schema = client.get_default_database()["lc_memory_schema"]
            schema.update_one({}, {"$set": {"version": VERSION + 1}})
            with pytest.raises(NewerFormat):
                self.open_store(tmp_path)
            assert len(self.documents(tmp_path)) == 1

    def test_what_is_opened_is_closed(self, tmp_path: Path) -> None:
        threads = threading.active_count()
        for _ in range(3):
            with self.open_store(tmp_path) as store:
                store.put(("n",), "k", {})
        with pytest.raises(Unsupported):
            self.open_store(tmp_path, indexes=[Index(("n",), ("$",))])
        for _ in range(100):
            if threading.active_count() <= threads:
                break
            time.sleep(0.05)
        assert threading.active_count() <= threads

    def test_memory_opens_it_by_its_url(self, tmp_path: Path) -> None:
        with Memory(self.databases(tmp_path), indexes={"notes": ["lang"]}) as memory:
            memory.store_memory("a", {"v": 1})
            assert memory.retrieve_memory("a") == {"v": 1}


@pytest.mark.parametrize(
    ("filter", "compiled"),
    [
        ({"a.b": 1}, {"value.a.b": 1}),
        (
            {"a": {"$gt": 1, "$lt": 5.5}},
            {"$and": [{"value.a": {"$gte": 1}}, {"value.a": {"$lte": 5.5}}]},
        ),
        ({"a": {"$in": ["x", True]}}, {"value.a": {"$in": ["x", True]}}),
        ({"a": {"$eq": {"$gt": ""}}}, {"value.a": {"$exists": True}}),
        ({"a": [1]}, {"value.a": {"$exists": True}}),
        ({"$or": [{"a": 1}, {"b": 2}]}, {"$or": [{"value.a": 1}, {"value.b": 2}]}),
        ({"$or": [{"a": 1}, {"b": None}]}, None),
        ({"a": {"$ne": 1}, "b": 2}, {"value.b": 2}),
        ({"a": {"$all": []}}, {"_id": {"$in": []}}),
        ({"a": 2**70}, {"value.a": float(2**70)}),
        ({"a": "\ud800"}, {"value.a": "\ufffd"}),
        *(({path: 1}, None) for path in ("a.$b", "a$b", "a..b", "", "a\0", "\ud800", "a.0")),
        *(
            ({"a": test}, None)
            for test in (None, {"$gt": b"x"}, {"$lt": "\ue000"}, {"$regex": "x"})
        ),
    ],
    ids=str,
)
def test_what_the_server_is_asked(filter: dict[str, Any], compiled: Any) -> None:
    assert condition(Query(filter=filter).node) == compiled


def _indexes(store: MongoStore) -> set[str]:
    return set(store._records.index_information())


def _client(url: str) -> MongoClient[dict[str, Any]]:
    return MongoClient(url)


def _in_threads(count: int, work: Callable[[int], object]) -> list[BaseException]:
    """Do the work so many times at once; what went wrong."""
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors
