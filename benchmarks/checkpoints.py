"""LangGraph checkpoints: ours beside LangGraph's own savers, at the same durability.

    python benchmarks/checkpoints.py --backend postgresql

Times are medians of runs in turns (of the first puts the mean, so that it counts what SQLite does
now and then), of the savers alone: making the messages is not counted, nor
what a turn takes with a saver that stores nothing. On SQLite ``synchronous=FULL`` syncs each commit
to the disk, and takes what the disk takes; ``normal`` shows what is left. Bytes are those of the
closed database file; of PostgreSQL's tables with their indexes; of MongoDB's documents.
"""

from __future__ import annotations

import argparse
import gc
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import mean, median
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langgraph.checkpoint.base import BaseCheckpointSaver, CheckpointTuple, empty_checkpoint
from langgraph.checkpoint.sqlite import SqliteSaver
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.places import running, url_in
from benchmarks.report import rewrite
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


class Nothing(BaseCheckpointSaver[int]):
    """Stores nothing: it has the latest checkpoint at hand, as the graph made it."""

    latest: CheckpointTuple | None = None

    def get_tuple(self, config: Any) -> CheckpointTuple | None:
        return self.latest

    def put(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        id = {"checkpoint_id": checkpoint["id"], "checkpoint_ns": ""}
        named: Any = {"configurable": {**config["configurable"], **id}}
        self.latest = CheckpointTuple(named, checkpoint, metadata, config, [])
        return named

    def put_writes(self, *args: Any) -> None:
        pass


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


def _url(path: Path, place: str) -> str:
    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    return url_in(folder, place)


@contextmanager
def ours_on(place: str, path: Path, _: str) -> Iterator[Saver]:
    with Memory(_url(path, place)) as memory:
        yield memory.checkpointer()


@contextmanager
def postgres_saver(path: Path, _: str) -> Iterator[Saver]:
    from langgraph.checkpoint.postgres import PostgresSaver

    with PostgresSaver.from_conn_string(_url(path, "postgresql")) as saver:
        saver.setup()
        yield saver


@contextmanager
def mongodb_saver(path: Path, _: str) -> Iterator[Saver]:
    import pymongo
    from langgraph.checkpoint.mongodb import MongoDBSaver

    with pymongo.MongoClient[Any](_url(path, "mongodb"), w="majority", journal=True) as client:
        name = client.get_default_database().name
        yield MongoDBSaver(client, db_name=name)


def file_size(path: Path) -> float:
    return path.stat().st_size


def postgres_size(path: Path) -> float:
    import psycopg

    with psycopg.connect(_url(path, "postgresql")) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
            "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
        ).fetchone()
    assert row is not None
    return float(row[0])


def mongodb_size(path: Path) -> float:
    import bson
    import pymongo

    with pymongo.MongoClient[Any](_url(path, "mongodb")) as client:
        database = client.get_default_database()
        return sum(
            len(bson.encode(document))
            for name in database.list_collection_names()
            for document in database[name].find()
        )


Opened = Callable[[Path, str], AbstractContextManager[Saver]]


@dataclass(frozen=True)
class Backend:
    savers: dict[str, Opened]  # ours first
    size: Callable[[Path], float]  # of a closed one, in bytes
    durabilities: tuple[str, ...] = ("full",)


BACKENDS = {
    "sqlite": Backend({"lc_memory": ours, "SqliteSaver": theirs}, file_size, ("full", "normal")),
    "postgresql": Backend(
        {"lc_memory": partial(ours_on, "postgresql"), "PostgresSaver": postgres_saver},
        postgres_size,
    ),
    "mongodb": Backend(
        {"lc_memory": partial(ours_on, "mongodb"), "MongoDBSaver": mongodb_saver}, mongodb_size
    ),
}


class Thread:
    """Puts checkpoints of 20 messages, of which the last is new each time."""

    def __init__(self, saver: Saver) -> None:
        self.saver = saver
        self.config: Any = {"configurable": {"thread_id": "t", "checkpoint_ns": ""}}
        self.version: Any = None
        self.step = 0
        self.start = messages(19)

    def prepare(self) -> None:
        self.step += 1
        self.version = self.saver.get_next_version(self.version, None)
        checkpoint = empty_checkpoint()
        last = AIMessage(text(self.step), id=f"answer-{self.step}")
        checkpoint["channel_values"] = {"messages": [*self.start, last]}
        checkpoint["channel_versions"] = new = {"messages": self.version}
        metadata: Any = {"source": "loop", "step": self.step, "parents": {}}
        self.next = checkpoint, metadata, new

    def put(self) -> None:
        self.config = self.saver.put(self.config, *self.next)


