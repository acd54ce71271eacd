"""Which store a URL or a storage type means. A backend is one row, loaded when asked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

import sqlalchemy as sa

from lc_memory.errors import MissingExtra, UnknownStorage
from lc_memory.store import Capabilities, Store
from lc_memory.stores.urls import parse_url

#: Where ``storage_type="database"`` looks for its URL, and what it takes without one.
URL_VARIABLE: Final = "LC_MEMORY_URL"
DEFAULT_FILE: Final = "agent_memory.db"
DEFAULT_URL: Final = f"sqlite:///{DEFAULT_FILE}"


@dataclass(frozen=True, slots=True)
class Backend:
    """``target`` is ``"module:class"``; ``needs`` are the modules of its extra; ``file`` is what
    the storage type opens if no path is given."""

    target: str
    extra: str | None = None
    needs: tuple[str, ...] = ()
    file: str = DEFAULT_FILE


_BACKENDS: Final[dict[str, Backend]] = {
    "memory": Backend("lc_memory.stores.memory:MemoryStore"),
    "sqlite": Backend("lc_memory.stores.sql:SQLStore"),
    "postgresql": Backend("lc_memory.stores.sql:SQLStore", "postgres", ("psycopg",)),
    "mysql": Backend("lc_memory.stores.sql:SQLStore", "mysql", ("pymysql",)),
    "mariadb": Backend("lc_memory.stores.sql:SQLStore", "mysql", ("pymysql",)),
    "mongodb": Backend("lc_memory.stores.mongo:MongoStore", "mongodb", ("pymongo",), "lc_memory"),
    **{
        name: Backend("lc_memory.stores.files:FileStore", file=f"agent_memory.{name}")
        for name in ("json", "yaml", "csv", "pickle")
    },
}

#: Other names of storage types.
_ALIASES: Final = {"inmemory": "memory"}


def register(scheme: str, target: str, extra: str | None = None) -> None:
    """Make ``Memory("scheme://…")`` open the class ``target`` (``"package.module:Class"``).

    A package can do the same without code, with an entry point in the group
    ``lc_memory.stores``, named like the scheme.
    """
    _BACKENDS[scheme] = Backend(target, extra)


def known() -> list[str]:
    """The storage types that there are, ``"database"`` included."""
    return sorted({"database", *_BACKENDS, *(entry.name for entry in _entries())})


def open_store(url: str | sa.URL, **options: Any) -> Store:
    """Open the store that a URL names; the options are the store's own.

    Raises UnknownStorage for a URL of no known store, MissingExtra if its driver is not
    installed, and what the store raises if it cannot be opened.
    """
    parsed = parse_url(url)
    factory = _factory(parsed.get_backend_name())
    capabilities = getattr(factory, "capabilities", None)
    if isinstance(capabilities, Capabilities) and not capabilities.indexes:
        options.pop("indexes", None)  # it holds everything in memory, and needs none
    if parsed.drivername == "memory":
        return factory(**options)
    return factory(parsed, **options)


def check_url(url: str | sa.URL) -> None:
    """Raise what :func:`open_store` would for a URL of no known store, or without its driver."""
    _factory(parse_url(url).get_backend_name())


def url_of(
    storage_type: str = "database",
    *,
    db_path: str | os.PathLike[str] | None = None,
    url: str | None = None,
) -> sa.URL:
    """The URL for a storage type, in capitals or not: ``url`` itself, or a file's ``db_path``.

    ``"database"`` takes its URL from the environment variable ``LC_MEMORY_URL``, else the local
    SQLite file ``agent_memory.db``. Raises UnknownStorage, listing the known types.
    """
    name = storage_type.casefold() if isinstance(storage_type, str) else ""
    name = _ALIASES.get(name, name)
    if name not in known():
        raise UnknownStorage(
            f"unknown storage type {storage_type!r}; known are {', '.join(known())}"
        )
    if url is not None:
        return parse_url(url)
    if name == "database":
        if db_path is None:
            return parse_url(os.environ.get(URL_VARIABLE) or DEFAULT_URL)
        name = "sqlite"
    if name == "memory":
        return sa.URL.create("memory")
    default = _BACKENDS[name].file if name in _BACKENDS else DEFAULT_FILE
    return sa.URL.create(name, database=str(Path(db_path or default)))


def _factory(scheme: str) -> Callable[..., Store]:
    backend = _BACKENDS.get(scheme)
    if backend is None:
        for entry in _entries():
            if entry.name == scheme:
                loaded: Callable[..., Store] = entry.load()
                return loaded
        raise UnknownStorage(f"unknown store {scheme!r}; known are {', '.join(known())}")
    module, _, name = backend.target.partition(":")
    try:
        for needed in backend.needs:
            import_module(needed)
    except ImportError as error:
        raise MissingExtra(f"The store {scheme!r}", backend.extra or scheme) from error
    factory: Callable[..., Store] = getattr(import_module(module), name)
    return factory


def _entries() -> Any:
    return entry_points(group="lc_memory.stores")
