"""``python benchmarks/layers.py``: what each layer costs, beside a memory without any.

Every memory is SQLite's, a user's handle, on the same disk; rounds are interleaved. The first row
of a case is the SQL store itself, without a memory around it: what the stack costs when nothing in
it is on is the second row.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict
from rich.console import Console

from benchmarks import report
from benchmarks.harness import Case, Prepare, Result, Work, check, measure
from lc_memory import Memory, Query
from lc_memory.langchain.chat_history import ChatHistory
from lc_memory.store import Store

README = Path(__file__).with_name("README.md")
START, END = "<!-- layers -->", "<!-- /layers -->"
SPACE = ("users", "ada", "documents", "notes")


class Note(BaseModel):
    model_config = ConfigDict(extra="allow")
    id: str
    text: str
    n: int


LAYERS: dict[str, dict[str, Any]] = {
    "the store itself": {},
    "lc_memory, no layer": {},
    "lc_memory, access control": {"access_control": True},
    "lc_memory, audit": {"audit": True},
    "lc_memory, schema": {"schemas": {"notes": Note}},
    "lc_memory, links": {"relations": {"next": "clear"}},
    "lc_memory, encryption": {"encryption_key": b"k" * 32},
    "lc_memory, recall by words": {"recall": True},
    "lc_memory, all of these": {
        "access_control": True,
        "audit": True,
        "schemas": {"notes": Note},
        "relations": {"next": "clear"},
        "encryption_key": b"k" * 32,
        "recall": True,
    },
}


def note(number: int) -> dict[str, Any]:
    return {"id": f"n{number}", "text": f"Note {number} of what was said about tea", "n": number}


def put(store: Store) -> Work:
    numbers = count(1_000_000)
    return Work(lambda i: store.put(SPACE, f"n{i}", note(i)), lambda: next(numbers))


def get(store: Store) -> Work:
    found = store.get(SPACE, "n500")
    check(found is not None and found.value == note(500), "get")
    return Work(lambda _: store.get(SPACE, "n500"))


def find(store: Store) -> Work:
    query = Query(SPACE, order="@updated_at", limit=20, exact=True)
    check(len(store.find(query).records) == 20, "find")
    return Work(lambda _: store.find(query))


def scan(store: Store) -> Work:
    query = Query(SPACE, {"n": {"$lt": 10}}, exact=True)
    check(len(store.find(query).records) == 10, "scan")
    return Work(lambda _: store.find(query))


def append(store: Store) -> Work:
    history = ChatHistory(store, None, "s", SPACE[:2])  # type: ignore[arg-type]  # no loop here
    return Work(lambda _: history.add_messages([HumanMessage("hello")]))


def over(work: Callable[[Store], Work]) -> dict[str, Prepare]:
    def prepare(name: str) -> Prepare:
        @contextmanager
        def opened(folder: Path) -> Iterator[Work]:
            with Memory(f"sqlite:///{folder}/m.db", **LAYERS[name]) as memory:
                handle = memory.as_user("ada")
                handle.batch_store([("notes", note(i)) for i in range(1000)])
                yield work(memory._layers.store if name == "the store itself" else handle.backend)

        return opened

    return {name: prepare(name) for name in LAYERS}


CASES = [
    Case("put one document", over(put)),
    Case("get one document of 1,000", over(get)),
    Case("the latest 20 of 1,000", over(find)),
    Case("scan 1,000 for 10", over(scan)),
    Case("append one message", over(append)),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds")
    parser.add_argument("--write", action="store_true", help="rewrite the table in README.md")
    options = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)
    results: list[Result] = []
    with console.status("") as status:
        for case in CASES:
            rounds = 7 if options.quick else 41
            results += measure(case, rounds, 0.005, 5.0, lambda text: status.update(str(text)))
    console.print(report.rich_table(results))
    if options.write:
        before, _, rest = README.read_text().partition(START)
        _, _, after = rest.partition(END)
        table = report.markdown(results, report.machine("sqlite"))
        README.write_text(f"{before}{START}\n{table}\n{END}{after}")


if __name__ == "__main__":
    main()