def timed(
    works: dict[str, Callable[[], object]],
    times: int,
    before: dict[str, Thread] | None = None,
    average: Callable[[list[float]], float] = median,
) -> dict[str, float]:
    """Milliseconds, the median of so many runs (or another average), in turns."""
    spent: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(times):
        for name, work in works.items():
            if before:
                before[name].prepare()
            start = time.perf_counter()
            work()
            spent[name].append((time.perf_counter() - start) * 1000)
    return {name: average(some) for name, some in spent.items()}


def put_and_get(backend: Backend, folder: Path) -> Iterator[Row]:
    latest: Any = {"configurable": {"thread_id": "t"}}
    savers_of = backend.savers
    for durability in backend.durabilities:
        for held in (10, 1000):
            paths = {name: folder / f"{name}-{held}-{durability}.db" for name in savers_of}
            with ExitStack() as stack:
                savers = {
                    name: stack.enter_context(opened(paths[name], durability))
                    for name, opened in savers_of.items()
                }
                threads = {name: Thread(saver) for name, saver in savers.items()}
                works = {name: thread.put for name, thread in threads.items()}
                first_puts = timed(works, held, threads, mean)
                if held >= 1000:
                    yield f"put of the first {held:,}, synchronous={durability}", first_puts, "ms"
                gets = {n: partial(saver.get_tuple, latest) for n, saver in savers.items()}
                if durability == "full":
                    yield f"latest of {held:,}", timed(gets, 301), "ms"
                puts = timed(works, 101, threads)
                yield f"put after {held:,}, synchronous={durability}", puts, "ms"
            if durability == "full":
                yield f"latest of {held:,}, first of a process", first(backend, paths, latest), "ms"


def first(backend: Backend, paths: dict[str, Path], config: Any) -> dict[str, float]:
    """What the first read of a thread takes of a saver that was just opened."""
    spent: dict[str, list[float]] = {name: [] for name in backend.savers}
    for _ in range(15):
        for name, opened in backend.savers.items():
            with opened(paths[name], "full") as saver:
                saver.get_tuple({"configurable": {"thread_id": "other"}})  # it is connected
                spent[name].append(timed({name: partial(saver.get_tuple, config)}, 1)[name])
    return {name: median(some) for name, some in spent.items()}


def conversations(backend: Backend, folder: Path) -> Iterator[Row]:
    for turns in (50, 200):
        sizes: dict[str, float] = {}
        spent: dict[str, list[float]] = {"nothing": [], **{name: [] for name in backend.savers}}
        for run in range(5 if turns == 50 else 3):  # short ones differ more
            spent["nothing"].append(converse(Nothing(), turns))
            for name, opened in backend.savers.items():
                path = folder / f"{name}-{turns}-turns-{run}.db"
                with opened(path, "full") as saver:
                    spent[name].append(converse(saver, turns))
                sizes[name] = backend.size(path) / 1e6
        alone = median(spent.pop("nothing"))
        yield f"thread of {turns} turns", sizes, "MB"
        added = {name: (median(some) - alone) / turns * 1000 for name, some in spent.items()}
        yield f"added to a turn, of {turns}", added, "ms"


def converse(saver: Saver, turns: int) -> float:
    agent: Any = create_agent(Model(), checkpointer=saver)
    config = {"configurable": {"thread_id": "t"}}
    gc.collect()  # of what was made before: it would be counted to whoever comes first
    start = time.perf_counter()
    for turn in range(turns):
        agent.invoke({"messages": [HumanMessage(text(turn * 3))]}, config)
    return time.perf_counter() - start


def measured(backend: Backend) -> Iterator[Row]:
    with tempfile.TemporaryDirectory() as folder:
        yield from put_and_get(backend, Path(folder))
        yield from conversations(backend, Path(folder))


def main() -> None:
    parser = argparse.ArgumentParser(description="checkpoints: ours beside LangGraph's own savers")
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("--write", action="store_true", help="rewrite the table in results/")
    options = parser.parse_args()
    backend = BACKENDS[options.backend]
    headings = ["checkpoints of 20 messages", *backend.savers, "ratio"]
    rows: list[list[str]] = []
    with running(options.backend):
        for name, figures, unit in measured(backend):
            values = [figures[saver] for saver in backend.savers]
            ratio = f"{values[0] / values[1]:.2f}"
            rows.append([name, *(f"{value:.3f} {unit}" for value in values), ratio])
    table = Table(*headings)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
    if options.write:
        lines = [headings, ["---", *["--:"] * (len(headings) - 1)], *rows]
        command = f"benchmarks/checkpoints.py --backend {options.backend} --write"
        told = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        rewrite(f"{options.backend}-checkpoints", command, told)


if __name__ == "__main__":
    main()
