"""The index of vectors in memory, beside comparing all of them one by one."""

from __future__ import annotations

import random

import numpy as np
import pytest

from lc_memory.records import Id, Limits
from lc_memory.search.asking import Scope
from lc_memory.search.vectors import Entry, MemoryVectors, unit

SPACES = [("a",), ("a", "x"), ("b",), ("b", "x", "y"), ("ab",)]
SCOPES = [
    Scope(),
    Scope((("a",),)),
    Scope((("b", "x"), ("ab",))),
    Scope(within=Limits((("a", "x"),), frozenset({(("b",), "3"), (("ab",), "5")}))),
    Scope((("b",),), Limits((), frozenset({(("b",), "3"), (("a",), "3")}))),
    Scope((("nowhere",),)),
]


def like(entry: Entry, asked: list[float]) -> float:
    return float(unit(entry.vector) @ unit(asked))


@pytest.mark.parametrize("seed", range(8))
def test_it_is_in_step_with_every_change(seed: int) -> None:
    chance = random.Random(seed)
    index, held = MemoryVectors(), dict[Id, Entry]()
    for step in range(400):
        id = chance.choice(SPACES), str(chance.randrange(80))
        match chance.choice(["put", "put", "put", "remove", "clear" if step % 50 == 0 else "put"]):
            case "put":
                vector = np.array([chance.choice([-2, -1, 0, 1, 3]) for _ in range(4)], np.float32)
                held[id] = Entry(id, f"{step}", vector)
                index.put([held[id]])
            case "remove":
                held.pop(id, None)
                index.remove([id, (("nobody",), "1")])
            case _:
                held = {i: entry for i, entry in held.items() if i[0][:1] != id[0][:1]}
                index.clear(id[0][:1])
        if step % 20:
            continue
        assert index.marks(()) == {id: entry.mark for id, entry in held.items()}
        assert {id: e.mark for id, e in index.fetch([*held, id]).items()} == index.marks(())
        marks = {id: "another", **index.marks(())}
        marks[next(iter(marks))] = "another"
        assert index.stale(marks) == [i for i in marks if i not in held or held[i].mark != marks[i]]
        rows = index.matrix(marks)
        if rows is not None:
            for i, row in zip(marks, rows, strict=True):
                assert row == pytest.approx(unit(held[i].vector) if i in held else np.zeros(4))
        asked = [chance.random() for _ in range(4)]
        for scope in SCOPES:
            for limit in (1, 7, 1000):
                found = index.nearest(unit(asked), scope, limit)
                there = [entry for entry in held.values() if scope.covers(entry.id)]
                best = sorted((like(entry, asked) for entry in there), reverse=True)
                assert len(set(found)) == len(found)
                assert all(scope.covers(id) for id in found)
                assert [like(held[id], asked) for id in found] == pytest.approx(best[:limit])


def test_what_was_fetched_stays_as_it_was() -> None:
    index, id = MemoryVectors(), (("a",), "1")
    index.put([Entry(id, "1", np.array([3.0, 0.0]))])
    before = index.fetch([id])[id]
    index.put([Entry(id, "2", np.array([0.0, 2.0]))])
    assert before.vector.tolist() == [1, 0]
    assert index.fetch([id])[id].vector.tolist() == [0, 1]


def test_started_anew_it_takes_vectors_of_another_size() -> None:
    index = MemoryVectors()
    index.put([Entry((("a",), "1"), "1", np.array([1.0, 0.0]))])
    index.start_anew()
    assert index.nearest(np.array([1.0, 0.0]), Scope(), 5) == []
    index.put([Entry((("a",), "2"), "1", np.array([1.0, 0.0, 0.0]))])
    assert index.nearest(np.array([1.0, 0.0, 0.0]), Scope(), 5) == [(("a",), "2")]
