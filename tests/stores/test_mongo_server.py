"""MongoDB servers that go away, want a password or stand alone; and their URLs."""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from typing import Any

import pytest
from pymongo import MongoClient

from lc_memory import Index, Query, StoreUnavailable
from lc_memory.errors import StoreReadOnly, UnknownStorage, Unsupported
from lc_memory.log import Log
from lc_memory.records import Append, Clear, Delete, Put
from lc_memory.stores.mongo import MongoStore
from lc_memory.stores.mongo_client import _hosts, _options, _uri
from lc_memory.stores.urls import parse_url
from tests import servers
from tests.servers import MongoDB


@pytest.fixture(scope="module")
def own_server() -> Iterator[MongoDB]:
    """A server of this module's own, to stop and start."""
    with servers.mongodb(own=True) as server:
        yield server


def test_a_restart_is_survived(own_server: MongoDB) -> None:
    with MongoStore(own_server.create(), timeout=20) as store:
        log = Log(store, ("log",))
        store.put(("n",), "k", {"v": 1})
        own_server.restart()
        assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
        own_server.restart()
        assert store.put(("n",), "k", {"v": 2}).version == 2
        own_server.restart()
        log.append([{"i": 1}, {"i": 2}])
        assert [record.value["i"] for record in log.tail()] == [1, 2]


def test_a_server_that_is_down_is_an_error_in_time(own_server: MongoDB) -> None:
    url = own_server.create()
    secret = url.replace("//", "//ada:secret-word@")
    store = MongoStore(url, timeout=1)
    store.put(("n",), "k", {"v": 1})
    own_server.stop()
    try:
        for use in (
            lambda: store.get(("n",), "k"),
            lambda: store.find(Query(("n",))),
            lambda: store.put(("n",), "k", {}),
            lambda: store.write([Put(("n",), "k", {}), Put(("n",), "l", {})]),
            lambda: MongoStore(secret, timeout=1),
        ):
            started = time.monotonic()
            with pytest.raises(StoreUnavailable) as error:
                use()
            assert time.monotonic() - started < 5
            assert "secret-word" not in "".join(traceback.format_exception(error.value))
    finally:
        own_server.start()
    assert store.get(("n",), "k").value == {"v": 1}  # type: ignore[union-attr]
    store.close()


def test_a_server_alone_does_nothing_by_half() -> None:
    with servers.mongodb(own=True, standalone=True) as server, MongoStore(server.create()) as store:
        assert not store.capabilities.atomic
        first = store.put(("n",), "k", {"v": 1})
        for batch in (
            [Put(("n",), "a", {}), Put(("n",), "b", {})],
            [Append(("n",), {}), Append(("n",), {})],
            [Delete(("n",), "k"), Put(("m",), "k", {})],
            [Clear(("n",)), Put(("n",), "k", {})],
        ):
            with pytest.raises(Unsupported, match="replSet"):
                store.write(batch)
        assert list(store.records()) == [first]
        results = store.write(
            [Put(("n",), "k", {"v": 2}), Delete(("n",), "k"), Put(("n",), "k", {})]
        )
        assert [record and record.version for record in results] == [2, 2, 1]
        assert Log(store, ("log",)).append([{}])[0].key == f"{0:016d}"
        assert store.write([Clear(("n",))]) == [None]
        assert store.namespaces() == [("log",)]


def test_a_wrong_password_is_an_error_that_does_not_tell_it() -> None:
    with servers.mongodb(own=True) as server:
        url = server.create()
        name = url.rpartition("/")[2]
        with MongoClient[dict[str, Any]](url) as client:
            client[name].command("createUser", "ada", pwd="right-word", roles=["readWrite"])
            client[name].command("createUser", "bob", pwd="right-word", roles=["read"])
            rights = ["find", "insert", "update", "remove", "listIndexes"]
            place = {"db": name, "collection": ""}
            may = [{"resource": place, "actions": rights}]
            client[name].command("createRole", "worker", privileges=may, roles=[])
            client[name].command("createUser", "eve", pwd="right-word", roles=["worker"])
        server.stop()
        server.options["auth"] = True
        server.ping = lambda: None  # type: ignore[method-assign]
        server.start()

        def as_user(user: str) -> MongoStore:
            return MongoStore(url.replace("//", f"//{user}@"), timeout=20)

        with as_user("ada:right-word") as store:
            store.put(("n",), "k", {"v": 1})
        with as_user("bob:right-word") as store:
            assert store.count() == 1
            with pytest.raises(StoreReadOnly):
                store.put(("n",), "k", {})
        with as_user("eve:right-word") as store:  # may not make indexes
            for n in range(3):
                Log(store, ("log",)).append([{"n": n}, {}])
            store.put(("n",), "k", {}, expires_at=store.now())
            assert store.count(Query(("log",))) == 6
            assert set(store._records.index_information()) == {"_id_", "by_time"}
            with pytest.raises(StoreReadOnly):
                store.declare([Index(("n",), ("a",))])
        wrong = "ada:wrong-word"
        with pytest.raises(StoreUnavailable, match="refused") as error:
            as_user(wrong)
        assert "wrong-word" not in "".join(traceback.format_exception(error.value))
        with pytest.raises(StoreUnavailable, match="wants a user"):
            MongoStore(url)


# -- URLs --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("mongodb://h1:1,h2:2/db?replicaSet=rs", "mongodb://h1:1,h2:2/db?replicaSet=rs"),
        ("mongodb://a%40b:p%3A%2F@h1,h2:2/db", "mongodb://a%40b:p%3A%2F@h1,h2:2/db"),
        ("mongodb+srv://u:p@h.example.org/db", "mongodb+srv://u:p@h.example.org/db"),
        ("mongodb://[::1]:3/", "mongodb://[::1]:3/"),
        ("mongodb:///db", "mongodb://127.0.0.1/db"),
    ],
)
def test_a_url_reaches_the_driver_whole(url: str, uri: str) -> None:
    parsed = parse_url(url)
    assert _uri(parsed, _hosts(parsed)) == uri


@pytest.mark.parametrize(
    "url",
    [
        "mongodb://u:secret-word@h:port/db",
        "mongodb://u:secret-word@h:1,h:x/db",
        "mongodb://u:secret-word@h/db?w=0&journal=true",
        "mongodb://u:secret-word@h/a.b",
    ],
)
def test_a_url_that_is_wrong_keeps_its_secret(url: str) -> None:
    with pytest.raises(UnknownStorage) as error:
        MongoStore(url, timeout=0.1)
    assert "secret-word" not in "".join(traceback.format_exception(error.value))


def test_the_url_decides_about_durability() -> None:
    assert (
        _options(parse_url("mongodb://h/?W=1&j=false"), 1000.0).keys().isdisjoint({"w", "journal"})
    )
    options = _options(parse_url("mongodb://h/"), 1000.0)
    assert (options["w"], options["journal"]) == ("majority", True)
