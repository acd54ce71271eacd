"""Runs a case: every contender in turn, round after round, so that noise hits all alike."""

from __future__ import annotations

import gc
import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Any, TypeAlias

_FEWEST = 7  # rounds


@dataclass(frozen=True)
class Told:
    """What a run says of itself: its time, where the clock around it would not do, and the
    longest that anybody had to wait in it (both in seconds)."""

    seconds: float | None = None
    longest: float | None = None


@dataclass(frozen=True)
class Work:
    """What is timed; ``given`` makes its argument, untimed."""

    run: Callable[[Any], object]
    given: Callable[[], Any] = lambda: None


#: Opens a contender in a fresh folder, checks that it answers rightly, and gives its work.
Prepare: TypeAlias = Callable[[Path], AbstractContextManager[Work]]


@dataclass(frozen=True)
class Case:
    """One payload, given to several contenders; the first is the base of the ratio."""

    name: str
    contenders: Mapping[str, Prepare]
    target: float | None = None  # ours may take so many times the base
    longest: float | None = None  # and nobody may wait for longer, in seconds
    ops: int = 1  # how many operations one run is
    traced: bool = False  # count its fsyncs or its round trips
    beside: str | None = None  # a second base, for a remark
    both: bool = False  # the target is for both bases
    best: bool = False  # the best round counts, instead of the median
    rounds: int | None = None
    large: bool = False  # left out of --quick


@dataclass
class Result:
    """What was measured of one contender in one case; times are in microseconds an operation."""

    case: str
    contender: str
    micros: float | None = None
    ratio: float | None = None
    target: float | None = None
    longest: float | None = None
    longest_target: float | None = None
    cpu: float | None = None
    counts: dict[str, float] = field(default_factory=dict)
    beside: tuple[str, float] | None = None
    both: bool = False
    is_base: bool = False
    remark: str = ""
    rounds: list[float] = field(default_factory=list)
    cpu_rounds: list[float] = field(default_factory=list)

    @property
    def is_ours(self) -> bool:
        return self.contender.startswith("lc_memory")

    @property
    def has_target(self) -> bool:
        """Whether it is ours, and not the base itself, in a case with a target."""
        targeted = self.target is not None or self.longest_target is not None
        return self.is_ours and not self.is_base and targeted

    @property
    def missed(self) -> bool:
        """Whether it is ours and over the target."""
        ratios = [self.ratio or 0, self.beside[1] if self.both and self.beside else 0]
        slow = self.target is not None and max(ratios) > self.target
        late = self.longest is not None and self.longest > (self.longest_target or 1e9)
        return self.has_target and (slow or late)


@dataclass
class _Runner:
    work: Work
    result: Result
    calls: int = 1

    def round(self) -> float:
        """The seconds one run takes, over several."""
        arguments = [self.work.given() for _ in range(self.calls)]
        said = None
        cpu = process_time()
        started = perf_counter()
        for argument in arguments:
            said = self.work.run(argument)
        seconds = (perf_counter() - started) / self.calls
        self.result.cpu_rounds.append((process_time() - cpu) / self.calls)
        if isinstance(said, Told):
            seconds = seconds if said.seconds is None else said.seconds
            if said.longest is not None:
                self.result.longest = max(self.result.longest or 0, said.longest)
        return seconds


def measure(
    case: Case,
    rounds: int,
    budget: float,
    enough: float,
    progress: Callable[[str], object] = print,
) -> list[Result]:
    """Prepare all contenders, then time them in interleaved rounds of ``budget`` seconds each,
    for ``enough`` seconds in all if there are seven by then."""
    results: list[Result] = []
    with ExitStack() as stack:
        runners: list[_Runner] = []
        for name, prepare in case.contenders.items():
            progress(f"{case.name}: {name} prepares")
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-")))
            result = Result(
                case.name,
                name,
                target=case.target,
                longest_target=case.longest,
                both=case.both,
            )
            try:
                work = stack.enter_context(prepare(folder))
            except NotImplementedError:  # it has no such thing
                continue
            except ImportError as error:
                result.remark = f"not installed ({error.name or error})"
            else:
                runners.append(_Runner(work, result))
            results.append(result)
        took = 0.0
        for runner in runners:
            once = runner.round()  # warms up
            runner.calls = 1 if case.best else max(1, min(200, round(budget / max(once, 1e-7))))
            took += once * runner.calls
            runner.result.longest = None
            runner.result.cpu_rounds.clear()
        gc.collect()
        gc.freeze()
        os.sync()  # what others left to be written would slow the first commits
        count = case.rounds or max(_FEWEST, min(rounds, int(enough / took)))
        for number in range(count):
            progress(f"{case.name}: round {number + 1} of {count}")
            turn = number % len(runners)
            for runner in runners[turn:] + runners[:turn]:
                runner.result.rounds.append(runner.round() / case.ops * 1e6)
        gc.unfreeze()
    _compare(case, [runner.result for runner in runners])
    return results


def _compare(case: Case, results: list[Result]) -> None:
    by_name = {result.contender: result for result in results}
    base = by_name.get(next(iter(case.contenders)))
    second = by_name.get(case.beside or "")
    if base is not None:
        base.is_base = True
    for result in results:
        result.micros = (min if case.best else median)(result.rounds)
        if case.traced:
            result.cpu = median(result.cpu_rounds) / case.ops * 1e6
        result.ratio = None if base is None else _ratio(case, result, base)
        if second and result is not second:
            result.beside = second.contender, _ratio(case, result, second)


def _ratio(case: Case, result: Result, base: Result) -> float:
    """How many times the base. Round by round: a slow spell of the disk hits both alike."""
    if case.best:
        return min(result.rounds) / min(base.rounds)
    return median(mine / its for mine, its in zip(result.rounds, base.rounds, strict=True))


def check(is_right: bool, what: str) -> None:
    """Raise unless the contender gave the right answer: a wrong one is not worth timing."""
    if not is_right:
        raise AssertionError(f"wrong answer: {what}")
