"""What a call asks of the system: strace counts fsyncs, or round trips to a server, in a process
of its own.

``python benchmarks/traced.py BACKEND CASE CONTENDER`` is that process.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.backends import BACKENDS
from benchmarks.cases import cases_of

_WARM, _CALLS = 7, 20
_MARK = "/benchmark-mark"  # asked for before the first call that counts, and after the last


def available() -> bool:
    return shutil.which("strace") is not None


def count(backend: str, case: str, contender: str) -> dict[str, float]:
    """The fsyncs of one call; or, where a server does them, its round trips."""
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
        calls = "trace=fsync,fdatasync,sendto,recvfrom,access,faccessat"
        trace = ["strace", "-f", "--seccomp-bpf", "-e", calls, "-o", log.name]
        program = [sys.executable, __file__, backend, case, contender]
        subprocess.run([*trace, *program], check=True, stderr=subprocess.DEVNULL)
        lines = list(log)
    first, last = (number for number, line in enumerate(lines) if _MARK in line)
    lines = lines[first:last]
    if BACKENDS[backend].server:
        thread = lines[0].split()[0]  # others only ask whether the server is still there
        return {"round trips": _trips(lines, thread) / _CALLS}
    return {"fsyncs": sum("sync(" in line for line in lines) / _CALLS}


def _trips(lines: Iterable[str], thread: str) -> int:
    """How often the thread sent something after it had received something."""
    trips, sending = 0, False
    for line in lines:
        if line.startswith(thread + " "):
            if "sendto" in line:
                trips += not sending
                sending = True
            elif "recvfrom" in line and "EAGAIN" not in line:
                sending = False
    return trips


def _run(backend: str, case_name: str, contender: str) -> None:
    (case,) = (case for case in cases_of(BACKENDS[backend]) if case.name == case_name)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        case.contenders[contender](Path(folder)) as work,
    ):
        given = [work.given() for _ in range(_WARM + _CALLS)]
        for argument in given[:_WARM]:
            work.run(argument)
        os.access(_MARK, os.F_OK)
        for argument in given[_WARM:]:
            work.run(argument)
        os.access(_MARK, os.F_OK)


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2], sys.argv[3])
