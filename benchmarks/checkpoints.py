"""LangGraph checkpoints: ours beside LangGraph's own SqliteSaver, at the same durability.

    python benchmarks/checkpoints.py

Times are the best of several runs (milliseconds); both sync each commit to the disk
(``synchronous=FULL``). Bytes are those of the database file when it is closed.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

WORDS = "the river was crossed at dawn by those who had waited all night for its water to fall"


def text(number: int) -> str:
    """About 200 characters that do not repeat too well."""
    words = WORDS.split()
    return " ".join(words[(number * 7 + i * (number % 5 + 1)) % len(words)] for i in range(42))


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
def ours(path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    with Memory(f"sqlite:///{path}") as memory:
        yield memory.checkpointer()


@contextmanager
def theirs(path: Path) -> Iterator[BaseCheckpointSaver[Any]]:
    with SqliteSaver.from_conn_string(str(path)) as saver:
        saver.setup()
        saver.conn.execute("PRAGMA synchronous = FULL")
        yield saver


SAVERS = {"lc_memory": ours, "SqliteSaver": theirs}


def fill(saver: BaseCheckpointSaver[Any], count: int, last: dict[str, Any]) -> dict[str, Any]:
    """Put so many checkpoints, each with 20 messages of which the last is new."""
    for number in range(count):
        checkpoint = empty_checkpoint()
        step = last.get("step", 0) + 1
        version = saver.get_next_version(last.get("version"), None)
        window = messages(19)
        window.append(AIMessage(text(step), id=f"answer-{step}"))
        checkpoint["channel_values"] = {"messages": window}
        checkpoint["channel_versions"] = {"messages": version}
        metadata: Any = {"source": "loop", "step": step, "parents": {}}
        config = last.get("config", {"configurable": {"thread_id": "t", "checkpoint_ns": ""}})
        start = time.perf_counter()
        config = saver.put(config, checkpoint, metadata, {"messages": version})
        spent = min(last.get("spent", 9.0), time.perf_counter() - start) if number else 9.0
        last = {"config": config, "version": version, "step": step, "spent": spent}
        last["all"] = [*last.get("all", []), spent]
    return last


def timed(work: Callable[[], object], times: int) -> float:
    """Seconds, the median of so many runs."""
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        spent.append(time.perf_counter() - start)
    return sorted(spent)[times // 2]


def put_and_get(folder: Path) -> Iterator[tuple[str, dict[str, float], str]]:
    for held in (10, 1000):
        puts, warm, cold = {}, {}, {}
        for name, opened in SAVERS.items():
            path = folder / f"{name}-{held}.db"
            config: Any = {"configurable": {"thread_id": "t"}}
            with opened(path) as saver:
                last = fill(saver, held, {})
                samples = []
                for _ in range(7):
                    start = time.perf_counter()
                    last = fill(saver, 15, last)
                    samples.append((time.perf_counter() - start) / 15)
                puts[name] = min(samples) * 1000
                warm[name] = timed(lambda: saver.get_tuple(config), 301) * 1000  # noqa: B023
            first = []
            for _ in range(9):
                with opened(path) as saver:
                    saver.get_tuple({"configurable": {"thread_id": "other"}})  # connected
                    first.append(timed(lambda: saver.get_tuple(config), 1))  # noqa: B023
            cold[name] = sorted(first)[4] * 1000
        yield f"put, {held:,} checkpoints", puts, "ms"
        yield f"latest, {held:,} checkpoints", warm, "ms"
        yield f"latest, {held:,} checkpoints, first of a process", cold, "ms"


def threads(folder: Path) -> Iterator[tuple[str, dict[str, float], str]]:
    for turns in (50, 200):
        sizes, times = {}, {}
        for name, opened in SAVERS.items():
            path = folder / f"{name}-{turns}-turns.db"
            with opened(path) as saver:
                times[name] = converse(create_agent(Model(), checkpointer=saver), turns)
            sizes[name] = path.stat().st_size / 1e6
        alone = converse(create_agent(Model()), turns)
        yield f"thread of {turns} turns", sizes, "MB"
        added = {name: (spent - alone) / turns * 1000 for name, spent in times.items()}
        yield f"added to each of {turns} turns", added, "ms"


def converse(agent: Any, turns: int) -> float:
    config = {"configurable": {"thread_id": "t"}}
    start = time.perf_counter()
    for turn in range(turns):
        agent.invoke({"messages": [HumanMessage(text(turn * 3))]}, config)
    return time.perf_counter() - start


def main() -> None:
    table = Table("checkpoints", *SAVERS, "ratio", title="20 messages a state, synchronous=FULL")
    with tempfile.TemporaryDirectory() as folder:
        for work in (put_and_get, threads):
            for name, figures, unit in work(Path(folder)):
                values = [figures[saver] for saver in SAVERS]
                ratio = values[0] / values[1]
                table.add_row(name, *(f"{v:.3f} {unit}" for v in values), f"{ratio:.2f}")
                print(name, figures, file=sys.stderr)
    Console().print(table)


if __name__ == "__main__":
    main()
