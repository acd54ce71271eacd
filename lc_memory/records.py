"""What goes through the waist: records, operations, queries and pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from lc_memory import values
from lc_memory.errors import InvalidKey, InvalidQuery
from lc_memory.filters import Node, parse

if TYPE_CHECKING:
    from lc_memory.rows import Row

_ESCAPED: Final = re.compile("[\x01-\n]")

Namespace: TypeAlias = tuple[str, ...]
Id: TypeAlias = tuple[Namespace, str]
Value: TypeAlias = dict[str, Any]

#: The longest key, and the longest namespace (all labels together), in bytes of UTF-8. The two
#: fit together into one index entry of every database (MySQL's limit of 3072 is the smallest).
MAX_NAME_BYTES: Final = 1024

#: The largest limit and offset: more than any store holds, and what every database can bind.
MOST: Final = 2**53


#: A value is long from so many characters of JSON on: to decode them takes about 10 µs.
_LONG: Final = 4_000


class _Told:
    __slots__ = ("_row",)
    _row: Row


@dataclass(frozen=True, slots=True, init=False)
class Record(_Told):
    """One stored document.

    ``value`` is a JSON object (bytes and time-zone-aware datetimes may stand in it); it belongs
    to the caller. Times are UTC with microseconds. ``version`` counts the writes since the record
    was created, from 1. ``owner`` is the user it belongs to, where one is known.
    """

    namespace: Namespace
    key: str
    value: Value
    version: int
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    owner: str | None = None

    # The one that a frozen dataclass gets takes more than twice as long.
    def __init__(
        self,
        namespace: Namespace,
        key: str,
        value: Value,
        version: int,
        created_at: datetime,
        updated_at: datetime,
        expires_at: datetime | None = None,
        owner: str | None = None,
    ) -> None:
        _set_namespace(self, namespace)
        _set_key(self, key)
        _set_value(self, value)
        _set_version(self, version)
        _set_created_at(self, created_at)
        _set_updated_at(self, updated_at)
        _set_expires_at(self, expires_at)
        _set_owner(self, owner)

    @classmethod
    def told_by(cls, row: Row, value: Value | None = None) -> Record:
        """The record in a row, with this value if it was decoded already. The rest is read from
        the row when it is first asked for: most of it never is."""
        record = _new(cls)
        _set_row(record, row)
        if value is not None:
            _set_value(record, value)
        return record

    if not TYPE_CHECKING:  # which would take it for a promise of any attribute

        def __getattr__(self, name: str) -> Any:
            if name == "value":
                _set_value(self, self._row.value())
                return self.value
            if name not in _FIELDS:
                raise AttributeError(f"a Record has no {name!r}")
            row, moment = self._row, values.from_micros
            _set_namespace(self, row.namespace)
            _set_key(self, row.key)
            if name in ("namespace", "key"):
                return getattr(self, name)
            _set_version(self, row.version)
            created = moment(row.created)
            _set_created_at(self, created)
            _set_updated_at(self, created if row.updated == row.created else moment(row.updated))
            _set_expires_at(self, None if row.expires is None else moment(row.expires))
            _set_owner(self, row.owner)
            return getattr(self, name)

    def decode_long(self) -> None:
        """Decode the value now, unless that takes no time: later a loop might wait for it."""
        row = getattr(self, "_row", None)
        if row is not None and len(row.text) > _LONG:
            self.value  # noqa: B018 - it is the access that decodes

    @property
    def id(self) -> Id:
        return self.namespace, self.key

    @property
    def stamp(self) -> tuple[int, int]:
        """Its version, and when it was created: what tells it from what is there later."""
        row = getattr(self, "_row", None)
        if row is not None:
            return row.version, row.created
        return self.version, values.micros(self.created_at)

    @property
    def state(self) -> State:
        expires = None if self.expires_at is None else values.micros(self.expires_at)
        return State(self.version, values.micros(self.updated_at), expires)

    def lives_at(self, now: datetime) -> bool:
        """Whether the record has not expired at that time."""
        return self.expires_at is None or self.expires_at > now


(
    _set_namespace,
    _set_key,
    _set_value,
    _set_version,
    _set_created_at,
    _set_updated_at,
    _set_expires_at,
    _set_owner,
) = (getattr(Record, field.name).__set__ for field in fields(Record))
_FIELDS: Final = tuple(field.name for field in fields(Record))
_set_row = _Told.__dict__["_row"].__set__
_new = object.__new__


class State(NamedTuple):
    """Which state a record is in. Times are microseconds since 1970."""

    version: int
    updated: int
    expires: int | None


class Absent:
    """The type of :data:`ABSENT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ABSENT"


#: As ``replacing=``: the write holds only if there is no such record yet.
ABSENT: Final = Absent()

Seen: TypeAlias = Record | Absent


class Present:
    """The type of :data:`PRESENT`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "PRESENT"


#: In an :class:`Expect`: the record must be there, whatever its version.
PRESENT: Final = Present()

#: How a layer has the last word on what is stored: called with the row as it is about to be
#: stored (version and times known, the value as plain JSON text) and, for a Touch, the row that
#: is stored, it gives the text to store instead. It may be called more than once.
Seal: TypeAlias = "Callable[[Row, Row | None], str]"


class Put(NamedTuple):
    """Create or replace a record.

    ``replacing`` makes it conditional: a record that you have read (it must still be the present
    one: same version, same creation), or :data:`ABSENT` (there must be none). If it does not
    hold, the whole batch is refused with :class:`Conflict`. ``owner=None`` keeps the owner.
    ``seal`` is for layers.
    """

    namespace: Namespace
    key: str
    value: Mapping[str, Any]
    expires_at: datetime | None = None
    replacing: Seen | None = None
    owner: str | None = None
    seal: Seal | None = None


class Append(NamedTuple):
    """Create a record under the next key of its namespace (see :mod:`lc_memory.log`)."""

    namespace: Namespace
    value: Mapping[str, Any]
    expires_at: datetime | None = None
    owner: str | None = None
    seal: Seal | None = None


class Delete(NamedTuple):
    """Delete a record; deleting what is not there is no error. Gives back what it deleted."""

    namespace: Namespace
    key: str
    replacing: Seen | None = None


class Touch(NamedTuple):
    """Change when a record expires, and nothing else; gives None where there is none."""

    namespace: Namespace
    key: str
    expires_at: datetime | None
    seal: Seal | None = None


class Expect(NamedTuple):
    """Change nothing, but refuse the batch with Conflict unless the record is as seen (or, with
    :data:`PRESENT`, is there). It stays so until the batch is committed. Gives None."""

    namespace: Namespace
    key: str
    seen: Record | Present = PRESENT


class Clear(NamedTuple):
    """Delete everything whose namespace begins with these labels, in the store itself."""

    prefix: Namespace

    @property
    def namespace(self) -> Namespace:
        """What it changes something under."""
        return self.prefix


class Restore(NamedTuple):
    """Write a record verbatim, versions and times included: for backup and migration only.

    ``replacing`` makes it conditional, as for :class:`Put`; the expiry must be the same too.
    """

    record: Record
    replacing: Seen | None = None
    seal: Seal | None = None

    @property
    def namespace(self) -> Namespace:
        return self.record.namespace


Op: TypeAlias = Put | Append | Delete | Touch | Expect | Clear | Restore


@dataclass(frozen=True, slots=True)
class Limits:
    """What a query may see: what lies under one of the prefixes, and single records.

    A store looks nowhere else: the limits are part of its own query.
    """

    prefixes: tuple[Namespace, ...] = ()
    ids: tuple[Id, ...] = ()

    def allow(self, id: Id) -> bool:
        namespace = id[0]
        return id in self.ids or any(namespace[: len(p)] == p for p in self.prefixes)

    def both(self, other: Limits) -> Limits:
        """What is within these limits and the others."""
        pairs = [(a, b) for a in self.prefixes for b in other.prefixes]
        pairs += [(b, a) for a, b in pairs]
        prefixes = {long for long, short in pairs if long[: len(short)] == short}
        ids = {id for id in self.ids if other.allow(id)}
        ids |= {id for id in other.ids if self.allow(id)}
        return Limits(tuple(sorted(prefixes)), tuple(sorted(ids)))


@dataclass(frozen=True, slots=True)
class Order:
    """How a query's records are sorted: by ``key`` (the namespace, then the key),
    ``created_at`` or ``updated_at`` of the record, or by a field of its value (``path``)."""

    attribute: str | None
    path: tuple[str, ...] = ()
    descending: bool = False

    @classmethod
    def parse(cls, text: str) -> Order:
        """Read ``"timestamp"``, ``"-profile.age"`` (descending) or ``"@updated_at"``.

        A name is a path into the value, as in filters; with ``@`` it is the record's own
        ``@key``, ``@created_at`` or ``@updated_at``.
        """
        descending, name = text.startswith("-"), text.removeprefix("-")
        if not name.startswith("@"):
            if not name:
                raise InvalidQuery("order: empty; give a field such as 'timestamp'")
            return cls(None, tuple(name.split(".")), descending)
        if name[1:] not in ("key", "created_at", "updated_at"):
            raise InvalidQuery(f"order {text!r}: use @key, @created_at, @updated_at or a field")
        return cls(name[1:], (), descending)

    def __str__(self) -> str:
        name = f"@{self.attribute}" if self.attribute else ".".join(self.path)
        return f"-{name}" if self.descending else name


BY_KEY: Final = Order("key")
NEWEST: Final = Order("updated_at", descending=True)


@dataclass(frozen=True, slots=True)
class Query:
    """What :meth:`Store.find` looks for.

    ``prefix`` matches whole labels: ``("acme",)`` never matches ``("acme-corp",)``; with
    ``exact`` it is the whole namespace. ``filter``
    is a filter in MongoDB's language (:mod:`lc_memory.filters`) or a parsed one. ``limit`` and
    ``offset`` count records; ``cursor`` is the one a page gave, with the same query otherwise.
    """

    prefix: Namespace = ()
    filter: Node | Mapping[str, Any] | None = None
    order: Order | str = BY_KEY
    limit: int | None = None
    offset: int = 0
    cursor: str | None = None
    exact: bool = False  # the prefix is the whole namespace
    expired: bool = False  # also the records that have expired but were not swept yet
    within: Limits | None = None  # look at nothing else
    node: Node | None = field(init=False, repr=False, compare=False, default=None)
    sort: Order = field(init=False, repr=False, compare=False, default=BY_KEY)

    def __post_init__(self) -> None:
        check_namespace(self.prefix)
        for name, number in (("limit", self.limit), ("offset", self.offset)):
            if number is not None and (type(number) is not int or not 0 <= number <= MOST):
                raise InvalidQuery(f"{name}: {number!r} is not a whole number from 0 to {MOST}")
        order = Order.parse(self.order) if isinstance(self.order, str) else self.order
        if not isinstance(order, Order):
            raise InvalidQuery(f"order: {order!r} is neither a string nor an Order")
        object.__setattr__(self, "sort", order)
        if self.filter:
            object.__setattr__(self, "node", parse(self.filter))

    def sees(self, id: Id) -> bool:
        """Whether the record of that id is looked at at all."""
        namespace = id[0]
        covered = namespace if self.exact else namespace[: len(self.prefix)]
        return covered == self.prefix and (self.within is None or self.within.allow(id))


class Page:
    """Some records, and the cursor of the next page (None: there is none), which may be made
    when it is first asked for."""

    __slots__ = ("_cursor", "records")

    def __init__(
        self, records: list[Record], cursor: str | Callable[[], str] | None = None
    ) -> None:
        self.records = records
        self._cursor = cursor

    @property
    def cursor(self) -> str | None:
        if callable(self._cursor):
            self._cursor = self._cursor()
        return self._cursor

    def having(self, records: list[Record]) -> Page:
        """These records, and the same cursor."""
        return Page(records, self._cursor)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Page):
            return NotImplemented
        return (self.records, self.cursor) == (other.records, other.cursor)

    __hash__ = None  # type: ignore[assignment]  # a list has none

    def __repr__(self) -> str:
        return f"Page({self.records!r}, {self.cursor!r})"


def check_name(text: object, what: str = "key") -> str:
    """Return the text if every store can keep it as (part of) a name, else raise InvalidKey."""
    if type(text) is not str:
        raise InvalidKey(f"{what}: {text!r} is not a string")
    if len(text) * 3 > MAX_NAME_BYTES or not text.isascii():
        try:
            size = len(text.encode())
        except UnicodeEncodeError:
            raise InvalidKey(
                f"{what}: {text[:40]!r} holds half of a surrogate pair, which is not text"
            ) from None
        if size > MAX_NAME_BYTES:
            raise InvalidKey(
                f"{what}: {text[:40]!r}… has {size} bytes, more than {MAX_NAME_BYTES}; "
                "keep long text in the value, or use a digest of it here"
            )
    if "\0" in text:
        raise InvalidKey(f"{what}: {text[:40]!r} holds a NUL character")
    return text


def check_namespace(namespace: object) -> Namespace:
    """Return the namespace if every store can keep it, else raise InvalidKey."""
    if type(namespace) is not tuple:
        raise InvalidKey(f"namespace: {namespace!r} is not a tuple of strings")
    for label in namespace:
        if type(label) is not str:
            raise InvalidKey(f"namespace: {label!r} is not a string")
    return _check_labels(namespace)


@lru_cache(maxsize=4096)
def _check_labels(namespace: Namespace) -> Namespace:
    whole = "".join(namespace)
    if whole.isascii() and whole.isprintable() and len(whole) + len(namespace) <= MAX_NAME_BYTES:
        return namespace
    # As stores write it: each label has an end mark, and rare control characters an escape.
    total = sum(
        len(check_name(label, "namespace").encode()) + len(_ESCAPED.findall(label)) + 1
        for label in namespace
    )
    if total > MAX_NAME_BYTES:
        raise InvalidKey(f"namespace: {total} bytes in all, more than {MAX_NAME_BYTES}")
    return namespace


def check_id(id: Id) -> Id:
    """Return the id if every store can keep it, else raise InvalidKey."""
    namespace, key = id
    return check_namespace(namespace), check_name(key)


def check_time(when: object, what: str = "expires_at") -> datetime | None:
    """Return the time in UTC, or None for None; raise InvalidQuery if it has no time zone, or UTC
    no such year."""
    if when is None:
        return None
    if not isinstance(when, datetime) or when.utcoffset() is None:
        raise InvalidQuery(f"{what}: {when!r} is not a datetime with a time zone")
    try:
        return when.astimezone(UTC)
    except OverflowError:
        raise InvalidQuery(f"{what}: {when} is outside the years 1 to 9999 of UTC") from None


def in_scope(namespace: Namespace) -> tuple[Namespace, Namespace]:
    """A namespace in two: the scope, which is a user's (``("users", id)``) or ``()``, and what
    is below it."""
    at = 2 if namespace[:1] == ("users",) else 0
    return namespace[:at], namespace[at:]
