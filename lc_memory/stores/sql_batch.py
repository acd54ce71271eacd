"""One batch of writes inside a transaction: load what it touches, settle it, write the outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, TypeAlias, TypeVar

from lc_memory.errors import CorruptStore
from lc_memory.records import (
    ABSENT,
    Clear,
    Delete,
    Expect,
    Id,
    Limits,
    Namespace,
    Put,
    Record,
    State,
    Touch,
)
from lc_memory.rows import Row, Step, next_key, settle
from lc_memory.store import Index
from lc_memory.stores.database import Database, Session
from lc_memory.stores.names import namespace_range, read_namespace, write_namespace
from lc_memory.stores.sql_filters import index_keys

_FIELDS: Final = ("version", "created_at", "updated_at", "expires_at", "owner")

#: The columns of a record ``r``, in the order of a Row.
COLUMNS: Final = Database.columns

_NAMES: Final = 'r.namespace, r."key", '
_NAME_AND_STATE: Final = 'r.namespace, r."key", r.version, r.updated_at, r.expires_at'

_INSERT: Final = (
    f'INSERT INTO lc_memory_records (namespace, "key", value, {", ".join(_FIELDS)}) '
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
_UPDATE: Final = (
    f"UPDATE lc_memory_records SET value = ?, {', '.join(f'{f} = ?' for f in _FIELDS)} "
    'WHERE namespace = ? AND "key" = ?'
)
_DELETE: Final = 'DELETE FROM lc_memory_records WHERE namespace = ? AND "key" = ?'
_DELETE_ENTRIES: Final = (
    "DELETE FROM lc_memory_fields WHERE record_id = "
    '(SELECT id FROM lc_memory_records WHERE namespace = ? AND "key" = ?)'
)
_INSERT_ENTRY: Final = (
    "INSERT INTO lc_memory_fields (index_id, namespace, sort_key, record_id) "
    'SELECT ?, namespace, ?, id FROM lc_memory_records WHERE namespace = ? AND "key" = ?'
)
_DELETE_ENTRIES_OF: Final = "DELETE FROM lc_memory_fields WHERE record_id IN ({})"
_INSERT_ENTRY_OF: Final = (
    "INSERT INTO lc_memory_fields (index_id, sort_key, namespace, record_id) VALUES (?, ?, ?, ?)"
)
#: A record as the tables name it, and what an index holds of one: the index's number, and a key.
_Name: TypeAlias = tuple[str, str]
Entry: TypeAlias = tuple[int, bytes]
T = TypeVar("T")

_CHUNK: Final = 400  # ids a statement

#: How the index of words (:mod:`sql_words`) stands among the declared ones. Its number goes up
#: with every change of what is a word.
WORDS: Final = Index(("lc_memory",), ("@words", "1"))

#: Under this name it stands there how far a reindexing has come.
REINDEXING: Final = write_namespace(("lc_memory", "@reindexing"))


class NotNew(Exception):
    """A record that was taken to be new is there already."""


class Batch:
    """What a transaction has read, and what it is about to write."""

    def __init__(
        self, database: Database, session: Session, indexes: Callable[[], dict[Index, int]]
    ) -> None:
        self._database = database
        self._session = session
        self._indexes = indexes  # asked for when rows are written, and not before
        self._rows: dict[Id, Row] = {}
        self._stored: set[Id] = set()  # what the table holds now
        self._changed: dict[Id, Row | None] = {}
        self._last: dict[Namespace, str | None] = {}

    def carry_out(
        self, steps: Sequence[Step], tick: int, now: int, *, new: bool = False
    ) -> list[Record | None]:
        """Carry out the steps in order, and write what becomes of the rows. With ``new``, records
        may be taken to be new: raises NotNew if one is not, and the transaction is to be undone."""
        if new and self._database.tells_duplicates and all_creating(steps):
            try:
                return self._all_new(steps, tick, now)
            except NotNew:
                if len(steps) > 1:
                    raise  # some may have been inserted
        ids = sorted({step.id for step in steps if step.key is not None})
        if ids:
            # Only what gives a record back needs its value.
            whole = any(isinstance(step.op, (Delete, Touch)) for step in steps)
            self._rows = load(self._session.select, self._database, ids, whole, lock=True)
            self._stored = set(self._rows)
        results = [self._step(step, tick + i, now) for i, step in enumerate(steps)]
        self._flush()
        return results

    def _all_new(self, steps: Sequence[Step], tick: int, now: int) -> list[Record | None]:
        """Carry out Puts as if none of them were there yet. Raises NotNew if one is."""
        expected = sorted({step.id for step in steps if type(step.op) is Expect})
        held = load(self._session.select, self._database, expected, False) if expected else {}
        rows: list[Row] = []
        results: list[Record | None] = []
        for at, step in enumerate(steps):
            row, record = settle(step, held.get(step.id) if held else None, tick + at, now)
            results.append(record)
            if row is not None and record is not None:
                rows.append(row)
        try:
            self._run(_INSERT, _as_stored(rows))
        except self._database.duplicate as error:
            raise NotNew from error
        self._index(rows)
        return results

    def _step(self, step: Step, tick: int, now: int) -> Record | None:
        if isinstance(step.op, Clear):
            self._clear(step.namespace)
            return None
        if step.key is None:
            key = self._next_key(step.namespace)
            step = Step(step.op, step.namespace, key, step.text, step.expires)
        else:
            self._last.pop(step.namespace, None)
        held = self._rows.get(step.id)
        row, result = settle(step, held, tick, now)
        if row is held:
            return result
        if row is None:
            self._rows.pop(step.id, None)
        else:
            self._rows[step.id] = row
        self._changed[step.id] = row
        return result

    def _flush(self) -> None:
        stored, changed = self._stored, self._changed
        gone = [name_of(id) for id, row in changed.items() if row is None and id in stored]
        kept = [row for row in changed.values() if row is not None]
        new = _as_stored([row for row in kept if row[:2] not in stored])
        old = [(*row[2:], write_namespace(row[0]), row[1]) for row in kept if row[:2] in stored]
        for sql, rows in ((_DELETE, gone), (_INSERT, new), (_UPDATE, old)):
            self._run(sql, rows)
        self._index(kept)
        stored.update(row[:2] for row in kept)
        stored.difference_update(id for id, row in changed.items() if row is None)
        changed.clear()

    def _index(self, rows: Sequence[Row]) -> None:
        if not rows:
            return
        indexes = self._indexes()
        if not indexes:
            return
        covered = [row for row in rows if any(ix.covers(row.namespace) for ix in indexes)]
        if covered:
            old = [name_of(row[:2]) for row in covered if row[:2] in self._stored]
            new = [(name_of(row[:2]), e) for row in covered for e in entries(row, indexes)]
            if self._database.distant and len(old) + len(new) > 3:  # messages, with an answer each
                self._enter([row[:2] for row in covered], old, new)
            else:
                self._run(_DELETE_ENTRIES, old)
                self._run(_INSERT_ENTRY, [(*entry, *name) for name, entry in new])
        if WORDS in indexes:
            from lc_memory.stores.sql_words import enter

            enter(self._session, self._database, rows, self._stored)

    def _enter(
        self, ids: Sequence[Id], old: Sequence[_Name], new: Sequence[tuple[_Name, Entry]]
    ) -> None:
        """Replace the entries of several records by few statements."""
        numbers: dict[_Name, int] = {}
        for some in _chunks(ids):
            source, condition, parameters = self._database.among(some)
            sql = f'SELECT r.namespace, r."key", r.id FROM {source} WHERE {condition}'
            for name, key, number in self._session.select(sql, parameters):
                numbers[name, key] = number
        for gone in _chunks([numbers[name] for name in old]):
            self._session.run(_DELETE_ENTRIES_OF.format(", ".join("?" * len(gone))), gone)
        self._run(_INSERT_ENTRY_OF, [(*entry, name[0], numbers[name]) for name, entry in new])

    def _next_key(self, namespace: Namespace) -> str:
        if namespace not in self._last:
            self._flush()
            sql = 'SELECT max("key") FROM lc_memory_records WHERE namespace = ?'
            ((self._last[namespace],),) = self._session.select(sql, [write_namespace(namespace)])
        self._last[namespace] = key = next_key(self._last[namespace])
        return key

    def _clear(self, prefix: Namespace) -> None:
        self._flush()
        condition, bounds = under(prefix, alias="")
        self._session.run(f"DELETE FROM lc_memory_records WHERE {condition}", bounds)
        size = len(prefix)
        for id in [id for id in self._rows if id[0][:size] == prefix]:
            del self._rows[id]
        self._stored = {id for id in self._stored if id[0][:size] != prefix}
        self._last.clear()

    def _run(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        if len(rows) == 1:
            self._session.run(sql, rows[0])
        elif rows:
            self._session.run_many(sql, rows)


def _as_stored(rows: Sequence[Row]) -> list[tuple[Any, ...]]:
    """The rows with their namespaces as the table has them."""
    namespaces, *rest = zip(*rows, strict=True) if rows else ((),)
    return list(zip(map(write_namespace, namespaces), *rest, strict=True))


def all_creating(steps: Sequence[Step]) -> bool:
    """Whether all of them mean the same where nothing is stored yet: a new record; but for those
    that expect others to be there."""
    puts = [step for step in steps if type(step.op) is not Expect]
    if not all(type(step.op) is Put and step.op.replacing in (None, ABSENT) for step in puts):
        return False
    return len(puts) == len(steps) or len({step.id for step in steps}) == len(steps)


def build_index(session: Session, index: Index) -> int:
    """Enter a new index, over all that is stored; returns its number."""
    key = [write_namespace(index.namespace), write_namespace(index.path)]
    session.run("INSERT INTO lc_memory_indexes (namespace, path) VALUES (?, ?)", key)
    sql = "SELECT id FROM lc_memory_indexes WHERE namespace = ? AND path = ?"
    number = int(session.select(sql, key)[0][0])
    condition, bounds = under(index.namespace[: (*index.namespace, "*").index("*")])
    last: list[Any] = [0]
    while True:
        sql = (
            f"SELECT r.id, {COLUMNS} FROM lc_memory_records AS r "
            f"WHERE {condition} AND r.id > ? ORDER BY r.id LIMIT 1000"
        )
        found = session.select(sql, [*bounds, *last])
        if not found:
            return number
        made = [
            (*entry, columns[1], columns[0])
            for columns in found
            for entry in entries(row_of(columns[1:]), {index: number})
        ]
        if made:
            session.run_many(_INSERT_ENTRY_OF, made)
        last = [found[-1][0]]


def _chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    return (ids[start : start + _CHUNK] for start in range(0, len(ids), _CHUNK))


def load(
    select: Callable[[str, Sequence[Any]], list[Any]],
    database: Database,
    ids: Sequence[Id],
    whole: bool = True,
    *,
    lock: bool = False,
) -> dict[Id, Row]:
    """The rows of those ids that are there, in one statement for each few hundred."""
    columns = database.columns if whole else database.columns.replace("r.value", "'{}'")
    rows: dict[Id, Row] = {}
    for some in _chunks(ids):
        source, condition, parameters = database.among(some)
        if len(ids) == 1:  # whose names are known
            columns = columns.removeprefix(_NAMES)
        sql = f"SELECT {columns} FROM {source} WHERE {condition}"
        for found in select(sql + database.locking if lock else sql, parameters):
            if len(ids) == 1:
                state = found[1:] if len(found) > 2 else state_in(found[1])
                return {ids[0]: Row(*ids[0], found[0], *state)}
            row = row_of(found)
            rows[row[:2]] = row
    return rows


def load_states(
    select: Callable[[str, Sequence[Any]], list[Any]], database: Database, ids: Sequence[Id]
) -> dict[Id, State]:
    """The states of those ids that are there, in one statement for each few hundred."""
    states: dict[Id, State] = {}
    for some in _chunks(ids):
        source, condition, parameters = database.among(some)
        sql = f"SELECT {_NAME_AND_STATE} FROM {source} WHERE {condition}"
        for name, key, *state in select(sql, parameters):
            states[read_namespace(name), key] = State._make(state)
    return states


def row_of(columns: Sequence[Any]) -> Row:
    try:
        if len(columns) == 4:
            name, key, text, state = columns
            return Row(read_namespace(name), key, text, *state_in(state))
        return Row._make((read_namespace(columns[0]), *columns[1:]))
    except (AttributeError, TypeError, ValueError) as error:
        raise CorruptStore(f"a stored record is not what was written: {error}") from error


def state_in(text: str) -> tuple[int, int, int, int | None, str | None]:
    """What follows the value in a Row, of a text: the time of expiry (or nothing), the version,
    the times of creation and update and the owner, if there is one."""
    expires, version, created, updated, *owner = text.split(",", 4)
    return (
        int(version),
        int(created),
        int(updated),
        int(expires) if expires else None,
        owner[0] if owner else None,
    )


def name_of(id: Id) -> tuple[str, str]:
    return write_namespace(id[0]), id[1]


def under(prefix: Namespace, exact: bool = False, alias: str = "r.") -> tuple[str, list[Any]]:
    """The condition that a record's namespace begins with the prefix (or is it), and its
    parameters."""
    if exact:
        return f"{alias}namespace = ?", [write_namespace(prefix)]
    bounds = namespace_range(prefix)
    if bounds is None:
        return "1 = 1", []
    return f"{alias}namespace >= ? AND {alias}namespace < ?", list(bounds)


def allowed(limits: Limits, listed: str) -> tuple[str, list[Any]]:
    """The condition that a record is within the limits, and its parameters; ``listed`` is how the
    database takes a list of them."""
    parts = [under(prefix) for prefix in limits.prefixes]
    if limits.ids:
        marks = ", ".join(["(?, ?)"] * len(limits.ids))
        names = [name for id in limits.ids for name in name_of(id)]
        parts.append((f'(r.namespace, r."key") IN {listed.format(marks)}', names))
    if not parts:
        return "1 = 0", []
    while len(parts) > 1:  # in halves: databases bound how deep a condition may be
        pairs = [parts[i : i + 2] for i in range(0, len(parts), 2)]
        parts = [
            (f"({' OR '.join(sql for sql, _ in pair)})", [p for _, bound in pair for p in bound])
            for pair in pairs
        ]
    return f"({parts[0][0]})", parts[0][1]


def entries(row: Row, indexes: dict[Index, int]) -> Iterator[Entry]:
    """What the indexes hold of a row."""
    covering = [pair for pair in indexes.items() if pair[0].covers(row.namespace)]
    if covering:
        value = row.value()
        for index, number in covering:
            for key in index_keys(value, index.path):
                yield number, key
