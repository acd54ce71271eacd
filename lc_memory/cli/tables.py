"""Tables for the person at the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lc_memory import values
from lc_memory.printable import one_line

#: So many fields of documents are columns; the others are in `--json`.
COLUMNS: Final = 6


def table_of(documents: Sequence[Mapping[str, Any]]) -> None:
    """Documents as rows, their fields as columns."""
    fields = list(dict.fromkeys(field for document in documents for field in document))
    rows = [[_cell(document.get(field)) for field in fields[:COLUMNS]] for document in documents]
    more = len(fields) - COLUMNS
    show(fields[:COLUMNS], rows, caption=f"and {more} fields more (--json)" if more > 0 else None)


def show(
    columns: Iterable[str], rows: Iterable[Sequence[Any]], *, caption: str | None = None
) -> None:
    """Rows under these columns; where there is none, that is said."""
    table = Table(box=None, header_style="bold", caption=caption, pad_edge=False)
    for column in columns:
        table.add_column(Text(one_line(column)), overflow="fold")
    for row in rows:
        table.add_row(*(Text(one_line(str(cell))) for cell in row))
    console = Console(highlight=False)
    console.print(table if table.row_count else Text("There is nothing yet.", style="dim"))


def _cell(value: Any) -> str:
    if value is None or isinstance(value, str):
        return value or ""
    return values.dump(values.lower({"v": value}))[5:-1]
