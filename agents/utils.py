"""Utilities for looking at what an agent has stored."""

from __future__ import annotations

from collections import Counter

from rich.table import Table

from lc_memory import Memory, Query
from memory_agent.pictures import knowledge_panel as knowledge_panel
from memory_agent.pictures import progress_picture as progress_picture


def contents(memory: Memory) -> Table:
    """How many records a memory holds, by kind and collection."""
    scope = len(memory.scope)
    counts = Counter(
        r.namespace[scope : scope + 2] for r in memory.backend.records(Query(memory.scope))
    )
    table = Table("what", "where", "records", title="In the store")
    for (kind, *rest), number in sorted(counts.items()):
        table.add_row(kind, "/".join(rest), str(number))
    return table
