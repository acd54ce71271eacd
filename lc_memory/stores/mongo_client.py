"""What is particular to MongoDB: the client, transactions, indexes and errors."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import sqlalchemy as sa
from bson.errors import BSONError
from pymongo import MongoClient, ReadPreference
from pymongo.client_session import ClientSession
from pymongo.collection import Collection
from pymongo.errors import (
    ConnectionFailure,
    DuplicateKeyError,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.read_concern import ReadConcern

from lc_memory import __version__
from lc_memory.errors import (
    CorruptStore,
    LCMemoryError,
    NewerFormat,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreUnavailable,
    UnknownStorage,
    Unsupported,
    newer,
)
from lc_memory.store import Index, closed
from lc_memory.stores.mongo_documents import CODEC, Document
from lc_memory.stores.mongo_filters import field_of

T = TypeVar("T")

Session = ClientSession

VERSION: Final = 1
DATABASE: Final = "lc_memory"

_NO_NAME: Final = re.compile(r'[/\\. "$*<>:|?\x00]')

#: How long a transaction is tried again while other writers are in the way, in seconds.
PATIENCE: Final = 60.0

#: Each is made when it is first of use: when a store is first opened, a log appended to, or
#: something given a time to expire.
_INDEXES: Final[dict[str, dict[str, Any]]] = {
    "by_time": {"keys": [("namespace", 1), ("updated_at", 1), ("_id", 1)]},
    "by_key": {"keys": [("namespace", 1), ("key", 1)]},
    "expiring": {"keys": [("expires_at", 1)], "sparse": True},
}

# The server's numbers for: not allowed, wrong user or password, write conflict, disk full.
_UNAUTHORIZED, _UNAUTHENTICATED, _WRITE_CONFLICT, _DISK_FULL = 13, 18, 112, 14031

#: What a write is told that met another one.
COLLISIONS: Final = (11000, _WRITE_CONFLICT)


class MongoConnection:
    """A client, and the collection of records in the URL's database.

    Writes wait for a majority and the journal, unless the URL says otherwise (``?w=1``).
    ``timeout`` (seconds) bounds the wait for a server to be there.
    """

    def __init__(self, url: sa.URL, timeout: float) -> None:
        self._timeout = timeout
        self._hosts = _hosts(url)
        self._open = True
        self._there: set[str] = set()  # the names of indexes
        name = url.database or DATABASE
        if _NO_NAME.search(name):
            raise UnknownStorage(f"MongoDB: {name!r} cannot be the name of a database")
        try:
            self._client: MongoClient[Document] = MongoClient(
                _uri(url, self._hosts), **_options(url, timeout * 1000)
            )
        except (PyMongoError, ValueError) as error:
            # What the driver says may quote the URL.
            raise UnknownStorage(
                f"MongoDB at {self._hosts}: the URL is not valid ({type(error).__name__}); "
                "see to its options, and that user and password are percent-encoded"
            ) from None
        self.database = self._client[name]
        self.records: Collection[Document] = self.database.get_collection(
            "lc_memory_records", CODEC, read_preference=ReadPreference.PRIMARY
        )
        try:
            with self.errors():
                hello = self._client.admin.command("hello")
        except BaseException:
            self.close()
            raise
        self.sharded = hello.get("msg") == "isdbgrid"
        #: Whether there are transactions.
        self.transactional = self.sharded or "setName" in hello

    def close(self) -> None:
        self._open = False
        self._client.close()

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """The driver's errors as ours."""
        if not self._open:
            raise closed("store")
        try:
            yield
        except PyMongoError as error:
            raise self._explained(error) from error
        except BSONError as error:
            raise CorruptStore(f"MongoDB: a document cannot be read: {error}") from error

    def transact(self, work: Callable[[Session], T]) -> T:
        """Do the work in a transaction: all of it, durably, or none. It may be done again."""
        deadline = time.monotonic() + PATIENCE
        attempt = 0
        with self._client.start_session() as session:
            while True:
                session.start_transaction(ReadConcern("snapshot"))
                try:
                    result = work(session)
                    _commit(session, deadline)
                    return result
                except BaseException as error:
                    if session.in_transaction:
                        with contextlib.suppress(PyMongoError):
                            session.abort_transaction()
                    if not _may_be_repeated(error, "TransientTransactionError", deadline):
                        raise
                attempt += 1
                pause(attempt)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[Session]:
        """A session whose reads all see one moment (MongoDB 5 or newer)."""
        with self.errors(), self._client.start_session(snapshot=True) as session:
            yield session

    def migrate(self) -> None:
        """Make what the records need, where it is not there. Raises NewerFormat."""
        schema = self.database["lc_memory_schema"]
        found = schema.find_one({"_id": "records"})
        if found is None:
            self.have("by_time")
            with contextlib.suppress(DuplicateKeyError):  # another opener was first
                schema.insert_one({"_id": "records", "version": VERSION, "library": __version__})
            found = schema.find_one({"_id": "records"})
        if found and found["version"] > VERSION:
            where = f"MongoDB at {self._hosts}: the database {self.database.name!r}"
            raise NewerFormat(newer(where, found.get("library"), found["version"], VERSION))

    def declare(self, indexes: Iterable[Index]) -> frozenset[str]:
        """Make an index of the database for each declared field, in all namespaces at once;
        returns the fields that have one. It is not a partial one: few servers of the protocol
        use those."""
        fields: dict[str, None] = {}
        for index in indexes:
            field = field_of(index.path)
            if field is None:
                raise Unsupported(f"MongoDB cannot index the field {'.'.join(index.path)!r}")
            fields[field] = None
        self._there = set(self.records.index_information())
        for field in fields:
            self._have(f"by_{field}", keys=[("namespace", 1), (field, 1)])
        told = (name.removeprefix("by_") for name in self._there)
        return frozenset(name for name in told if name.startswith("value."))

    def have(self, name: str) -> None:
        """Make this index of the records, where it was of no use before.

        All is right without it, and slower: so for a user who is not allowed to make one.
        """
        try:
            self._have(name, **_INDEXES[name])
        except OperationFailure as error:
            if error.code != _UNAUTHORIZED:
                raise
            self._there.add(name)  # not to be tried again

    def _have(self, name: str, **index: Any) -> None:
        if name not in self._there:
            self.records.create_index(**index, name=name)
            self._there.add(name)

    def _explained(self, error: PyMongoError) -> LCMemoryError:
        where = f"MongoDB at {self._hosts}"
        code = getattr(error, "code", None)
        if not self._open:
            return closed("store")
        if error.has_error_label("UnknownTransactionCommitResult"):
            return StoreUnavailable(
                f"{where}: lost while committing; read to see whether the write arrived"
            )
        if isinstance(error, ConnectionFailure):
            return StoreUnavailable(f"{where}: not there for {self._timeout:g} s: {_line(error)}")
        if error.has_error_label("TransientTransactionError") or code == _WRITE_CONFLICT:
            return StoreUnavailable(f"{where}: other writers were in the way")
        if code == _UNAUTHENTICATED:
            return StoreUnavailable(f"{where}: refused the user or the password")
        if code == _UNAUTHORIZED and "authentication" in str(error):
            return StoreUnavailable(f"{where}: wants a user and a password, in the URL")
        if code == _UNAUTHORIZED:
            return StoreReadOnly(f"{where}: the user may not do that: {_line(error)}")
        if code == _DISK_FULL:
            return StoreFull(f"{where}: the disk is full; nothing of this write was kept")
        return StoreError(f"{where}: {_line(error)}")


