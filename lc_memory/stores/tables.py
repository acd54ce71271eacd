"""The tables of the SQL stores. Only who makes them needs to import this: it takes a while."""

from __future__ import annotations

from typing import Final

import sqlalchemy as sa
from sqlalchemy.dialects import mysql, postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from lc_memory.records import MAX_NAME_BYTES
from lc_memory.stores.schema import INDEXED_BYTES

_NAME = (
    sa.Text()
    .with_variant(sa.Text(collation="C"), "postgresql")
    # Binary: no collation folds case, accents or spaces, and the index limit counts bytes.
    .with_variant(mysql.VARBINARY(MAX_NAME_BYTES), "mysql", "mariadb")
)
_TEXT = sa.Text().with_variant(mysql.LONGTEXT(charset="utf8mb4"), "mysql", "mariadb")
_NUMBER = sa.BigInteger()
_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_BYTES = (
    sa.LargeBinary()
    .with_variant(postgresql.BYTEA(), "postgresql")
    .with_variant(mysql.VARBINARY(INDEXED_BYTES), "mysql", "mariadb")
)

metadata = sa.MetaData()

records = sa.Table(
    "lc_memory_records",
    metadata,
    sa.Column("id", _SERIAL, primary_key=True),
    sa.Column("namespace", _NAME, nullable=False),
    sa.Column("key", _NAME, nullable=False),
    sa.Column("value", _TEXT, nullable=False),
    sa.Column("version", _NUMBER, nullable=False),
    sa.Column("created_at", _NUMBER, nullable=False),
    sa.Column("updated_at", _NUMBER, nullable=False),
    sa.Column("expires_at", _NUMBER),
    sa.Column("owner", _NAME),
    sa.Index("lc_memory_records_by_key", "namespace", "key", unique=True),
    comment="One record a row; times are microseconds since 1970, labels end with a tab.",
)

by_time = sa.Index("lc_memory_records_by_time", records.c.namespace, records.c.updated_at)

expiring = sa.Index(
    "lc_memory_records_expiring",
    records.c.expires_at,
    sqlite_where=records.c.expires_at.is_not(None),
    postgresql_where=records.c.expires_at.is_not(None),
)

#: The fields that were declared indexed.
indexes = sa.Table(
    "lc_memory_indexes",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("namespace", _NAME, nullable=False),
    sa.Column("path", _NAME, nullable=False),
)

#: What the declared fields hold: a row for each record, and for each value in an array.
fields = sa.Table(
    "lc_memory_fields",
    metadata,
    sa.Column("index_id", sa.Integer, nullable=False),
    sa.Column("namespace", _NAME, nullable=False),
    sa.Column("sort_key", _BYTES, nullable=False),
    sa.Column(
        "record_id",
        _NUMBER,
        sa.ForeignKey(records.c.id, ondelete="CASCADE"),
        nullable=False,
        index=True,
    ),
    sa.PrimaryKeyConstraint("index_id", "namespace", "sort_key", "record_id"),
    sqlite_with_rowid=False,
)

#: One row: the version of these tables, and how often an index was declared.
schema = sa.Table(
    "lc_memory_schema",
    metadata,
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("generation", sa.Integer, nullable=False),
)


#: Indexes that are made when they are first of use: on SQLite each costs every write a page more.
_LATER: Final[dict[str, tuple[sa.Index, ...]]] = {"sqlite": (by_time,)}


def create(dialect: sa.Dialect) -> list[str]:
    """The statements that make them all, but for the indexes that are made later."""
    later = _LATER.get(dialect.name, ())
    statements: list[str] = []
    for table in metadata.sorted_tables:
        statements.append(str(CreateTable(table).compile(dialect=dialect)))
        statements += [
            str(CreateIndex(index).compile(dialect=dialect))
            for index in sorted(table.indexes, key=lambda index: str(index.name))
            if index not in later
        ]
    return statements
