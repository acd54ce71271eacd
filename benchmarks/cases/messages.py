"""Chat messages: appending one, reading the latest, reading all."""

from __future__ import annotations

from functools import partial
from itertools import count

from langchain_core.messages import BaseMessage, message_to_dict

from benchmarks.backends import Backend
from benchmarks.cases import over
from benchmarks.contenders import Contender
from benchmarks.harness import Case, Work, check
from benchmarks.payloads import message, messages

SESSION = "session"


def cases(backend: Backend) -> list[Case]:
    last = [
        Case(
            f"last 20 of {size:,} messages",
            over(backend.reading, partial(_last, size=size)),
            target=3,
            beside=backend.beside_reading,
        )
        for size in (1_000, 10_000)
    ]
    return [
        Case(
            "append one message",
            over(backend.messages, partial(_append, 3)),
            target=1.5,
            traced=True,
        ),
        Case(
            "append 100 messages at once",
            over(backend.batches, _append_many),
            target=2,
            ops=100,
            traced=True,
        ),
        *(
            Case(f"append one message to {size:,}", over(backend.messages, partial(_append, size)))
            for size in (100, 10_000)
        ),
        *last,
        Case(
            "all of 1,000 messages",
            over(backend.reading, _all),
            target=3,
            beside=backend.beside_reading,
        ),
    ]


def _append(size: int, contender: Contender) -> Work:
    contender.fill(SESSION, messages(size))
    numbers = count(size)
    for _ in range(3):
        contender.add(SESSION, [message(next(numbers))])
    check(list(contender.all(SESSION)) == messages(size + 3), f"{size + 3} messages")
    return Work(lambda given: contender.add(SESSION, given), given=lambda: [message(next(numbers))])


def _append_many(contender: Contender) -> Work:
    batch = messages(100)
    contender.add(SESSION, batch)
    contender.add(SESSION, batch)
    check(list(contender.all(SESSION)) == batch * 2, "200 messages")
    return Work(lambda _: contender.add(SESSION, batch))


def _last(contender: Contender, size: int) -> Work:
    stored = messages(size)
    contender.fill(SESSION, stored)
    _same(contender.last(SESSION, 20), stored[-20:])
    return Work(lambda _: contender.last(SESSION, 20))


def _all(contender: Contender) -> Work:
    stored = messages(1_000)
    contender.fill(SESSION, stored)
    _same(contender.all(SESSION), stored)
    return Work(lambda _: contender.all(SESSION))


def _same(got: object, stored: list[BaseMessage]) -> None:
    assert isinstance(got, list)
    wanted = stored if isinstance(got[0], BaseMessage) else list(map(message_to_dict, stored))
    check(got == wanted, f"{len(stored)} messages")
