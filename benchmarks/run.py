"""``python benchmarks/run.py``: ours beside the raw driver and the peers, in one run."""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from rich.console import Console

from benchmarks import places, report, traced
from benchmarks.backends import BACKENDS
from benchmarks.cases import cases_of
from benchmarks.cases.startup import slowest_imports
from benchmarks.harness import Case, Result, measure


def main() -> None:
    options = _options()
    warnings.filterwarnings("ignore", category=DeprecationWarning)
    console = Console(width=None if sys.stdout.isatty() else 140)
    results: list[Result] = []
    cases = [case for case in cases_of(BACKENDS[options.backend]) if _wanted(case, options)]
    if not cases:
        sys.exit(f"no case has {options.only!r} in its name")
    shape = report.machine(options.backend)
    with console.status("") as status, places.running(options.backend):
        for case in cases:
            rounds, budget = (11, 0.005) if options.quick else (61, 0.005)
            enough = 8.0 if options.backend == "sqlite" else 4.0
            measured = measure(case, rounds, budget, enough, lambda text: status.update(str(text)))
            if case.traced and not options.quick:
                status.update(f"{case.name}: strace counts")
                _count(options.backend, measured)
            results += measured
            if options.write:  # each, should the next be interrupted
                command = f"benchmarks/run.py --backend {options.backend} --write"
                report.rewrite(options.backend, command, report.markdown(results, shape))
    console.print(report.rich_table(results))
    console.print(", ".join(f"{name}: {value}" for name, value in shape.items()), highlight=False)
    if options.verbose:
        console.print("slowest imports of Memory(...):", *_imports(), sep="\n")
    if options.json:
        options.json.write_text(json.dumps(report.as_json(results, shape), indent=1))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few rounds, no large cases")
    parser.add_argument("--only", metavar="NAME", help="the cases with this in their name")
    parser.add_argument("--backend", choices=BACKENDS, default="sqlite")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there too")
    parser.add_argument("--write", action="store_true", help="rewrite the table in results/")
    parser.add_argument("--verbose", action="store_true", help="show the slowest imports")
    return parser.parse_args()


def _wanted(case: Case, options: argparse.Namespace) -> bool:
    return not (options.quick and case.large) and (options.only or "") in case.name


def _count(backend: str, results: list[Result]) -> None:
    for result in results:
        if result.micros is None:
            continue
        if traced.available():
            result.counts = traced.count(backend, result.case, result.contender)
        else:
            result.remark = "nothing counted: no strace here"


def _imports() -> list[str]:
    program = "from lc_memory import Memory\nMemory('sqlite:///:memory:').close()"
    return slowest_imports(program)


if __name__ == "__main__":
    main()
