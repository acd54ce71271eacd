"""What is known of a user, as pictures for the terminal."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from lc_memory import Knowledge
from lc_memory.printable import one_line, printable
from lc_memory.sessions import Session


def knowledge_panel(knowledge: Knowledge) -> RenderableType:
    """Profile, preferences, facts and progress."""
    known = knowledge.snapshot(None)
    table = Table.grid(padding=(0, 2))
    for name, value in known["profile"].items():
        if isinstance(value, dict):
            value = ", ".join(f"{topic}: {text}" for topic, text in value.items())
        if value:
            table.add_row(Text(name.replace("_", " "), style="bold"), Text(printable(str(value))))
    for fact in known["facts"]:
        table.add_row(Text("fact", style="bold"), Text(printable(fact["text"])))
    if not table.row_count:
        table.add_row(Text("Nothing about you yet.", style="dim"))
    return Group(table, progress_picture(known["progress"]))


def progress_picture(progress: dict[str, Any]) -> RenderableType:
    """The course's topics and how far the learner is."""
    done, now = progress["completed_topics"], progress["next_topic"]
    topics = Text()
    for topic in dict.fromkeys([*progress["course"], *done]):
        mark, style = (
            ("✓", "green") if topic in done else ("→", "yellow") if topic == now else ("·", "dim")
        )
        topics.append(f"{mark} {one_line(topic)}   ", style=style)
    bar = Table.grid(padding=(0, 1))
    percentage = progress["progress_percentage"]
    bar.add_row(ProgressBar(100, percentage, width=30), f"{percentage:g}%")
    return Group(topics, bar)


def mastery_table(overview: list[dict[str, Any]]) -> Table:
    """Each topic with its mastery, and when it is to be reviewed."""
    table = Table.grid(padding=(0, 2))
    for topic in overview:
        table.add_row(
            Text(one_line(topic["topic"]), style="bold" if topic["state"] == "current" else ""),
            ProgressBar(1, topic["mastery"], width=16),
            f"{topic['mastery']:.0%}",
            _standing(topic),
        )
    return table


def sessions_table(sessions: list[Session], here: str) -> RenderableType:
    """The conversations, numbered as ``/sessions NUMBER`` takes them."""
    if not sessions:
        return Text("No conversation is kept yet.", style="dim")
    table = Table.grid(padding=(0, 2))
    for number, session in enumerate(sessions, 1):
        table.add_row(
            Text(str(number), style="bold"),
            Text(one_line(session.title) or "A conversation", overflow="ellipsis", no_wrap=True),
            Text(f"{session.messages} messages", style="dim"),
            Text(f"{session.updated_at:%Y-%m-%d %H:%M}", style="dim"),
            Text("← here" if session.id == here else "", style="yellow"),
        )
    return table


def _standing(topic: dict[str, Any]) -> Text:
    if topic.get("due"):
        return Text("review today", style="yellow")
    if topic.get("due_at"):
        return Text(f"review {topic['due_at'][:10]}", style="dim")
    if topic["state"] == "locked":
        return Text("after " + ", ".join(topic["prerequisites"]), style="dim")
    return Text({"current": "learning now", "ready": "ready to learn"}.get(topic["state"], ""))
