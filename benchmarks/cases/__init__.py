"""The cases, each a payload and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.backends import Backend, Contenders
from benchmarks.contenders import Contender, Opener
from benchmarks.harness import Case, Prepare, Work


def over(
    contenders: Contenders, work: Callable[[Contender], Work], index: str | None = None
) -> dict[str, Prepare]:
    """The same work for each contender."""

    @contextmanager
    def prepare(opener: Opener, folder: Path) -> Iterator[Work]:
        with closing(opener(folder, index)) as contender:
            yield work(contender)

    return {name: partial(prepare, opener) for name, opener in contenders.items()}


def cases_of(backend: Backend) -> list[Case]:
    from benchmarks.cases import at_once, documents, messages, searching, startup

    cases = [
        *messages.cases(backend),
        *documents.cases(backend),
        *searching.cases(backend),
        *at_once.cases(backend),
        *startup.cases(),
    ]
    if backend.cases is None:
        return cases
    return [
        replace(case, target=backend.cases[case.name])
        for case in cases
        if case.name in backend.cases
    ]
