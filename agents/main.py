"""The tutor in the terminal.

    python agents/main.py                    talk to it (memory: agent_memory.db)
    python agents/main.py --db other.db      another memory
    python agents/main.py --say "Hi" "Bye"   say these things, print the answers

Without a terminal it plays a tour: two sessions in two processes, over one memory.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE)]  # runs from a checkout that was not installed

from lc_memory.errors import LCMemoryError  # noqa: E402
from memory_agent.agent import MemoryAgent  # noqa: E402
from memory_agent.terminal import Chat, has_terminal  # noqa: E402
from utils import contents, knowledge_panel  # noqa: E402

TOUR = (
    (
        "Hi, I'm Ada. I prefer short answers with Python examples. "
        "I've finished variables and functions.",
    ),
    (
        "Hi!",
        "What do you know about me?",
        "How far am I?",
        "What should I learn next?",
        "Explain classes.",
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tutor; returns the exit code."""
    parser = argparse.ArgumentParser(description="A tutor that remembers you.")
    parser.add_argument(
        "--db", default=None, help="SQLite file (default: LC_MEMORY_URL, else agent_memory.db)"
    )
    parser.add_argument("--user", default=None, help="whose memory, where several share a store")
    parser.add_argument("--session", default=None, help="a session to continue")
    parser.add_argument("--say", nargs="+", metavar="TEXT", help="say this, and leave")
    options = parser.parse_args(arguments)
    if options.say is None and not has_terminal():
        return tour(Console(width=80))  # as its two sessions print
    console = Console()
    try:
        with MemoryAgent(db_path=options.db, user_id=options.user) as agent:
            agent.session_id = options.session or agent.session_id
            return 0 if Chat(agent, console).talk(options.say) else 1
    except LCMemoryError as error:
        console.print(Text(str(error), style="red"))
        return 1


def tour(console: Console) -> int:
    """Two sessions, each a process of its own, over one new database."""
    folder = Path("demo")
    folder.mkdir(exist_ok=True)
    database = folder / "agent_memory.db"
    for suffix in ("", "-wal", "-shm"):  # the last tour's
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    for number, lines in enumerate(TOUR, 1):
        console.print(Panel(f"Session {number}, a process of its own"), highlight=False)
        sys.stdout.flush()
        command = [sys.executable, str(HERE / "main.py"), "--db", str(database), "--say", *lines]
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own program
        if code:
            return code
    with MemoryAgent("sqlite", db_path=database) as agent:
        console.print(Panel("What is left in the file"), highlight=False)
        console.print(knowledge_panel(agent.knowledge))
        console.print(contents(agent))
    program, here = Path(sys.executable).with_name("lc-memory"), Path.cwd()
    if program.is_relative_to(here):
        program = program.relative_to(here)
    look = f"{program} get user_profile --url sqlite:///{database.as_posix()}"
    console.print(f"Look inside: {look}", soft_wrap=True, highlight=False)
    console.print("Talk to it: make demo in a terminal, make web in the browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