def is_collision(error: OperationFailure) -> bool:
    """Whether a write met another one, and is to be tried again."""
    return isinstance(error, DuplicateKeyError) or error.code in COLLISIONS


def pause(attempt: int) -> None:
    """Make room for the writer that was in the way: a random nap, longer each time."""
    time.sleep(random.uniform(0, 0.002 * 2 ** min(attempt, 7)))  # noqa: S311 - no secret


def _commit(session: Session, deadline: float) -> None:
    while True:  # a commit may be repeated: the server knows whether it was done
        try:
            return session.commit_transaction()
        except PyMongoError as error:
            if not _may_be_repeated(error, "UnknownTransactionCommitResult", deadline):
                raise


def _may_be_repeated(error: BaseException, label: str, deadline: float) -> bool:
    return (
        isinstance(error, PyMongoError)
        and error.has_error_label(label)
        and not isinstance(error, ServerSelectionTimeoutError)
        and time.monotonic() < deadline
    )


def _line(error: PyMongoError) -> str:
    """What the driver says, without the state of the cluster and the server's whole reply."""
    return re.split(", (?:Timeout|full error):", str(error))[0]


def _options(url: sa.URL, milliseconds: float) -> dict[str, Any]:
    """What the URL does not say itself."""
    given = {"journal" if name.lower() == "j" else name.lower() for name in url.query}
    options: dict[str, Any] = {
        "serverSelectionTimeoutMS": milliseconds,
        "connectTimeoutMS": milliseconds,
        "waitQueueTimeoutMS": milliseconds,
        "appname": "lc_memory",
        "w": "majority",
        "journal": True,
    }
    return {name: value for name, value in options.items() if name.lower() not in given}


def _hosts(url: sa.URL) -> str:
    host = url.host or "127.0.0.1"
    if ":" in host and "," not in host:
        host = f"[{host}]"
    return f"{host}:{url.port}" if url.port else host


def _uri(url: sa.URL, hosts: str) -> str:
    """The URL as the driver reads it."""
    user = ""
    if url.username is not None:
        user = quote(url.username, safe="")
        if url.password is not None:
            user += f":{quote(str(url.password), safe='')}"
        user += "@"
    query: Any = urlencode(url.query, doseq=True)
    database = quote(url.database or "", safe="")
    return f"{url.drivername}://{user}{hosts}/{database}{'?' * bool(query)}{query}"
