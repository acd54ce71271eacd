"""Utilities for looking at what an agent has stored."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lc_memory import Knowledge, Memory, Query


def knowledge_panel(knowledge: Knowledge) -> RenderableType:
    """What is known about the user, as a picture for the terminal."""
    known = knowledge.snapshot()
    table = Table.grid(padding=(0, 2))
    for name, value in known["profile"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{topic}: {text}" for topic, text in value.items())
        if value:
            table.add_row(Text(name.replace("_", " "), style="bold"), Text(str(value)))
    for fact in known["facts"]:
        table.add_row(Text("fact", style="bold"), Text(fact["text"]))
    return Group(table, progress_picture(known["progress"]))


def progress_picture(progress: dict[str, Any]) -> RenderableType:
    """The course's topics and how far the learner is."""
    done, now = progress["completed_topics"], progress["next_topic"]
    topics = Text()
    for topic in dict.fromkeys([*progress["course"], *done]):
        mark, style = (
            ("✓", "green") if topic in done else ("→", "yellow") if topic == now else ("·", "dim")
        )
        topics.append(f"{mark} {topic}   ", style=style)
    bar = Table.grid(padding=(0, 1))
    percentage = progress["progress_percentage"]
    bar.add_row(ProgressBar(100, percentage, width=30), f"{percentage:g} %")
    return Group(topics, bar)


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
