"""Documents: putting and getting one, and many."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from benchmarks.backends import Backend
from benchmarks.cases import over
from benchmarks.contenders import Contender, Item
from benchmarks.harness import Case, Work, check
from benchmarks.payloads import document

NAMESPACE = ("documents", "conversation_history")


def cases(backend: Backend) -> list[Case]:
    case = _over(backend)
    return [
        case("put one new document", _put_new, target=1.5, traced=True),
        case("put one document again", _put_again, target=1.5, traced=True),
        case("get one document of 1,000", _get, target=3, traced=True),
        case("get 100 of 100 namespaces", _get_many, target=2, ops=100, traced=True),
        case("put 1,000 new in one batch", _put_many, target=1.3, ops=1_000, traced=True),
        Case(
            "put 1,000 new, one index",
            over(backend.documents, _put_many, "timestamp"),
            ops=1_000,
            traced=True,
        ),
        case("first 100 of 10,000 namespaces", _namespaces, target=3),
    ]


def _over(backend: Backend) -> Callable[..., Case]:
    def case(name: str, work: Callable[[Contender], Work], **options: float) -> Case:
        return Case(name, over(backend.documents, work), **options)  # type: ignore[arg-type]

    return case


def _fresh(size: int) -> Callable[[], list[Item]]:
    """Makes batches of documents that are not there yet."""
    numbers = count()

    def batch() -> list[Item]:
        start = next(numbers) * size
        keys = [f"doc-{number:08d}" for number in range(start, start + size)]
        return [(NAMESPACE, key, document(i, key)) for i, key in enumerate(keys)]

    return batch


def _put_new(contender: Contender) -> Work:
    fresh = _fresh(1)
    _put_and_check(contender, fresh()[0])
    return Work(lambda item: contender.put(*item), given=lambda: fresh()[0])


def _put_again(contender: Contender) -> Work:
    batch = _fresh(1_000)()
    contender.put_many(batch)
    _put_and_check(contender, batch[0])
    numbers = count()

    def changed() -> Item:
        number = next(numbers)
        namespace, key, value = batch[number * 7 % len(batch)]
        return namespace, key, {**value, "score": number}  # the same again would not be written

    return Work(lambda item: contender.put(*item), given=changed)


def _get(contender: Contender) -> Work:
    batch = _fresh(1_000)()
    contender.put_many(batch)
    check(contender.get(*batch[7][:2]) == batch[7][2], "one document")
    check(contender.get(NAMESPACE, "nobody") is None, "an absent document")
    numbers = count()
    return Work(
        lambda item: contender.get(*item[:2]), given=lambda: batch[next(numbers) * 7 % len(batch)]
    )


def _get_many(contender: Contender) -> Work:
    items = [(("users", f"user-{i:03d}"), f"doc-{i}", document(i)) for i in range(1_000)]
    contender.put_many(items)
    wanted = items[::10]
    ids = [item[:2] for item in wanted]
    check(contender.get_many(ids) == [item[2] for item in wanted], "100 documents")
    return Work(lambda _: contender.get_many(ids))


def _put_many(contender: Contender) -> Work:
    fresh = _fresh(1_000)
    batch = fresh()
    contender.put_many(batch)
    check(all(contender.get(*item[:2]) == item[2] for item in batch), "1,000 documents")
    return Work(lambda items: contender.put_many(items), given=fresh)


def _namespaces(contender: Contender) -> Work:
    items = [(("users", f"user-{i // 2:05d}"), f"doc-{i}", {"n": i}) for i in range(20_000)]
    for start in range(0, len(items), 2_000):
        contender.put_many(items[start : start + 2_000])
    wanted = [("users", f"user-{i:05d}") for i in range(100)]
    check(contender.namespaces(100) == wanted, "100 namespaces")
    return Work(lambda _: contender.namespaces(100))


def _put_and_check(contender: Contender, item: Item) -> None:
    contender.put(*item)
    check(contender.get(*item[:2]) == item[2], "one document")
