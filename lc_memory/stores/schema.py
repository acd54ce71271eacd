"""The versions of the SQL stores' tables, and the migrations that lead to them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import sqlalchemy as sa

from lc_memory import __version__
from lc_memory.errors import CorruptStore, NewerFormat, newer

#: How much of a field's sort key its index keeps, in bytes.
INDEXED_BYTES: Final = 255


def _create(dialect: sa.Dialect) -> list[str]:
    from lc_memory.stores import tables

    return tables.create(dialect)


def _index_again(dialect: sa.Dialect) -> list[str]:
    """The entries of declared indexes hold more: who opens it with the index makes it anew."""
    return ["DELETE FROM lc_memory_fields", "DELETE FROM lc_memory_indexes"]


def _name_release(dialect: sa.Dialect) -> list[str]:
    """Which release of the library brought the tables to their version."""
    return ['ALTER TABLE lc_memory_schema ADD COLUMN "library" VARCHAR(64)']


#: One entry a version, oldest first: the statements that lead to it. Never change an old one.
MIGRATIONS: Final[tuple[Callable[[sa.Dialect], list[str]], ...]] = (
    _create,
    _index_again,
    _name_release,
)

VERSION: Final = len(MIGRATIONS)


def version_in(select: Callable[[str], list[Any]], place: str) -> int:
    """The version of the tables that are there; 0 if they have none. Raises NewerFormat if a newer
    version of the library made them."""
    rows = select("SELECT version FROM lc_memory_schema")
    found = rows[0][0] if rows else 0
    if type(found) is not int:
        raise CorruptStore(f"{place}: the version of its tables is {found!r}; restore a backup")
    if found > VERSION:
        ((library,),) = select('SELECT "library" FROM lc_memory_schema')
        raise NewerFormat(newer(place, library, found, VERSION))
    return found


def pending(found: int, dialect: sa.Dialect) -> list[str]:
    """The statements that bring a database of that version up to date."""
    statements = [line for step in MIGRATIONS[found:] for line in step(dialect)]
    if statements:
        statements.append("DELETE FROM lc_memory_schema")
        statements.append(
            'INSERT INTO lc_memory_schema (version, generation, "library") '
            f"VALUES ({VERSION}, 0, '{__version__}')"
        )
    return statements
