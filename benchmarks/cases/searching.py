"""Filters: ten documents of many, by an indexed field and by a scan."""

from __future__ import annotations

from functools import partial

from benchmarks.backends import Backend
from benchmarks.cases import over
from benchmarks.contenders import Contender, Document
from benchmarks.harness import Case, Work, check
from benchmarks.payloads import document, timestamp

NAMESPACE = ("documents", "conversation_history")
FIELD = "timestamp"


def cases(backend: Backend) -> list[Case]:
    found = [
        Case(
            f"indexed {sign}: 10 of {size:,}",
            over(backend.documents, partial(work, size=size), FIELD),
            target=3,
            large=size > 10_000,
        )
        for sign, work in (("$eq", _equal), ("$gte", _at_least))
        for size in (10_000, 100_000)
    ]
    wide = [
        Case(
            f"{name} of {size:,}",
            over(backend.documents, partial(work, size=size), FIELD),
            large=size > 10_000,
            rounds=5,
        )
        for name, work in (("indexed $gte: 10 of the half", _half), ("latest 10 by index", _latest))
        for size in (10_000, 100_000)
    ]
    scans = [
        Case(
            f"scan for 10 of {size:,}, no index",
            over(backend.documents, partial(_at_least, size=size)),
            large=size > 10_000,
            rounds=5,
        )
        for size in (10_000, 100_000)
    ]
    return [*found, *wide, *scans]


def _equal(contender: Contender, size: int) -> Work:
    _fill(contender, size)
    value = timestamp(size // 2)
    _ten(contender.equal(NAMESPACE, FIELD, value), size // 2)
    return Work(lambda _: contender.equal(NAMESPACE, FIELD, value))


def _at_least(contender: Contender, size: int) -> Work:
    _fill(contender, size)
    value = timestamp(size - 1)
    _ten(contender.at_least(NAMESPACE, FIELD, value), size - 10)
    return Work(lambda _: contender.at_least(NAMESPACE, FIELD, value))


def _half(contender: Contender, size: int) -> Work:
    """Half of the documents match, and any ten (or the newest ten) are asked for."""
    _fill(contender, size)
    value = timestamp(size // 2)
    found = contender.at_least(NAMESPACE, FIELD, value)
    check(len(found) == 10 and all(one[FIELD] >= value for one in found), "ten of the half")
    return Work(lambda _: contender.at_least(NAMESPACE, FIELD, value))


def _latest(contender: Contender, size: int) -> Work:
    _fill(contender, size)
    _ten(contender.latest(NAMESPACE, FIELD), size - 10)
    return Work(lambda _: contender.latest(NAMESPACE, FIELD))


def _fill(contender: Contender, size: int) -> None:
    for start in range(0, size, 2_000):
        numbers = range(start, min(start + 2_000, size))
        contender.put_many([(NAMESPACE, f"doc-{i:06d}", document(i)) for i in numbers])


def _ten(got: list[Document], first: int) -> None:
    wanted = [document(number) for number in range(first, first + 10)]
    check(sorted(got, key=lambda value: str(value["id"])) == wanted, "ten documents")
