"""Workers that are killed (SIGKILL) at random moments, hundreds of them in seconds.

A *nursery* is a process that has imported everything and forks a worker for each kill, so that
its time goes into working. A worker is a function ``work(say, *args)`` of :mod:`tests.jobs.work`
that never ends. It says which phase it enters, and ``=…`` for what is done and acknowledged.
"""

from __future__ import annotations

import gc
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import IO, Any, Self

#: Tells the phase that a worker enters.
Say = Callable[[str], None]


class Nursery:
    """Forks workers and kills them, until the block ends."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(
            [sys.executable, "-c", "from tests.forks import serve; serve()"],
            env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._asked, self._told = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._asked.close()
        self._told.close()
        self._process.wait()

    def kills(self, times: int, work: str, *phases: str, args: Any) -> Iterator[list[str]]:
        """Kill so many workers at random moments, the phases in turn, a third of them when the
        phase comes for the second time; gives what each one said.

        The moment is drawn over the time that the phase took when it was measured, in a worker
        that was killed too. ``args`` are the worker's, or give them when asked.
        """
        seed = int(os.environ.get("KILL_SEED") or secrets.randbits(32))
        print(f"KILL_SEED={seed}")  # noqa: T201 - shown when a test fails
        chance = random.Random(seed)
        given = args if callable(args) else lambda: args
        said, took = self._ask(work, given(), "", len(phases) * 3)
        yield said
        for number in range(times - 1):
            phase = phases[number % len(phases)]
            rounds = 2 if number // len(phases) % 3 == 2 else 1
            said, _ = self._ask(work, given(), phase, rounds, chance.uniform(0, took[phase]))
            yield said

    def _ask(
        self, work: str, args: Any, phase: str, patience: int, after: float = 0.0
    ) -> tuple[list[str], dict[str, float]]:
        self._asked.write(json.dumps([work, args, phase, patience, after]) + "\n")
        self._asked.flush()
        said, took, status = json.loads(self._told.readline())
        assert status == -signal.SIGKILL, f"{work} ended by itself: {said}"
        return said, took


# -- in the nursery ----------------------------------------------------------------------------


def serve() -> None:
    """Fork, wait, kill and tell, for each line of the standard input."""
    from tests.jobs import work

    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        name, args, phase, patience, after = json.loads(line)
        ours, theirs = os.pipe()
        child = os.fork()
        if not child:
            _live(getattr(work, name), args, theirs)
        os.close(theirs)
        with open(ours) as heard:
            said, took = _listened(heard, phase, patience)
            time.sleep(after)
            os.kill(child, signal.SIGKILL)
            said += [line.rstrip("\n") for line in heard if line.endswith("\n")]
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps([said, took, os.waitstatus_to_exitcode(status)]) + "\n")
        sys.stdout.flush()


def _live(work: Callable[..., None], args: Any, heard: int) -> None:
    os.dup2(2, 1)  # what it prints is not for who waits

    def say(what: str) -> None:
        os.write(heard, f"{what}\n".encode())

    try:
        work(say, *args)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)


def _listened(heard: IO[str], phase: str, patience: int) -> tuple[list[str], dict[str, float]]:
    """What was said until a phase (or any, if it is empty) began for the nth time, and how long
    each phase took at its longest, in seconds."""
    said: list[str] = []
    took: dict[str, float] = {}
    last, since = "", time.monotonic()
    for line in heard:
        said.append(line.rstrip("\n"))
        if not said[-1].startswith("="):
            now = time.monotonic()
            took[last] = max(took.get(last, 0.0), now - since)
            last, since = said[-1], now
            patience -= phase in ("", last)
            if not patience or len(took) * 100 < len(said):  # or it will never come
                break
    return said, took
