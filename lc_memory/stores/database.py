"""What the SQL store asks of a database. All that differs between databases is behind this."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

import sqlalchemy as sa

from lc_memory.errors import MissingExtra
from lc_memory.filters import Node
from lc_memory.records import Id, Namespace
from lc_memory.stores.names import write_namespace
from lc_memory.stores.sql_filters import Sql, joined

if TYPE_CHECKING:
    from lc_memory.store import Clock
    from lc_memory.stores.sql_guarded import Guarded
    from lc_memory.stores.sql_single import Singles

T = TypeVar("T")

#: What runs a statement with its parameters, and gives its rows.
Select: TypeAlias = Callable[[str, Sequence[Any]], list[Any]]


class Names(NamedTuple):
    """Which names of namespaces are asked for: from ``start`` on, up to ``end``, with a record
    that lives ``now`` (None: with any record)."""

    start: str
    inclusive: bool
    end: str | None
    now: int | None

    def condition(self) -> Sql:
        """That a record ``r`` counts, wherever it starts."""
        parts = [("1 = 1", list[Any]())]
        if self.end is not None:
            parts.append(("r.namespace < ?", [self.end]))
        if self.now is not None:
            parts.append(("(r.expires_at IS NULL OR r.expires_at > ?)", [self.now]))
        return joined(" AND ", parts)


class Upserting(NamedTuple):
    """How an INSERT goes on where the record is there already."""

    clause: str
    new: str  # what it calls a column of what it was to insert
    greatest: str = "greatest"
    told: str = "concat_ws(',', version, created_at, updated_at, owner)"


class Session(ABC):
    """A connection inside a transaction. Parameters are marked ``?`` in every database."""

    @abstractmethod
    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of one statement."""

    @abstractmethod
    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Run one statement."""

    @abstractmethod
    def run_many(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run a statement for each row of parameters."""


