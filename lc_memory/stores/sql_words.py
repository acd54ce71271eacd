"""The index of words in the databases: FTS5, tsvector with GIN, or FULLTEXT.

What is indexed are tokens that :mod:`lc_memory.search.texts` makes, the same for every database,
so that none of them has a say in what a word is. They are written in the transaction that writes
the record, and go with it. Once there, the index is kept by every process that writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from lc_memory.records import Id
from lc_memory.rows import Row
from lc_memory.search.asking import Progress, Scope
from lc_memory.search.texts import is_searched, tokens_of
from lc_memory.stores.database import Database, Session
from lc_memory.stores.names import read_namespace, write_namespace
from lc_memory.stores.sql_batch import COLUMNS, REINDEXING, row_of

if TYPE_CHECKING:
    from lc_memory.stores.sql import SQLStore

#: Counting ends here: a word that is in so many records tells little.
_MANY: Final = 20_000
_PAGE: Final = 1000

_DELETE: Final = (
    "DELETE FROM lc_memory_words WHERE record_id = "
    '(SELECT id FROM lc_memory_records WHERE namespace = ? AND "key" = ?)'
)
_INSERT: Final = (
    "INSERT INTO lc_memory_words (record_id, words) "
    'SELECT id, {} FROM lc_memory_records WHERE namespace = ? AND "key" = ?'
)


class Dialect:
    """How one database keeps the tokens of a record, and finds them."""

    commits = False  # making a table ends the transaction
    delete = _DELETE
    insert = _INSERT.format("?")
    create: tuple[str, ...]
    drop: tuple[str, ...] = ("DROP TABLE IF EXISTS lc_memory_words",)
    id = "record_id"
    matches: str

    def query(self, groups: Iterable[Iterable[str]]) -> str:
        """The records that have one token of each group."""
        raise NotImplementedError

    def worth(self, tokens: Mapping[str, float]) -> tuple[str, list[Any]]:
        """An expression to sort by, descending, and its parameters."""
        raise NotImplementedError


class _FTS5(Dialect):
    create = (
        "CREATE VIRTUAL TABLE IF NOT EXISTS lc_memory_words USING fts5(words, tokenize = 'ascii')",
        "CREATE TRIGGER IF NOT EXISTS lc_memory_words_go AFTER DELETE ON lc_memory_records "
        "BEGIN DELETE FROM lc_memory_words WHERE rowid = old.id; END",
    )
    drop = (
        "DROP TRIGGER IF EXISTS lc_memory_words_go",
        "DROP TABLE IF EXISTS lc_memory_words",
    )
    id = "rowid"
    matches = "lc_memory_words MATCH ?"
    delete = _DELETE.replace("record_id", "rowid")
    insert = (
        "INSERT INTO lc_memory_words (rowid, words) "
        'SELECT id, ? FROM lc_memory_records WHERE namespace = ? AND "key" = ?'
    )

    def query(self, groups: Iterable[Iterable[str]]) -> str:
        return " AND ".join(f"({' OR '.join(group)})" for group in groups)

    def worth(self, tokens: Mapping[str, float]) -> tuple[str, list[Any]]:
        return "-bm25(lc_memory_words)", []


class _GIN(Dialect):
    create = (
        "CREATE TABLE IF NOT EXISTS lc_memory_words (record_id bigint PRIMARY KEY "
        "REFERENCES lc_memory_records (id) ON DELETE CASCADE, words tsvector NOT NULL)",
        "CREATE INDEX IF NOT EXISTS lc_memory_words_found ON lc_memory_words USING gin (words)",
    )
    matches = "w.words @@ ?::tsquery"
    insert = _INSERT.format("array_to_tsvector(string_to_array(?::text, ' '))")

    def query(self, groups: Iterable[Iterable[str]]) -> str:
        return " & ".join(f"({' | '.join(group)})" for group in groups)

    def worth(self, tokens: Mapping[str, float]) -> tuple[str, list[Any]]:
        parts = ["CASE WHEN w.words @@ ?::tsquery THEN ?::float8 ELSE 0 END"] * len(tokens)
        return " + ".join(parts), [part for pair in tokens.items() for part in pair]


class _FullText(Dialect):
    commits = True
    create = (
        "CREATE TABLE IF NOT EXISTS lc_memory_words (record_id BIGINT NOT NULL PRIMARY KEY, "
        "words LONGTEXT CHARACTER SET ascii NOT NULL, "
        "FULLTEXT KEY lc_memory_words_found (words), FOREIGN KEY (record_id) "
        "REFERENCES lc_memory_records (id) ON DELETE CASCADE) ENGINE = InnoDB",
    )
    matches = "MATCH (w.words) AGAINST (? IN BOOLEAN MODE)"

    def query(self, groups: Iterable[Iterable[str]]) -> str:
        return " ".join(f"+({' '.join(group)})" for group in groups)

    def worth(self, tokens: Mapping[str, float]) -> tuple[str, list[Any]]:
        return self.matches, [" ".join(tokens)]


def dialect_of(database: Database) -> Dialect:
    match database.engine.dialect.name:
        case "sqlite":
            return _FTS5()
        case "postgresql":
            return _GIN()
        case _:
            return _FullText()


def enter(session: Session, database: Database, rows: Sequence[Row], stored: set[Id]) -> None:
    """Index rows that were just written; ``stored`` were there before."""
    dialect = dialect_of(database)
    searched = [row for row in rows if is_searched(row.namespace)]
    old = [_name(row) for row in searched if row[:2] in stored]
    new = [
        (" ".join(tokens), *_name(row)) for row in searched if (tokens := tokens_of(row.record()))
    ]
    for sql, entries in ((dialect.delete, old), (dialect.insert, new)):
        if len(entries) == 1:
            session.run(sql, entries[0])
        elif entries:
            session.run_many(sql, entries)


class SQLKeywords:
    """The index of words of a SQL store."""

    def __init__(self, store: SQLStore) -> None:
        self._db = store._db
        self._dialect = dialect_of(self._db)

    def counts(self, tokens: list[str], scope: Scope) -> tuple[int, dict[str, int]]:
        if scope.nothing:
            return 0, {}
        groups = scope.tokens()
        selects: list[str] = []
        parameters: list[Any] = []
        for group in ([], *([token] for token in tokens)):
            wanted = [*groups, *([group] if group else [])]
            condition = f" WHERE {self._dialect.matches}" if wanted else ""
            selects.append(
                "SELECT count(*) FROM (SELECT 1 AS one FROM lc_memory_words"
                f"{self._alias}{condition} LIMIT {_MANY}) AS c{len(selects)}"
            )
            parameters += [self._dialect.query(wanted)] if wanted else []
        sql = " UNION ALL ".join(f"SELECT {i} AS i, ({s}) AS n" for i, s in enumerate(selects))
        found = {int(i): int(n) for i, n in self._db.select(sql, parameters)}
        return found[0], {token: found[i] for i, token in enumerate(tokens, 1)}

    def best(self, tokens: Mapping[str, float], scope: Scope, limit: int) -> list[Id]:
        if scope.nothing or not tokens:
            return []
        query = self._dialect.query([*scope.tokens(), list(tokens)])
        worth, values = self._dialect.worth(tokens)
        sql = (
            f'SELECT r.namespace, r."key", {worth} AS worth FROM lc_memory_words{self._alias} '
            f"JOIN lc_memory_records AS r ON r.id = {self._id} "
            f"WHERE {self._dialect.matches} ORDER BY worth DESC, r.id LIMIT ?"
        )
        found = self._db.select(sql, [*values, query, limit])
        return [(read_namespace(name), key) for name, key, _ in found]

    def rebuild(self, progress: Progress | None = None) -> int:
        return rebuild(self._db, progress)

    @property
    def _alias(self) -> str:  # FTS5's functions want the table's own name
        return "" if self._dialect.id == "rowid" else " AS w"

    @property
    def _id(self) -> str:
        return "lc_memory_words.rowid" if self._dialect.id == "rowid" else "w.record_id"


def build(session: Session, dialect: Dialect) -> None:
    """Index all that is stored."""
    last: int | None = 0
    while last is not None:
        last, _ = _index_page(session, dialect, last)


def rebuild(database: Database, progress: Progress | None = None) -> int:
    """Index all that is stored anew, each page in a transaction of its own, while the index goes
    on answering; returns how many records have words. Interrupted, the next call goes on where it
    was; two at once share the work."""
    dialect = dialect_of(database)
    last: int | None = None
    made = 0

    def work(session: Session) -> tuple[int | None, int]:
        sql = "SELECT path FROM lc_memory_indexes WHERE namespace = ?"
        held = session.select(sql, [REINDEXING])
        if last is not None and not held:  # the other one has come to the end
            return None, made
        after, before = map(int, read_namespace(held[0][0])) if held else (0, 0)
        reached, count = _index_page(session, dialect, after)
        session.run("DELETE FROM lc_memory_indexes WHERE namespace = ?", [REINDEXING])
        if reached is not None:
            path = write_namespace((str(reached), str(before + count)))
            sql = "INSERT INTO lc_memory_indexes (namespace, path) VALUES (?, ?)"
            session.run(sql, [REINDEXING, path])
        return reached, before + count

    while True:
        last, made = database.transact(work, alone=True)
        if progress is not None:
            total = _count(database)
            progress(total if last is None else _count(database, last), total)
        if last is None:
            return made


def _index_page(session: Session, dialect: Dialect, after: int) -> tuple[int | None, int]:
    """Index the next records anew, as many as go into a transaction; returns the last of them
    (None: there are no more), and how many of them have words."""
    found = session.select(
        f"SELECT r.id, {COLUMNS} FROM lc_memory_records AS r WHERE r.id > ? "
        f"ORDER BY r.id LIMIT {_PAGE}",
        [after],
    )
    last: int | None = found[-1][0] if len(found) == _PAGE else None
    bounds = [after] if last is None else [after, last]
    upto = "" if last is None else f" AND {dialect.id} <= ?"  # what is of no record goes too
    session.run(f"DELETE FROM lc_memory_words WHERE {dialect.id} > ?{upto}", bounds)
    rows = [row for columns in found if is_searched((row := row_of(columns[1:])).namespace)]
    new = [(" ".join(tokens), *_name(row)) for row in rows if (tokens := tokens_of(row.record()))]
    if new:
        session.run_many(dialect.insert, new)
    return last, len(new)


def _count(database: Database, last: int | None = None) -> int:
    """How many records there are, or how many of them up to this one."""
    condition, bounds = ("", []) if last is None else (" WHERE id <= ?", [last])
    ((count,),) = database.select(f"SELECT count(*) FROM lc_memory_records{condition}", bounds)
    return int(count)


def there(database: Database) -> bool:
    """Whether the database can keep such an index at all: SQLite may be without FTS5."""
    if database.engine.dialect.name != "sqlite":
        return True
    return bool(database.select("SELECT 1 FROM pragma_module_list WHERE name = 'fts5'"))


def _name(row: Row) -> tuple[str, str]:
    return write_namespace(row.namespace), row.key
