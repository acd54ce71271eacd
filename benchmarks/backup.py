"""Backup, verify, restore and drill of many records: how long, and how much memory at most.

    python benchmarks/backup.py [RECORDS] [URL]

Each step runs in a process of its own, whose peak of resident memory is told; before the step
stands what the process takes with nothing done but the imports and the store opened.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from lc_memory import Memory, Record

STEPS = ("fill", "backup .jsonl", "backup .jsonl.gz", "backup .json", "verify", "restore", "drill")


def records(count: int) -> Iterator[Record]:
    """Notes of a thousand users, some 300 bytes each."""
    start = datetime(2026, 1, 1, tzinfo=UTC)
    each = max(1, count // 1000)
    for i in range(count):
        user, number = divmod(i, each)
        when = start + timedelta(microseconds=i)
        value = {"text": f"note {number} " + "lorem ipsum " * 15, "tags": ["a", "b"], "n": i}
        place = ("users", f"user{user:06}", "documents", "notes")
        yield Record(place, f"{number:08}", value, 1, when, when, None, f"user{user:06}")


def run(step: str, count: int, url: str, folder: Path) -> None:
    with Memory(url) as memory:
        before = peak()
        began = time.perf_counter()
        if step == "fill":
            memory.backend.restore(lambda: records(count), [()])
        elif step.startswith("backup"):
            memory.backup_data(folder / f"backup{step.removeprefix('backup ')}")
        elif step == "verify":
            assert memory.backups.verify(folder / "backup.jsonl.gz").count == count
        elif step == "restore":
            assert memory.restore_data(folder / "backup.jsonl.gz") == count
        else:
            assert memory.backups.drill(folder / "backup.jsonl.gz").count == count
        seconds = time.perf_counter() - began
        after = peak()
    print(
        f"{step:20} {seconds:8.1f} s {count / seconds:10,.0f}/s   {before:6.0f} → {after:6.0f} MB"
    )


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    if len(sys.argv) == 5:
        run(sys.argv[1], int(sys.argv[2]), sys.argv[3], Path(sys.argv[4]))
    else:
        count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
        with tempfile.TemporaryDirectory() as folder:
            url = sys.argv[2] if len(sys.argv) > 2 else f"sqlite:///{folder}/memory.db"
            print(f"{count:,} records")
            for step in STEPS:
                program = [sys.executable, __file__, step, str(count), url, folder]
                subprocess.run(program, check=True)
