"""The tutor in the terminal: a talk, and commands that show and change what it knows."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from langchain_core.messages import BaseMessage, HumanMessage, message_to_dict
from rich.console import Console, RenderableType
from rich.live import Live
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from lc_memory.errors import InvalidInput, LCMemoryError
from lc_memory.printable import printable
from memory_agent.agent import MemoryAgent
from memory_agent.models import describe, failure, named_model
from memory_agent.pictures import knowledge_panel, mastery_table, progress_picture, sessions_table

HELP: Final = """\
Just talk. Try: Hi, I'm Ada. I prefer short answers with Python examples.
/memory      what I know about you      /forget X     forget X (or: everything)
/progress    how far you are            /export FILE  write it all to a file
/sessions    what we have talked about  /model NAME   talk with another model
/sessions N  go on with number N        /new          begin another conversation
/help        this                       /quit         leave; I keep what I know"""

#: So many things said before are there for the arrow keys.
REMEMBERED: Final = 200


class Chat:
    """One talk with the tutor at a console."""

    def __init__(self, agent: MemoryAgent, console: Console) -> None:
        self.agent = agent
        self.console = console
        self.commands: dict[str, Callable[[str], RenderableType | None]] = {
            "/memory": lambda _: knowledge_panel(agent.knowledge),
            "/progress": self._progress,
            "/sessions": self._sessions,
            "/new": self._new,
            "/forget": self._forget,
            "/export": self._export,
            "/model": self._model,
            "/help": lambda _: Text(HELP, style="dim"),
        }

    def talk(self, say: Sequence[str] | None = None) -> bool:
        """Greet, then answer until the user leaves. Whether all of ``say`` was answered."""
        answered = True
        self.console.print(Text(describe(self.agent.model), style="dim"))
        self.console.print(_tutor(self.agent.greeting()))
        for text in self._spoken(say) if say else typed(self.agent, self.console, self.commands):
            command, _, rest = text.partition(" ")
            if command in ("/quit", "/exit") or text.casefold() in ("quit", "exit"):
                break
            answered &= self._do(command, rest) if text.startswith("/") else self._answer(text)
        return answered or not say  # who is watching has seen it

    def _do(self, command: str, rest: str) -> bool:
        try:
            shown = self.commands.get(command, self.commands["/help"])(rest.strip())
        except (InvalidInput, OSError) as error:
            self.console.print(Text(str(error), style="red"))
            return False
        if shown is not None:
            self.console.print(shown)
        return True

    def _answer(self, text: str) -> bool:
        """Ask the model; what goes wrong with it is said, and ends nothing."""
        answer = ""
        try:
            with self._live() as live:
                for piece in self.agent.stream(text):
                    answer += piece
                    live.update(_tutor(answer))
        except LCMemoryError:
            raise
        except KeyboardInterrupt:
            self.console.print(Text("Stopped. That turn is not in the conversation.", style="dim"))
            return False
        except Exception as error:  # noqa: BLE001 - models fail in every way; the talk goes on
            self.console.print(Text(printable(failure(self.agent.model, error)), style="red"))
            return False
        self.console.print(_tutor(answer))
        return True

    def _live(self) -> Live:
        return Live(
            _tutor("…"),
            console=self.console,
            transient=True,  # the whole answer is printed when it is there, however long
            auto_refresh=self.console.is_terminal,
            refresh_per_second=12,
        )

    # -- commands --------------------------------------------------------------------------

    def _progress(self, _: str) -> RenderableType:
        self.console.print(progress_picture(self.agent.knowledge.snapshot(0)["progress"]))
        return mastery_table(self.agent.knowledge.learner.overview())

    def _sessions(self, number: str) -> RenderableType:
        kept = self.agent.sessions()
        if not number:
            return sessions_table(kept, self.agent.session_id)
        if not number.isdecimal() or not 0 < int(number) <= len(kept):
            raise InvalidInput(f"/sessions {number}: name one of the numbers that /sessions shows")
        self.agent.session_id = kept[int(number) - 1].id
        for message in self.agent.chat_history(self.agent.session_id).latest(10):
            _retell(self.console, message)
        return Text("We go on here.", style="dim")

    def _new(self, _: str) -> RenderableType:
        self.agent.begin()
        return Text("A new conversation. I keep what I know.", style="dim")

    def _forget(self, what: str) -> RenderableType:
        gone = self.agent.knowledge.forget(what)
        if not gone:
            return Text("Forgotten: nothing; name it as /memory shows it")
        return Text(printable("Forgotten: " + ", ".join(gone)))

    def _export(self, place: str) -> RenderableType:
        path = Path(place or "memory-export.json")
        try:
            count = export(self.agent, path)
        except FileExistsError:
            raise InvalidInput(f"{path} is there already; name another file") from None
        return Text(f"Written: {path}; conversations: {count}", style="dim")

    def _model(self, name: str) -> RenderableType:
        if name:
            self.agent.model = named_model(name)
        return Text(describe(self.agent.model), style="dim")

    def _spoken(self, say: Sequence[str]) -> Iterator[str]:
        for text in say:
            self.console.print(Text("You:   ", style="bold green") + Text(text))
            yield text


def typed(
    agent: MemoryAgent, console: Console, commands: Sequence[str] | dict[str, Any]
) -> Iterator[str]:
    """What is typed at the terminal; the arrow keys bring back what was said before."""
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.formatted_text import FormattedText
    from prompt_toolkit.history import InMemoryHistory

    console.print(Text("/help shows what I understand, /quit leaves.", style="dim"))
    session: PromptSession[str] = PromptSession(
        history=InMemoryHistory(said_before(agent)),
        completer=WordCompleter([*commands, "/quit"], sentence=True),
        complete_while_typing=False,
    )
    while True:
        try:
            text = session.prompt(FormattedText([("bold ansigreen", "You:   ")])).strip()
        except KeyboardInterrupt:  # empties the line, as in a shell
            continue
        except EOFError:
            return
        if text:
            yield text


def said_before(agent: MemoryAgent) -> list[str]:
    """The latest things that the user has said, oldest first."""
    said: list[str] = []
    for session in agent.sessions()[:20]:
        messages = agent.chat_history(session.id).latest(REMEMBERED)
        said[:0] = [str(m.text) for m in messages if isinstance(m, HumanMessage)]
        if len(said) >= REMEMBERED:
            break
    return said[-REMEMBERED:]


def export(agent: MemoryAgent, path: Path) -> int:
    """Write what is known of the user and all conversations to a new JSON file (mode 0600);
    returns how many conversations. Raises FileExistsError rather than write over a file."""
    conversations = [
        {
            "session_id": session.id,
            "messages": [message_to_dict(m) for m in agent.chat_history(session.id).messages],
        }
        for session in agent.sessions()
    ]
    known = {"user": agent.user, **agent.knowledge.snapshot(None), "conversations": conversations}
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8", errors="surrogatepass") as file:
        json.dump(known, file, ensure_ascii=True, indent=2, default=str)  # times and bytes too
    return len(conversations)


def has_terminal() -> bool:
    """Whether somebody can type here."""
    with suppress(AttributeError, ValueError):  # no standard input, or a closed one
        return sys.stdin.isatty()
    return False


def _tutor(text: str) -> RenderableType:
    line = Table.grid(padding=(0, 1))
    line.add_column(no_wrap=True)
    line.add_column()
    line.add_row(Text("Tutor:", style="bold cyan"), Markdown(printable(text)))
    return line


def _retell(console: Console, message: BaseMessage) -> None:
    text = str(message.text)
    if isinstance(message, HumanMessage):
        console.print(Text("You:   ", style="bold green") + Text(printable(text)))
    elif message.type == "ai" and text:
        console.print(_tutor(text))
