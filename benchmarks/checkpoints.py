"""LangGraph checkpoints: ours beside LangGraph's own SqliteSaver, at the same durability.

    python benchmarks/checkpoints.py

Times are medians of runs in turns. ``synchronous=FULL`` syncs each commit to the disk, and takes
what the disk takes; ``normal`` shows what is left. Bytes are those of the closed database file.
"""

from __future__ import annotations

import random
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from rich.console import Console
from rich.table import Table

from lc_memory import Memory

Saver = BaseCheckpointSaver[Any]
Row = tuple[str, dict[str, float], str]

SYLLABLES = ("ba", "ce", "di", "fo", "gu", "ha", "je", "ki", "lo", "mu", "na", "pe", "qui", "ro")


def text(number: int) -> str:
    """About 200 characters, of words that differ each time, as those of a language do."""
    chance = random.Random(number)
    words = ("".join(chance.choices(SYLLABLES, k=chance.randint(1, 4))) for _ in range(34))
    return " ".join(words)


def messages(count: int) -> list[BaseMessage]:
    kinds = (HumanMessage, AIMessage)
    return [kinds[i % 2](text(i), id=f"message-{i:030}") for i in range(count)]


class Model(BaseChatModel):
    """Answers at once, and always something else."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        answer = AIMessage(
            text(len(messages)),
            usage_metadata={"input_tokens": 900, "output_tokens": 40, "total_tokens": 940},
            response_metadata={"model_name": "none", "finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=answer)])

    @property
    def _llm_type(self) -> str:
        return "none"


@contextmanager
def ours(path: Path, durability: str) -> Iterator[Saver]:
    with Memory(f"sqlite:///{path}", durability=durability) as memory:
        yield memory.checkpointer()


@contextmanager
def theirs(path: Path, durability: str) -> Iterator[Saver]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        saver.setup()
        saver.conn.execute(f"PRAGMA synchronous = {durability}")
        yield saver


SAVERS = {"lc_memory": ours, "SqliteSaver": theirs}


class Thread:
    """Puts checkpoints of 20 messages, of which the last is new each time."""

    def __init__(self, saver: Saver) -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        self.version: Any = None
        self.step = 0
        self.start = messages(19)

    def put(self) -> None:
        self.step += 1
        self.version = self.saver.get_next_version(self.version, None)
        checkpoint = empty_checkpoint()
        last = AIMessage(text(self.step), id=f"answer-{self.step}")
        checkpoint["channel_values"] = {"messages": [*self.start, last]}
        checkpoint["channel_versions"] = new = {"messages": self.version}
        metadata: Any = {"source": "loop", "step": self.step, "parents": {}}
        self.config = self.saver.put(self.config, checkpoint, metadata, new)


def timed(works: dict[str, Callable[[], object]], times: int) -> dict[str, float]:
    """Milliseconds, the median of so many runs, in turns."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            start = time.perf_counter()
            work()
            spent[name].append((time.perf_counter() - start) * 1000)
    return {name: sorted(some)[times // 2] for name, some in spent.items()}


def put_and_get(folder: Path) -> Iterator[Row]:
    latest: Any = {"configurable": {"thread_id": "t"}}
    for durability in ("full", "normal"):
        for held in (10, 1000):
            paths = {name: folder / f"{name}-{held}-{durability}.db" for name in SAVERS}
            with ExitStack() as stack:
                savers = {
                    name: stack.enter_context(opened(paths[name], durability))
                    for name, opened in SAVERS.items()
                }
                threads = {name: Thread(saver) for name, saver in savers.items()}
                for _ in range(held - 1):
                    for thread in threads.values():
                        thread.put()
                gets = {n: partial(saver.get_tuple, latest) for n, saver in savers.items()}
                if durability == "full":
                    yield f"latest of {held:,}", timed(gets, 301), "ms"
                puts = timed({name: thread.put for name, thread in threads.items()}, 101)
                yield f"put after {held:,}, synchronous={durability}", puts, "ms"
            if durability == "full":
                yield f"latest of {held:,}, first of a process", first(paths, latest), "ms"


def first(paths: dict[str, Path], config: Any) -> dict[str, float]:
    """What the first read of a thread takes of a saver that was just opened."""
    spent: dict[str, list[float]] = {name: [] for name in SAVERS}
    for _ in range(15):
        for name, opened in SAVERS.items():
            with opened(paths[name], "full") as saver:
                saver.get_tuple({"configurable": {"thread_id": "other"}})  # it is connected
                spent[name].append(timed({name: partial(saver.get_tuple, config)}, 1)[name])
    return {name: sorted(some)[len(some) // 2] for name, some in spent.items()}


def conversations(folder: Path) -> Iterator[Row]:
    for turns in (50, 200):
        sizes, times = {}, {}
        for name, opened in SAVERS.items():
            path = folder / f"{name}-{turns}-turns.db"
            with opened(path, "full") as saver:
                times[name] = converse(create_agent(Model(), checkpointer=saver), turns)
            sizes[name] = path.stat().st_size / 1e6
        alone = converse(create_agent(Model()), turns)
        yield f"thread of {turns} turns", sizes, "MB"
        added = {name: (spent - alone) / turns * 1000 for name, spent in times.items()}
        yield f"added to a turn, of {turns}", added, "ms"


def converse(agent: Any, turns: int) -> float:
    config = {"configurable": {"thread_id": "t"}}
    start = time.perf_counter()
    for turn in range(turns):
        agent.invoke({"messages": [HumanMessage(text(turn * 3))]}, config)
    return time.perf_counter() - start


def main() -> None:
    table = Table("checkpoints", *SAVERS, "ratio", title="20 messages a state")
    with tempfile.TemporaryDirectory() as folder:
        for work in (put_and_get, conversations):
            for name, figures, unit in work(Path(folder)):
                values = [figures[saver] for saver in SAVERS]
                ratio = values[0] / values[1]
                table.add_row(name, *(f"{v:.3f} {unit}" for v in values), f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
