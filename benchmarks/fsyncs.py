"""How many fsyncs a call costs: strace counts them in a process of its own.

``python benchmarks/fsyncs.py BACKEND CASE CONTENDER CALLS`` is that process.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.backends import BACKENDS
from benchmarks.cases import cases_of

_FEW, _MANY = 5, 25


def available() -> bool:
    return shutil.which("strace") is not None


def count(backend: str, case: str, contender: str) -> float:
    """The fsyncs of one call: what many calls cost more than few do."""
    few, many = (_traced(backend, case, contender, calls) for calls in (_FEW, _MANY))
    return (many - few) / (_MANY - _FEW)


def _traced(backend: str, case: str, contender: str, calls: int) -> int:
    with tempfile.NamedTemporaryFile("r", prefix="strace-") as log:
        trace = ["strace", "-f", "--seccomp-bpf", "-e", "trace=fsync,fdatasync", "-o", log.name]
        program = [sys.executable, __file__, backend, case, contender, str(calls)]
        subprocess.run([*trace, *program], check=True, stderr=subprocess.DEVNULL)
        return sum("sync(" in line for line in log)


def _run(backend: str, case_name: str, contender: str, calls: int) -> None:
    (case,) = (case for case in cases_of(BACKENDS[backend]) if case.name == case_name)
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as folder,
        case.contenders[contender](Path(folder)) as work,
    ):
        for _ in range(calls):
            work.run(work.given())


if __name__ == "__main__":
    _run(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
