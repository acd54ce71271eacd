"""PostgreSQL and MariaDB or MySQL keep the contract, on real servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from pymysql.constants import COMMAND

from lc_memory import (
    ABSENT,
    Conflict,
    Delete,
    Expect,
    Index,
    Memory,
    Put,
    Query,
    StoreError,
    StoreUnavailable,
)
from lc_memory.log import Log
from lc_memory.records import Namespace
from lc_memory.stores.database import Session
from lc_memory.stores.schema import VERSION
from lc_memory.stores.server import POOL, RUSH, ServerDatabase, ServerSession
from lc_memory.stores.sql import SQLStore
from lc_memory.testing import FakeClock, PropertyContract, StoreContract
from tests import servers
from tests.databases import Databases
from tests.servers import Server
from tests.stores.single_puts import SinglePuts, compare_puts
from tests.stores.test_files import wait_until


class _OnServer(StoreContract, PropertyContract, SinglePuts):
    """A fresh database for each test; the same one when it is opened again."""

    databases: Databases
    examples = 25

    def open_store(self, folder: Path, **options: Any) -> SQLStore:
        return SQLStore(self.databases(folder), **options)

    def test_the_plan_goes_through_the_fields_index(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path, indexes=[Index.of(("docs",), "n")]) as store:
            store.write([Put(("docs",), f"{i:05}", {"n": i}) for i in range(3000)])
            query = Query(("docs",), {"n": {"$gte": 1500, "$lt": 1510}}, exact=True)
            source, conditions, parameters = store._candidates(query)
            if store._db.engine.dialect.name == "postgresql":
                analyze = "ANALYZE lc_memory_records, lc_memory_fields"
                store._db.transact(lambda session: session.run(analyze))
            plan = store._db.select(
                f"EXPLAIN SELECT r.id FROM {source} WHERE {' AND '.join(conditions)}", parameters
            )
            text = str(plan)
            assert "Table scan on r" not in text
            assert "lc_memory_fields" in text or "PRIMARY" in text
            assert "Seq Scan on lc_memory_records" not in text
            assert "Seq Scan on lc_memory_fields" not in text
            assert len(store.find(query).records) == 10

    def test_openers_at_once_make_one_schema(self, tmp_path: Path) -> None:
        errors: list[BaseException] = []

        def open_one() -> None:
            try:
                self.open_store(tmp_path).close()
            except BaseException as error:
                errors.append(error)

        url = self.databases(tmp_path)
        threads = [threading.Thread(target=open_one) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        with SQLStore(url) as store:
            assert store._db.select("SELECT version FROM lc_memory_schema") == [(VERSION,)]

    def test_writers_of_two_stores_meet(self, tmp_path: Path) -> None:
        """Appends, inserts of the same key and updates, from two processes' worth of pools."""
        stores = [self.open_store(tmp_path) for _ in range(2)]
        errors: list[BaseException] = []

        def work(store: SQLStore, name: str) -> None:
            try:
                for i in range(25):
                    Log(store, ("log",)).append([{"who": name, "i": i}, {"who": name, "i": i}])
                    store.put(("n",), str(i), {"who": name})
                    store.update(("c",), "c", lambda v: {"n": v["n"] + 1}, default={"n": 0})
            except BaseException as error:
                errors.append(error)

        threads = [
            threading.Thread(target=work, args=(store, f"{s}.{t}"))
            for s, store in enumerate(stores)
            for t in range(3)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert errors == []
        found = [record.value for record in Log(stores[0], ("log",)).tail()]
        assert len(found) == 300
        assert found[::2] == found[1::2]  # batches stay together
        assert stores[1].get(("c",), "c").value == {"n": 150}  # type: ignore[union-attr]
        versions = [record.version for record in stores[0].records(Query(("n",)))]
        assert versions == [6] * 25
        for store in stores:
            store.close()

    def test_indexes_declared_elsewhere_miss_no_single_write(self, tmp_path: Path) -> None:
        """Single writes take no part in the transactions that a declaration keeps out."""
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            stop = threading.Event()
            written: list[int] = []

            def write() -> None:
                while not stop.is_set():
                    n = len(written)
                    store.put(("docs",), f"{n:05}", {f"f{f}": n for f in range(5)})
                    Log(store, ("docs", "log")).append([{"n": n}])
                    written.append(n)

            writer = threading.Thread(target=write)
            writer.start()
            for f in range(5):
                while len(written) < 20 * f + 10:
                    time.sleep(0.001)
                other.declare([Index.of(("docs",), f"f{f}")])
            stop.set()
            writer.join()
            for f in range(5):
                query = Query(("docs",), {f"f{f}": {"$gte": 0}}, exact=True)
                assert len(other.find(query).records) == len(written)
            log = [record.value for record in Log(other, ("docs", "log")).tail()]
            assert log == [{"n": n} for n in written]

    def test_a_log_goes_on_from_what_others_left(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            mine, theirs = Log(store, ("log",)), Log(other, ("log",))
            for _ in range(3):
                mine.append([{"by": "me"}])
            theirs.append([{"by": "them"}])
            assert int(mine.append([{"by": "me"}])[0].key) == 4
            theirs.pop()
            assert int(mine.append([{"by": "me"}])[0].key) == 4
            theirs.clear()
            assert [int(mine.append([{"by": "me"}])[0].key) for _ in range(2)] == [0, 1]
            assert len(theirs) == 2

    def test_a_single_write_sees_what_others_wrote(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store, self.open_store(tmp_path) as other:
            for expected in (1, 3, 5):
                assert store.put(("n",), "k", {"n": expected}).version == expected
                assert other.put(("n",), "k", {"n": 0}).version == expected + 1
            other.delete(("n",), "k")
            assert store.put(("n",), "k", {"n": 1}, replacing=ABSENT).version == 1
            with pytest.raises(Conflict):
                other.put(("n",), "k", {"n": 2}, replacing=ABSENT)

    def test_single_puts_without_upserts(self, tmp_path: Path) -> None:
        """As on MySQL, which does not tell what an upsert has made of a row."""
        clock = FakeClock()
        with self.open_store(tmp_path, clock=clock) as store:
            store.put(("other",), "first", {})
            assert isinstance(store._db, ServerDatabase)
            store._db.upserting = None
            compare_puts(store, clock)

    def test_one_statement_puts_what_is_there(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            assert isinstance(store._db, ServerDatabase)
            monkeypatch.setattr(store._db, "transact", _boom)
            with monkeypatch.context() as patch:
                if store._db.upserting:  # genuine MySQL reads first
                    patch.setattr(store._db, "select", _boom)
                second = store.put(("n",), "k", {"n": 2})
            monkeypatch.setattr(store._db, "select", _boom)
            assert store.put(("n",), "k", {"n": 3}, replacing=second).version == 3

    def test_who_finds_no_connection_is_told(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path, timeout=0.2) as store:
            assert isinstance(store._db, ServerDatabase)
            pool = store._db.pool
            taken = [pool.take() for _ in range(POOL + RUSH)]
            with pytest.raises(StoreUnavailable, match="were busy"):
                store.get(("n",), "k")
            for connection in taken:
                pool.give(connection)
            assert store.get(("n",), "k") is None

    def test_connections_come_back_and_are_closed(self, tmp_path: Path) -> None:
        store = self.open_store(tmp_path)
        threads = [threading.Thread(target=lambda: list(store.records())) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with pytest.raises(Exception, match="boom"):
            store.update(("n",), "k", _boom, default={})
        assert isinstance(store._db, ServerDatabase)
        pool = store._db.pool
        all_of_them = [pool.take() for _ in range(POOL + RUSH)]
        for connection in all_of_them:
            pool.give(connection)
        wait_until(lambda: self.connections(store) <= POOL + RUSH)  # the server takes a moment
        store.close()
        with SQLStore(self.databases(tmp_path)) as other:
            wait_until(lambda: self.connections(other) <= 2)

    def test_namespaces_come_in_pages_past_what_has_expired(self, tmp_path: Path) -> None:
        clock = FakeClock()
        names = [("u", f"{i:03}") for i in range(300)]
        living = names[50:60] + names[290:]  # between them more than are looked at at once
        with self.open_store(tmp_path, clock=clock) as store:
            soon = clock() + timedelta(minutes=1)
            puts = [Put(n, k, {}, None if n in living else soon) for n in names for k in "ab"]
            store.write([*puts, Put(("t",), "a", {}), Put(("v",), "a", {})])
            clock.forward(3600)
            with store.snapshot() as frozen:
                for each in (store, frozen):
                    assert each.namespaces() == [("t",), *living, ("v",)]
                    assert each.namespaces(("u",), expired=True) == names
                    found: list[Namespace] = []
                    while page := each.namespaces(("u",), after=(found or [None])[-1], limit=7):
                        assert len(page) <= 7
                        found += page
                    assert found == living
                    assert each.namespaces(("u",), limit=0) == []
                    assert each.namespaces(("u",), after=living[-1], limit=5) == []

    def test_a_connection_that_closed_itself_is_replaced(self, tmp_path: Path) -> None:
        """As drivers do when they are interrupted."""
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            assert isinstance(store._db, ServerDatabase)
            for use in (
                lambda: store.put(("n",), "k", {"n": 2}),
                lambda: store.write([Put(("n",), "a", {}), Put(("n",), "b", {})]),
                lambda: store.get(("n",), "k"),
            ):
                connection = store._db.pool.take()
                connection.close()
                store._db.pool.give(connection)
                use()
            assert store.count() == 3

    def test_an_interrupted_connection_is_not_used_again(self, tmp_path: Path) -> None:
        """The answer to what was asked may still come, and pass for that to the next question."""
        with self.open_store(tmp_path) as store:
            assert isinstance(store._db, ServerDatabase)
            used: list[Any] = []

            def interrupted(connection: Any) -> None:
                used.append(connection)
                raise KeyboardInterrupt

            with pytest.raises(KeyboardInterrupt):
                store._db._surviving(interrupted)
            store._db._surviving(used.append)
            assert used[0] is not used[1]
            assert store.put(("n",), "k", {}).version == 1

    def connections(self, store: SQLStore) -> int:
        """How many connections the server sees to this database."""
        raise NotImplementedError


def _prepared(store: SQLStore) -> dict[str, str]:
    """What we have prepared on the one connection of a store to PostgreSQL, by name."""
    sql = "SELECT name, statement FROM pg_prepared_statements WHERE starts_with(name, 'lc_memory_')"
    return dict(store._db.select(sql))


def _forget(connection: Any) -> None:
    """Have MySQL close all statements that a connection can have prepared."""
    for number in range(1, 10):
        connection._execute_command(COMMAND.COM_STMT_CLOSE, number.to_bytes(4, "little"))


def _boom(*_: Any) -> Any:
    raise RuntimeError("boom")


class TestPostgreSQL(_OnServer):
    @pytest.fixture(autouse=True)
    def _databases(self, postgres_databases: Databases) -> None:
        self.databases = postgres_databases

    def test_what_was_prepared_and_dropped_is_prepared_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self.open_store(tmp_path) as store:
            for _ in range(2):
                store.put(("n",), "k", {})
            store._db.transact(lambda session: session.run("DEALLOCATE ALL"))
            monkeypatch.setattr(store._db, "transact", _boom)
            for version in (3, 4):
                Log(store, ("log",)).append([{}])
                assert store.put(("n",), "k", {}).version == version
            assert len(_prepared(store)) == 2
            # Who shares the connection, through a pooler, may have prepared it under that name.
            store._db._prepared.clear()  # type: ignore[attr-defined]
            assert store.put(("n",), "k", {}).version == 5
            assert len(_prepared(store)) == 2

    def test_what_was_prepared_in_a_transaction_that_failed_is_prepared_again(
        self, tmp_path: Path
    ) -> None:
        """The server never saw it, as it stood behind what failed. The driver thinks it did, if it
        had seen the statement before, and a ROLLBACK too."""
        delete = 'DELETE FROM lc_memory_records WHERE "key" = ?'

        def fail(session: Session) -> None:
            session.run("SELECT 1 / ?::bigint", [0])

        def fail_before_many(session: Session) -> None:
            fail(session)
            session.run_many(delete, [["a"], ["b"]])

        with self.open_store(tmp_path) as store:
            store.write([Put(("docs",), key, {}) for key in "abc"])
            store._db.transact(lambda session: session.run(delete, ["x"]))
            for work in (fail, fail_before_many):  # one connection: nobody else asks for one
                with pytest.raises(StoreError, match="division by zero"):
                    store._db.transact(work)
            store._db.transact(lambda session: session.run(delete, ["a"]))
            store._db.transact(lambda session: session.run_many(delete, [["b"], ["x"]]))
            assert [record.key for record in store.records(Query(("docs",)))] == ["c"]

    def test_no_more_is_prepared_than_that(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lc_memory.stores.postgres._MOST_PREPARED", 1)
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            monkeypatch.setattr(store._db, "transact", _boom)
            for version in (2, 3):
                assert store.put(("n",), "k", {}).version == version
                Log(store, ("log",)).append([{"n": version}])
                store.write([Expect(("n",), "k"), Put(("m",), f"{version}", {"'\\\"": '\\"{,}'})])
            assert store.get(("m",), "3").value == {"'\\\"": '\\"{,}'}  # type: ignore[union-attr]
            assert len(_prepared(store)) == 1

    @pytest.mark.parametrize("count", [100, 1000])
    def test_many_rows_are_found_by_their_names(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int
    ) -> None:
        """Told how many there are, the server would walk the whole table instead."""
        plans: list[str] = []
        run = ServerSession.run

        def explain(session: ServerSession, sql: str, parameters: Sequence[Any] = ()) -> None:
            if sql.startswith(("DELETE", "UPDATE")):
                plans.append(str(session.select(f"EXPLAIN {sql}", parameters)))
            run(session, sql, parameters)

        with self.open_store(tmp_path) as store:
            store.write([Put(("docs",), f"{i:05}", {}) for i in range(15_000)])
            store._db.transact(lambda session: session.run("ANALYZE lc_memory_records"))
            ids = [f"{i:05}" for i in range(0, 15_000, 15_000 // count)]
            monkeypatch.setattr(ServerSession, "run", explain)
            store.write([Put(("docs",), id, {"n": 1}) for id in ids])
            store.write([Delete(("docs",), id) for id in ids[1:]])
            assert [record.key for record in store.records(Query(("docs",), {"n": 1}))] == ids[:1]
        assert len(plans) == 2
        assert not [plan for plan in plans if "Seq Scan" in plan]

    def test_no_statement_is_longer_than_a_message_may_be(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("lc_memory.stores.postgres._LONG", 10_000)
        longest: list[int] = []
        run = ServerSession.run

        def measure(session: ServerSession, sql: str, parameters: Sequence[Any] = ()) -> None:
            longest.append(sum(len(part) for part in parameters if isinstance(part, str)))
            run(session, sql, parameters)

        monkeypatch.setattr(ServerSession, "run", measure)
        sizes = [*[100] * 40, 20_000, *[100] * 40]
        with self.open_store(tmp_path) as store:
            for n in (1, 2):  # new, and changed
                puts = [Put(("n",), f"{i:02}", {"n": n, "x": "x" * s}) for i, s in enumerate(sizes)]
                store.write(puts)
                found = list(store.records(Query(("n",))))
                assert [len(record.value["x"]) for record in found] == sizes
                assert {record.value["n"] for record in found} == {n}
        assert sorted(longest)[-3] <= 10_000 < 20_000 < sorted(longest)[-2]  # one record, twice

    def connections(self, store: SQLStore) -> int:
        sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        return int(store._db.select(sql)[0][0])


class TestMariaDB(_OnServer):
    @pytest.fixture(autouse=True)
    def _databases(self, mariadb_databases: Databases) -> None:
        self.databases = mariadb_databases

    def test_an_index_is_read_before_the_records(self, tmp_path: Path) -> None:
        """Even if there are few enough of them that to walk them all looks better."""
        with self.open_store(tmp_path, indexes=[Index.of(("docs",), "n")]) as store:
            store.write([Put(("docs",), f"{i:05}", {"n": i}) for i in range(10_000)])
            store._db.select("ANALYZE TABLE lc_memory_records, lc_memory_fields")
            for condition in ({"$gte": 5_000}, {"$lt": 990}):
                query = Query(("docs",), {"n": condition}, exact=True)
                sql, parameters = store._statement(query, None, 11, 0, most=1000)
                tables = [row[2] for row in store._db.select(f"EXPLAIN {sql}", parameters)]
                assert tables.index("<derived2>") < tables.index("r")

    def test_a_server_may_prepare_no_more(self, tmp_path: Path) -> None:
        most = "SET GLOBAL max_prepared_stmt_count = "
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            store._db.transact(lambda session: session.run(f"{most}0"))
            try:
                assert store.put(("n",), "k", {}).version == 2
                assert store._db.select("SHOW STATUS LIKE 'Prepared_stmt_count'")[0][1] == "0"
            finally:
                store._db.transact(lambda session: session.run(f"{most}DEFAULT"))
            assert store.put(("n",), "k", {}).version == 3
            assert isinstance(store._db, ServerDatabase)
            prepared = "1" if store._db.upserting else "2"  # MySQL is asked what is there
            assert store._db.select("SHOW STATUS LIKE 'Prepared_stmt_count'")[0][1] == prepared

    def test_what_was_prepared_and_dropped_is_prepared_again(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with self.open_store(tmp_path) as store:
            for _ in range(2):
                store.put(("n",), "k", {})
            assert isinstance(store._db, ServerDatabase)
            store._db._surviving(_forget)
            assert store.put(("n",), "k", {}).version == 3
            monkeypatch.setattr(ServerDatabase, "repeat", _boom)
            monkeypatch.setattr(store._db, "transact", _boom)
            assert store.put(("n",), "k", {}).version == 4

    def test_many_records_are_written_and_indexed_by_few_statements(self, tmp_path: Path) -> None:
        tags = Index.of(("docs",), "tags")
        keys = [f"{number:04}" for number in range(1000)]
        by_tag = Query(("docs",), {"tags": "b"}, exact=True)
        with self.open_store(tmp_path, indexes=[tags]) as store:
            for version, tag in enumerate("abc", 1):
                puts = [
                    Put(("docs",), key, {"n": n, "tags": [tag, "x"]}) for n, key in enumerate(keys)
                ]
                before = self.statements(store)
                written = store.write(puts)
                assert self.statements(store) - before < 30
                assert {record and record.version for record in written} == {version}
                assert store.read([record.id for record in written if record]) == written
                assert len(store.find(by_tag).records) == (1000 if tag == "b" else 0)
        with self.open_store(tmp_path) as store:
            before = self.statements(store)
            store.declare([Index.of(("docs",), "n")])
            assert self.statements(store) - before < 30
            entries = "SELECT count(*), count(DISTINCT record_id, sort_key) FROM lc_memory_fields"
            assert store._db.select(entries) == [(5000, 5000)]
            (found,) = store.find(Query(("docs",), {"n": 7}, exact=True)).records
            assert found.key == "0007"

    def statements(self, store: SQLStore) -> int:
        """How many statements the store's one connection has sent so far."""
        return int(store._db.select("SHOW SESSION STATUS LIKE 'Questions'")[0][1])

    def test_few_statements_read_any_number_of_records(self, tmp_path: Path) -> None:
        with self.open_store(tmp_path) as store:
            keys = [f"{number}" for number in range(300)]
            store.write([Put(("n",), key, {"n": key}) for key in keys[:-1]])
            for size in (*range(1, 40), 255, 256, 257, 300):
                found = store.read([(("n",), key) for key in keys[-size:]])
                assert [r and r.value["n"] for r in found] == [*keys[-size:-1], None]
            count = store._db.select("SHOW STATUS LIKE 'Prepared_stmt_count'")
            assert int(count[0][1]) == 8  # 1, 2, 4, 8, 16, 32, 64, 256

    def test_a_value_may_be_of_any_size(self, tmp_path: Path) -> None:
        """A prepared statement tells lengths in one, three or nine bytes, and goes in several
        packets from 16 MB on."""
        with self.open_store(tmp_path) as store:
            store.put(("n",), "k", {})
            before = store._db.select("SELECT @@max_allowed_packet")[0][0]
            store._db.transact(
                lambda session: session.run(f"SET GLOBAL max_allowed_packet = {1 << 26}")
            )
        try:
            with self.open_store(tmp_path) as store:
                for size in (*range(230, 260), (1 << 16) - 9, (1 << 16) - 8, 1 << 16, 1 << 24):
                    value = {"x": "ä" + "y" * size}
                    for owner in (None, "ä" * (size % 300)):
                        written = store.put(("n",), "k", value, owner=owner or None)
                        assert store.get(("n",), "k") == written
                        assert written.value == value
                assert (written.owner, written.expires_at) == ("ä" * 16, None)
        finally:
            with self.open_store(tmp_path) as store:
                store._db.transact(
                    lambda session: session.run(f"SET GLOBAL max_allowed_packet = {before}")
                )

    def connections(self, store: SQLStore) -> int:
        sql = "SELECT count(*) FROM information_schema.processlist WHERE db = database()"
        return int(store._db.select(sql)[0][0])

    def test_a_page_takes_a_page_of_an_index(self, tmp_path: Path) -> None:
        clock = FakeClock()
        with self.open_store(tmp_path, indexes=[Index.of(("docs",), "n")], clock=clock) as store:
            store.write([Put(("docs",), f"{i:04}", {"n": i % 1500}) for i in range(3000)])
            store.write(
                [Put(("users", f"{i:02}"), f"{k:02}", {}) for i in range(50) for k in range(50)]
            )
            for order, ends in (("n", range(50)), ("-n", range(1499, 1449, -1))):
                query = Query(("docs",), exact=True, order=order, limit=10)
                found: list[int] = []
                before = self.rows_read(store)
                for _ in range(10):
                    page = store.find(query)
                    found += [record.value["n"] for record in page.records]
                    query = replace(query, cursor=page.cursor)
                assert found == [n for n in ends for _ in "ab"]
                assert self.rows_read(store) - before < 3000
            before = self.rows_read(store)
            assert len(store.namespaces(("users",))) == 50
            assert self.rows_read(store) - before < 1000

    def rows_read(self, store: SQLStore) -> int:
        """How many rows and entries of indexes the store's one connection has read so far."""
        found = store._db.select("SHOW SESSION STATUS LIKE 'Handler_read%%'")
        return sum(int(count) for _, count in found)

    def test_what_the_server_would_not_take_is_refused_alone(self, tmp_path: Path) -> None:
        """The server would drop the connection, and with it what others committed together."""
        with self.open_store(tmp_path) as store:
            limit = store._db.select("SELECT @@max_allowed_packet")[0][0]
            large = {"x": "y" * limit}
            first, second, third = store.write_many(
                [[Put(("n",), key, value)] for key, value in (("a", {}), ("b", large), ("c", {}))]
            )
            assert isinstance(second, StoreError)
            assert not isinstance(second, StoreUnavailable)
            assert "max_allowed_packet" in str(second)
            assert not isinstance(first, Exception)
            assert not isinstance(third, Exception)
            with pytest.raises(StoreError, match="max_allowed_packet"):
                store.put(("n",), "b", large)
            assert [record.key for record in store.records()] == ["a", "c"]


def test_a_database_with_a_long_name(mariadb: Server) -> None:
    """The lock under which tables are made is named like it, and a lock's name is limited."""
    url = sa.make_url(mariadb.create())
    long = url.set(database=f"lc_test_{'x' * 56}")
    with SQLStore(url) as store:
        store._db.select(f'CREATE DATABASE "{long.database}"')
    try:
        with Memory(long) as memory:
            assert memory.store_memory("a", {"v": 1}).version == 1
    finally:
        mariadb.drop(long.render_as_string(hide_password=False))


# -- servers that go away ----------------------------------------------------------------------


@pytest.fixture(scope="module", params=["postgres", "mariadb"])
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of this module's own, to stop and start."""
    with getattr(servers, request.param)() as server:
        yield server


def test_a_restart_is_survived(own_server: Server) -> None:
    with Memory(own_server.create(), timeout=5) as memory:
        memory.store_memory("a", {"v": 1})
        own_server.restart()
        assert memory.retrieve_memory("a") == {"v": 1}
        own_server.restart()
        assert memory.store_memory("a", {"v": 2}).version == 2


def test_a_server_that_is_down_is_an_error_in_time(own_server: Server) -> None:
    url = sa.make_url(own_server.create())
    memory = Memory(url, timeout=2)
    memory.store_memory("a", {"v": 1})
    own_server.stop()
    try:
        for use in (
            lambda: memory.retrieve_memory("a"),
            lambda: memory.store_memory("a", {}),
            lambda: Memory(url.set(password="secret-word"), timeout=2),
        ):
            with pytest.raises(StoreUnavailable) as error:
                use()
            assert "secret-word" not in str(error.value)
    finally:
        own_server.start()
    assert memory.retrieve_memory("a") == {"v": 1}
    memory.close()
