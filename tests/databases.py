"""Database servers, one of each kind for the whole session and started when first asked for.

``postgres_databases(folder)`` gives the URL of a fresh database, the same for the same folder;
they are dropped after the test. A test that fails shows the end of its servers' logs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

from tests import servers
from tests.servers import MariaDB, MongoDB, Postgres, Server


class Databases:
    """A database for each folder: ``databases(folder)`` is the same URL for the same folder."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._urls: dict[Path, str] = {}

    def __call__(self, folder: Path) -> str:
        if folder not in self._urls:
            self._drop(path for path in list(self._urls) if not path.exists())
            self._urls[folder] = self.server.create()
        return self._urls[folder]

    def drop_all(self) -> None:
        self._drop(list(self._urls))

    def _drop(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            self.server.drop(self._urls.pop(folder))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with servers.postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    with servers.mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def mongodb() -> Iterator[MongoDB]:
    with servers.mongodb() as server:
        yield server


@pytest.fixture
def postgres_databases(postgres: Postgres) -> Iterator[Databases]:
    yield from _databases(postgres)


@pytest.fixture
def mariadb_databases(mariadb: MariaDB) -> Iterator[Databases]:
    yield from _databases(mariadb)


@pytest.fixture
def mongodb_databases(mongodb: MongoDB) -> Iterator[Databases]:
    yield from _databases(mongodb)


def _databases(server: Server) -> Iterator[Databases]:
    databases = Databases(server)
    yield databases
    databases.drop_all()
