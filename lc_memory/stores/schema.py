"""The versions of the SQL stores' tables, and the migrations that lead to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import sqlalchemy as sa

from lc_memory.errors import NewerFormat

#: How much of a field's sort key its index keeps, in bytes.
INDEXED_BYTES: Final = 255


def _create(dialect: sa.Dialect) -> list[str]:
    from lc_memory.stores import tables

    return tables.create(dialect)


def _index_again(dialect: sa.Dialect) -> list[str]:
    """The entries of declared indexes hold more: who opens it with the index makes it anew."""
    return ["DELETE FROM lc_memory_fields", "DELETE FROM lc_memory_indexes"]


#: One entry a version, oldest first: the statements that lead to it. Never change an old one.
MIGRATIONS: Final[tuple[Callable[[sa.Dialect], list[str]], ...]] = (_create, _index_again)

VERSION: Final = len(MIGRATIONS)


def pending(found: int, dialect: sa.Dialect) -> list[str]:
    """The statements that bring a database of that version up to date.

    Raises NewerFormat if a newer version of the library made it.
    """
    if found > VERSION:
        raise NewerFormat(
            f"the database has format {found}, and this version of lc_memory knows {VERSION}; "
            "upgrade: pip install -U lc-memory"
        )
    statements = [line for step in MIGRATIONS[found:] for line in step(dialect)]
    if statements:
        statements.append("DELETE FROM lc_memory_schema")
        statements.append(f"INSERT INTO lc_memory_schema VALUES ({VERSION}, 0)")
    return statements
