"""Where a contender keeps its things: a file in its folder, or a database of a server.

The servers are those of the tests (:mod:`tests.servers`), started once and syncing every commit
to the disk. Child processes find theirs by its URL in the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers import MariaDB, MongoDB, Postgres, Server

_SERVERS: dict[str, type[Server]] = {"postgresql": Postgres, "mariadb": MariaDB, "mongodb": MongoDB}


@contextmanager
def running(backend: str) -> Iterator[None]:
    """Have the server of a backend run, if it has one."""
    if backend not in _SERVERS:
        yield
        return
    with _SERVERS[backend](durable=True) as server:
        before = os.environ.get(server.variable)
        os.environ[server.variable] = server.url
        try:
            yield
        finally:
            if before is None:
                del os.environ[server.variable]


def url_in(folder: Path, place: str) -> str:
    """The URL for a folder: ``place`` with the folder filled in, or a database of that server,
    which is new for a new folder and the same for a copy of it."""
    if place not in _SERVERS:
        return place.format(folder=folder)
    note = folder / "database"
    if not note.exists():
        with _SERVERS[place]() as server:
            note.write_text(server.create())
    return note.read_text()
