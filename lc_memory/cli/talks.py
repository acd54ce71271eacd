"""Conversations: sessions, history, chat."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from lc_memory.cli.app import app
from lc_memory.cli.running import Json, NotFound, Url, User, Yes, confirm, opened, printed, say
from lc_memory.cli.tables import show
from lc_memory.errors import InvalidInput, MissingExtra

Session = Annotated[str, typer.Argument(metavar="SESSION", help="A session's id.")]


@app.command()
def sessions(url: Url = None, user: User = None, as_json: Json = False) -> None:
    """List the conversations, the latest first."""
    with opened(url, user) as memory:
        found = memory.sessions()
    if as_json:
        printed([{**asdict(session), "updated_at": _time(session.updated_at)} for session in found])
    else:
        show(
            ("session", "began with", "messages", "last"),
            [(s.id, s.title, s.messages, f"{s.updated_at:%Y-%m-%d %H:%M}") for s in found],
        )


@app.command()
def history(
    session: Session,
    limit: Annotated[int | None, typer.Option("--limit", "-n", help="The latest so many.")] = None,
    clear: Annotated[bool, typer.Option("--clear", help="Delete its messages instead.")] = False,
    yes: Yes = False,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Show the messages of a conversation, or delete them."""
    from langchain_core.messages import message_to_dict

    if limit is not None and limit < 1:
        raise InvalidInput(f"--limit {limit}: not above 0")
    with opened(url, user) as memory:
        log = memory.chat_history(session)
        messages = log.latest(limit)
        if not messages:
            raise NotFound(f"there is no session {session!r}; `lc-memory sessions` lists them")
        if clear:
            count = len(log)
            confirm(f"Delete the {count} messages of {session!r}?", yes)
            log.clear()
    if clear:
        printed({"deleted": count}) if as_json else say(f"Deleted {count} messages.")
    elif as_json:
        printed([message_to_dict(message) for message in messages])
    else:
        for message in messages:
            called = ", ".join(call["name"] for call in getattr(message, "tool_calls", []))
            say(f"{message.type + ':':<8}{message.text}" + f" [calls {called}]" * bool(called))


@app.command()
def chat(
    web: Annotated[bool, typer.Option("--web", help="In the browser, on this machine.")] = False,
    port: Annotated[int, typer.Option("--port", help="Of the web page; 0: a free one.")] = 8080,
    session: Annotated[str | None, typer.Option("--session", help="One to go on with.")] = None,
    say_this: Annotated[
        list[str] | None, typer.Option("--say", help="Say this and leave; may be repeated.")
    ] = None,
    url: Url = None,
    user: User = None,
    as_json: Json = False,
) -> None:
    """Talk with the tutor, who remembers you."""
    try:
        from memory_agent.agent import MemoryAgent
        from memory_agent.terminal import Chat, has_terminal
    except ImportError as error:
        raise MissingExtra("The chat", "agent") from error
    if web:
        from memory_agent.web import serve

        whose = "/?" + urlencode({"user": user}) if user else ""
        serve(url, port=port, ready=lambda page: say(f"The tutor: {page}{whose} (Ctrl-C ends it)"))
        return
    if as_json and not say_this:
        raise InvalidInput("--json goes with --say")
    if not say_this and not has_terminal():
        raise InvalidInput("there is no terminal to talk at; use --say TEXT, or --web")
    with MemoryAgent(url=url, user_id=user) as agent:
        agent.session_id = session or agent.session_id
        if as_json:
            for text in say_this or []:
                answer = agent.chat(text)
                printed({"session": agent.session_id, "you": text, "tutor": answer})
        else:
            from rich.console import Console

            answered = Chat(agent, Console()).talk(say_this)
            sys.stdout.flush()
            if not answered:
                raise typer.Exit(1)


def _time(at: Any) -> str:
    from lc_memory import values

    return values.write_time(at)
