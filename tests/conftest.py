"""Fixtures for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Clear, Memory, open_store
from tests.databases import mariadb as mariadb
from tests.databases import mariadb_databases as mariadb_databases
from tests.databases import mongodb as mongodb
from tests.databases import mongodb_databases as mongodb_databases
from tests.databases import postgres as postgres
from tests.databases import postgres_databases as postgres_databases
from tests.servers import Server

FILES = ("json", "yaml", "csv", "pickle")
SERVERS = ("postgres", "mariadb", "mongodb")


@pytest.fixture(autouse=True)
def _no_surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test depends on the machine's own settings, or talks to a service outside."""
    for name in (
        "LC_MEMORY_URL",
        "LC_MEMORY_ENCRYPTION_KEY",
        "OPENAI_API_KEY",
        "OPENAI_BASE_URL",
        "OPENAI_MODEL",
    ):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANGSMITH_TRACING", "false")


@pytest.fixture(scope="session")
def own_database() -> Iterator[Any]:
    """A database of each server for the tests of adapters, made once and emptied for each."""
    urls: dict[Server, str] = {}

    def url(server: Server) -> str:
        if server not in urls:
            urls[server] = server.create()
        with open_store(urls[server]) as store:  # the library's own records too
            store.write([Clear(())])
        return urls[server]

    yield url
    for server, made in urls.items():
        if not server.ours:  # ours are gone with all they hold
            server.drop(made)


@pytest.fixture(params=["memory", "sqlite", *FILES, *SERVERS])
def memory_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each kind."""
    kind = request.param
    if kind == "memory":
        return "memory://"
    if kind in SERVERS:
        server: Server = request.getfixturevalue(kind)
        url: str = request.getfixturevalue("own_database")(server)
        return url
    return f"{kind}:///{tmp_path}/memory.{'db' if kind == 'sqlite' else kind}"


@pytest.fixture
def memory(memory_url: str) -> Iterator[Memory]:
    """A memory over each kind of store."""
    with Memory(memory_url) as opened:
        yield opened


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    report = yield
    if report.failed:
        for used in getattr(item, "funcargs", {}).values():
            if isinstance(used, Server):
                report.sections.append((f"the end of {used}'s log", used.tail()))
    return report