class Database(ABC):
    """Connections to one database, and its dialect."""

    #: What a SELECT adds so that nobody changes its rows before the transaction ends.
    locking = ""

    #: Whether an INSERT of what is there already fails by itself, with the error ``duplicate``,
    #: and leaves the transaction as it was.
    tells_duplicates = False
    duplicate: type[Exception] = Exception

    #: The columns of a record ``r``, in the order of a Row. Those after the value may be one text,
    #: which :func:`lc_memory.stores.sql_batch.state_in` reads.
    columns = ", ".join(
        ["r.namespace", 'r."key"', "r.value"]
        + [f"r.{f}" for f in ("version", "created_at", "updated_at", "expires_at", "owner")]
    )

    #: Whether it sorts all that a join finds before it gives the first of it.
    sorts_all = False

    #: A join that begins on its left side; only PostgreSQL has none, and needs none.
    then = "CROSS JOIN"

    #: How a list of pairs stands after IN.
    listed = "(VALUES {})"

    #: Whether each statement is a message to a server, for whose answer one waits.
    distant = False

    engine: sa.Engine

    @abstractmethod
    def select(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """The rows of one statement, read at one moment."""

    def select_again(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """:meth:`select`, for a statement that comes again and again and gives texts alone."""
        return self.select(sql, parameters)

    @abstractmethod
    def transact(self, work: Callable[[Session], T], *, alone: bool = False) -> T:
        """Do the work in one write transaction: all of it, durably, or none.

        The work may be done again after a collision with another writer. ``alone`` keeps every
        other writer out (to declare an index).
        """

    def in_time(self, namespace: Namespace) -> None:  # noqa: B027 - most have all that it takes
        """Somebody is about to ask for the records of a namespace by time: make what that takes,
        where it was of no use before."""

    def snapshot(self) -> AbstractContextManager[Session]:
        """A session to read in, all of it as of one moment."""
        raise NotImplementedError

    @abstractmethod
    def migrate(self) -> None:
        """Create or upgrade the tables, under a lock."""

    @abstractmethod
    def generation(self, session: Session) -> int:
        """A number that is another when another process may have declared an index."""

    @abstractmethod
    def condition(self, node: Node | None) -> Sql | None:
        """A condition on the record ``r`` that holds for every match, or None."""

    def singles(self, clock: Clock) -> Singles:
        """What writes single records faster than a transaction."""
        from lc_memory.stores.sql_single import Singles

        return Singles(self, clock)

    #: How an INSERT goes on where the record is there already. None if it could not give back what
    #: it then made of the row.
    upserting: Upserting | None = None

    #: How an INSERT of one new row goes on: with its columns but for the version, the last one, if
    #: the generation is what is bound, and a further condition holds.
    new_row = "SELECT {}, 1 FROM lc_memory_schema WHERE generation = ?{}"

    #: A parameter that is a whole number, where nothing else tells.
    number = "?"

    #: What a SELECT adds to wait for who is about to change its rows, and keep others from it.
    sharing = ""

    def run_alone(self, sql: str, parameters: Sequence[Any], count: int = 1) -> list[Any]:
        """Run one statement that commits by itself. Gives the rows that it returns, or an empty
        one, if it changed so many rows; else nothing, having changed none. Nothing, too, if another
        writer was in the way."""
        raise NotImplementedError

    def guarded(self, clock: Clock) -> Guarded | None:
        """What writes new records under conditions faster than a transaction, if something does."""
        return None

    #: What a SELECT in a condition adds so that its rows stay as they are until the commit.
    holding = ""

    def table_of(self, rows: Sequence[Sequence[Any]]) -> tuple[str, list[Any]]:
        """What is bound of new records as a table in a statement, and its parameters."""
        return _table(len(rows), len(rows[0])), [*chain.from_iterable(rows)]

    def names(self, select: Select, wanted: Names, limit: int) -> list[str]:
        """The first namespaces that hold such records, in order."""
        # Hop from one namespace to the next along the index, whatever each of them holds. Each
        # hop has one lower bound: of two, SQLite may take the wrong one and walk every record.
        condition, bounds = wanted.condition()
        following = f"SELECT min(r.namespace) FROM lc_memory_records AS r WHERE {condition}"
        first = ">= ?" if wanted.inclusive else "> ?"
        found = select(
            f"WITH RECURSIVE hop(name) AS ({following} AND r.namespace {first} UNION ALL "
            f"SELECT ({following} AND r.namespace > hop.name) FROM hop "
            "WHERE hop.name IS NOT NULL) "
            "SELECT name FROM hop WHERE name IS NOT NULL LIMIT ?",
            [*bounds, wanted.start, *bounds, limit],
        )
        return [name for (name,) in found]

    @abstractmethod
    def scrub(self) -> bool:
        """Rewrite the tables without what was deleted; see :meth:`Store.scrub`."""

    @abstractmethod
    def close(self) -> None:
        """Close every connection."""

    def among(self, ids: Sequence[Id]) -> tuple[str, str, list[Any]]:
        """The records of those ids: a source with the record as ``r``, a condition, parameters."""
        names = [name for id in ids for name in (write_namespace(id[0]), id[1])]
        if len(ids) == 1:
            return "lc_memory_records AS r", 'r.namespace = ? AND r."key" = ?', names
        marks = ", ".join(["(?, ?)"] * len(ids))
        return "lc_memory_records AS r", f'(r.namespace, r."key") IN ({marks})', names


@lru_cache(maxsize=64)
def _table(rows: int, columns: int) -> str:
    row = f"({', '.join('?' * columns)})"
    return f"(VALUES {', '.join([row] * rows)})"


def open_database(url: sa.URL, *, durability: str, timeout: float) -> Database:
    """The database that a URL names. Raises MissingExtra if its driver is not installed."""
    from lc_memory.stores.sqlite import SQLite

    match url.get_backend_name():
        case "sqlite":
            return SQLite(url, durability=durability, timeout=timeout)
        case "postgresql":
            try:
                from lc_memory.stores.postgres import PostgreSQL
            except ImportError as error:
                raise MissingExtra("PostgreSQL", "postgres") from error
            return PostgreSQL(url, durability=durability, timeout=timeout)
        case _:
            try:
                from lc_memory.stores.mysql import MySQL
            except ImportError as error:
                raise MissingExtra("MySQL", "mysql") from error
            return MySQL(url, durability=durability, timeout=timeout)


def check_durability(durability: str) -> str:
    if durability not in ("full", "normal"):
        raise ValueError(f"durability: 'full' or 'normal', not {durability!r}")
    return durability
