"""Reindexing of words in a database: killed at any moment, it goes on where it was."""

from __future__ import annotations

import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from lc_memory import Memory
from lc_memory.search.texts import tokens_of
from lc_memory.stores import sql_words
from lc_memory.stores.sql import SQLStore
from tests.servers import Server

RECORDS, PAGE = 95, 10


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/memory.db"
    server: Server = request.getfixturevalue(request.param)
    made: str = request.getfixturevalue("own_database")(server)
    return made


def reindex_and_die(url: str, after: int) -> None:
    """Reindex, and be killed within a page's transaction, at this record."""
    seen = 0

    def counting(record: object) -> list[str]:
        nonlocal seen
        seen += 1
        if seen == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return tokens_of(record)  # type: ignore[arg-type]

    sql_words._PAGE = PAGE  # type: ignore[misc]
    with Memory(url, recall=True) as memory:
        sql_words.tokens_of = counting
        memory.reindex()


def killed(url: str, after: int) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=reindex_and_die, args=(url, after)
    )
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL


def words(memory: Memory) -> set[int]:
    """The ids in the database's own table."""
    store = memory._layers.store
    assert isinstance(store, SQLStore)
    column = sql_words.dialect_of(store._db).id
    return {int(id) for (id,) in store._db.select(f"SELECT {column} FROM lc_memory_words", [])}


def test_it_goes_on_where_it_was_killed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql_words, "_PAGE", PAGE)
    with Memory(url, recall=True) as memory:
        for number in range(RECORDS):
            memory.store_memory("notes", {"id": f"{number:03}", "text": f"peanut number{number}"})
        store = memory._layers.store
        assert isinstance(store, SQLStore)
        whole, column = words(memory), sql_words.dialect_of(store._db).id
        assert len(whole) == RECORDS
        lost = [min(whole), max(whole)]
        store._db.transact(
            lambda session: session.run(
                f"DELETE FROM lc_memory_words WHERE {column} IN (?, ?)", lost
            )
        )
        assert words(memory) == whole - set(lost)
    killed(url, after=35)
    with Memory(url, recall=True) as memory:
        # Three pages are done, the fourth is not; nothing that was found before is missing.
        assert words(memory) == whole - {max(whole)}
        assert len(memory.recall("peanut", k=200)) == RECORDS - 1
        memory.store_memory("notes", {"id": "100", "text": "a peanut of meanwhile"})
    killed(url, after=15)
    with Memory(url, recall=True) as memory:
        seen: list[tuple[int, int]] = []
        made = memory.reindex(lambda done, total: seen.append((done, total)))
        assert made == RECORDS + 1
        assert seen[0][0] >= 50  # four pages were done, and this is the fifth
        assert seen == sorted(seen)
        assert seen[-1][0] == seen[-1][1]
        assert len(words(memory)) == RECORDS + 1
        assert len(memory.recall("peanut", k=200)) == RECORDS + 1
        seen.clear()
        memory.reindex(lambda done, total: seen.append((done, total)))
        assert seen[0][0] <= PAGE  # the next one begins at the beginning
        assert len(words(memory)) == RECORDS + 1


def test_words_of_no_record_are_removed(url: str) -> None:
    with Memory(url, recall=True) as memory:
        memory.store_memory("notes", {"id": "1", "text": "peanuts"})
        store = memory._layers.store
        assert isinstance(store, SQLStore)
        if store._db.engine.dialect.name == "sqlite":  # elsewhere the database lets in none
            insert = "INSERT INTO lc_memory_words (rowid, words) VALUES (999, 'xxpeanut')"
            store._db.transact(lambda session: session.run(insert))
            assert 999 in words(memory)
        assert memory.reindex() == 1
        assert len(words(memory)) == 1
