"""Filters: ten documents of many, by an indexed field and by a scan."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.backends import Backend, Contenders
from benchmarks.contenders import Contender, Document, Opener
from benchmarks.harness import Case, Prepare, Work, check
from benchmarks.payloads import document, timestamp

NAMESPACE = ("documents", "conversation_history")
FIELD = "timestamp"


def cases(backend: Backend) -> list[Case]:
    over = partial(_over_stocked, backend.documents)
    found = [
        Case(
            f"indexed {sign}: 10 of {size:,}",
            over(work, size, FIELD),
            target=3,
            large=size > 10_000,
        )
        for sign, work in (("$eq", _equal), ("$gte", _at_least))
        for size in (10_000, 100_000)
    ]
    wide = [
        Case(
            f"{name} of {size:,}",
            over(work, size, FIELD),
            large=size > 10_000,
            rounds=5,
        )
        for name, work in (("indexed $gte: 10 of the half", _half), ("latest 10 by index", _latest))
        for size in (10_000, 100_000)
    ]
    scans = [
        Case(
            f"scan for 10 of {size:,}, no index",
            over(_at_least, size),
            large=size > 10_000,
            rounds=5,
        )
        for size in (10_000, 100_000)
    ]
    return [*found, *wide, *scans]


def _over_stocked(
    contenders: Contenders,
    work: Callable[[Contender, int], Work],
    size: int,
    index: str | None = None,
) -> dict[str, Prepare]:
    """The same work for each contender, on a copy of what was filled once."""

    @contextmanager
    def prepare(opener: Opener, folder: Path) -> Iterator[Work]:
        shutil.copytree(_stock(opener, size, index).name, folder, dirs_exist_ok=True)
        with closing(opener(folder, index)) as contender:
            yield work(contender, size)

    return {name: partial(prepare, opener) for name, opener in contenders.items()}


@cache
def _stock(opener: Opener, size: int, index: str | None) -> TemporaryDirectory[str]:
    folder = TemporaryDirectory(prefix="bench-")
    with closing(opener(Path(folder.name), index)) as contender:
        for start in range(0, size, 2_000):
            numbers = range(start, min(start + 2_000, size))
            contender.put_many([(NAMESPACE, f"doc-{i:06d}", document(i)) for i in numbers])
    return folder


def _equal(contender: Contender, size: int) -> Work:
    value = timestamp(size // 2)
    _ten(contender.equal(NAMESPACE, FIELD, value), size // 2)
    return Work(lambda _: contender.equal(NAMESPACE, FIELD, value))


def _at_least(contender: Contender, size: int) -> Work:
    value = timestamp(size - 1)
    _ten(contender.at_least(NAMESPACE, FIELD, value), size - 10)
    return Work(lambda _: contender.at_least(NAMESPACE, FIELD, value))


def _half(contender: Contender, size: int) -> Work:
    """Half of the documents match, and any ten (or the newest ten) are asked for."""
    value = timestamp(size // 2)
    found = contender.at_least(NAMESPACE, FIELD, value)
    check(len(found) == 10 and all(one[FIELD] >= value for one in found), "ten of the half")
    return Work(lambda _: contender.at_least(NAMESPACE, FIELD, value))


def _latest(contender: Contender, size: int) -> Work:
    _ten(contender.latest(NAMESPACE, FIELD), size - 10)
    return Work(lambda _: contender.latest(NAMESPACE, FIELD))


def _ten(got: list[Document], first: int) -> None:
    wanted = [document(number) for number in range(first, first + 10)]
    check(sorted(got, key=lambda value: str(value["id"])) == wanted, "ten documents")
