"""Many writers at once: threads, processes, coroutines."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from time import monotonic
from typing import Any

from benchmarks.backends import Backend
from benchmarks.cases import over
from benchmarks.cases.documents import _fresh
from benchmarks.contenders import Contender, Opener
from benchmarks.harness import Case, Told, Work, check
from benchmarks.payloads import message

APPENDS = 400
PROCESSES = 4
EACH = 100

_barrier: Any = None  # of a child process


def cases(backend: Backend) -> list[Case]:
    return [
        Case(
            "append, eight threads",
            over(backend.threads, _threads),
            target=1,
            longest=backend.longest_in_threads,
            ops=APPENDS,
            beside=backend.beside_threads,
            both=True,
            rounds=7,
        ),
        Case(
            "append, four processes",
            {name: partial(_processes, opener) for name, opener in backend.processes.items()},
            longest=1,
            ops=PROCESSES * EACH,
            rounds=3,
        ),
        Case(
            "put 100 at once",
            over(backend.together, _together),
            target=2,
            longest=0.005,
            ops=100,
        ),
    ]


def _threads(contender: Contender) -> Work:
    numbers = count()

    def run(_: object) -> Told:
        session = f"session-{next(numbers)}"
        start = threading.Barrier(contender.threads)

        def append(share: int) -> float:
            contender.last(session, 1)  # connects
            start.wait()
            return _append_all(contender, session, share)

        with ThreadPoolExecutor(contender.threads) as pool:
            began = monotonic()
            waits = list(pool.map(append, [APPENDS // contender.threads] * contender.threads))
            seconds = monotonic() - began
        check(len(contender.all(session)) == APPENDS, "everything the threads appended")
        return Told(seconds, max(waits))

    return Work(run)


@contextmanager
def _processes(opener: Opener, folder: Path) -> Iterator[Work]:
    numbers = count()

    def run(_: object) -> Told:
        session = f"session-{next(numbers)}"
        context = multiprocessing.get_context("spawn")
        barrier = context.Barrier(PROCESSES)
        with ProcessPoolExecutor(
            PROCESSES, context, initializer=_join, initargs=(barrier,)
        ) as pool:
            jobs = [pool.submit(_child, opener, folder, session) for _ in range(PROCESSES)]
            told = [job.result() for job in jobs]
        with closing(opener(folder)) as contender:
            stored = len(contender.all(session))
            check(stored == PROCESSES * EACH, "everything the processes appended")
        seconds = max(ended for _, ended, _ in told) - min(began for began, _, _ in told)
        return Told(seconds, max(longest for _, _, longest in told))

    opener(folder).close()  # the tables are there
    yield Work(run)


def _join(barrier: Any) -> None:
    global _barrier
    _barrier = barrier


def _child(opener: Opener, folder: Path, session: str) -> tuple[float, float, float]:
    with closing(opener(folder)) as contender:
        contender.last(session, 1)
        _barrier.wait()
        began = monotonic()
        longest = _append_all(contender, session, EACH)
        return began, monotonic(), longest


def _append_all(contender: Contender, session: str, share: int) -> float:
    """Append so many messages, one at a time; the longest that one of them took."""
    longest = 0.0
    for number in range(share):
        batch = [message(number)]
        began = monotonic()
        contender.add(session, batch)
        longest = max(longest, monotonic() - began)
    return longest


def _together(contender: Contender) -> Work:
    fresh = _fresh(100)
    batch = fresh()
    contender.put_many(batch)
    check(all(contender.get(*item[:2]) == item[2] for item in batch), "100 documents")
    return Work(lambda items: contender.put_many(items), given=fresh)
