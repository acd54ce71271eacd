"""What older versions wrote opens and upgrades; what newer ones wrote is refused.

``tests/fixtures/formats`` holds what each release wrote (``tests/fixtures/make.py``).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from lc_memory import BackupError, Memory, NewerFormat, Query, StoreError, __version__
from lc_memory.stores import formats, journal, mongo_client, schema
from lc_memory.stores.sql import SQLStore
from tests.fixtures.make import KEY, PASSPHRASE

RELEASES = sorted((Path(__file__).parents[1] / "fixtures" / "formats").iterdir())
STORES = ["memory.db", "memory.json", "memory.yaml", "memory.csv", "memory.pickle", "killed.json"]
NEXT = schema.VERSION + 1
BACKUPS = ["backup.json", "backup.jsonl", "backup.jsonl.gz", "backup.jsonl.zst"]


@pytest.fixture(params=RELEASES, ids=lambda folder: folder.name)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A copy of what one release wrote."""
    return Path(shutil.copytree(request.param, tmp_path / "fixtures"))


def records(memory: Memory) -> list[str]:
    return [repr(r) for r in memory.backend.records(Query(expired=True))]


def url_of(path: Path) -> str:
    return f"{'sqlite' if path.suffix == '.db' else path.suffix[1:]}:///{path}"


@pytest.mark.parametrize("name", STORES)
def test_a_store_of_an_older_release_opens_and_goes_on(folder: Path, name: str) -> None:
    expected = (folder / f"{Path(name).stem}.txt").read_text().splitlines()
    with Memory(url_of(folder / name)) as memory:
        assert records(memory) == expected
        memory.store_memory("new", {"id": "1"})
    with Memory(url_of(folder / name)) as memory:
        assert len(records(memory)) == len(expected) + 1
        assert memory.chat_history("s").messages[0].content == "hello\n--- world"


@pytest.mark.parametrize("name", [*BACKUPS, "sealed.jsonl", "passphrase.jsonl"])
def test_a_backup_of_an_older_release_is_restored(folder: Path, name: str) -> None:
    key = {"sealed.jsonl": KEY, "passphrase.jsonl": PASSPHRASE}.get(name)
    with Memory("memory://") as memory:
        memory.restore_data(folder / name, key=key)
        assert records(memory) == (folder / "memory.txt").read_text().splitlines()


@pytest.mark.parametrize("kind", ["json", "yaml", "csv", "pickle"])
def test_a_file_of_a_newer_release_is_refused_and_left_alone(
    folder: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / f"memory.{kind}"
    before = path.read_bytes()
    for module in (formats, journal):
        with monkeypatch.context() as newer:
            newer.setattr(module, "VERSION", 2)
            newer.setattr(module, "__version__", "9.8.0rc1")
            with Memory(url_of(path)) as memory:
                memory.store_memory("new", {"id": "1"})
        written = path.read_bytes()
        with pytest.raises(NewerFormat) as refused:
            Memory(url_of(path))
        assert "was written by lc_memory 9.8.0rc1 (format 2)" in str(refused.value)
        assert f"this is {__version__}, which reads up to format 1" in str(refused.value)
        assert 'pip install "lc-memory>=9.8.0rc1"' in str(refused.value)
        assert path.read_bytes() == written
        shutil.copytree(RELEASES[0], folder, dirs_exist_ok=True)
        assert path.read_bytes() == before


# -- upgrading a database ----------------------------------------------------------------------


@pytest.fixture
def next_format(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A further version of the tables, whose statements a test may change."""
    statements = [
        "ALTER TABLE lc_memory_records ADD COLUMN note TEXT",
        "UPDATE lc_memory_records SET note = 'upgraded'",
    ]

    def upgrade(dialect: sa.Dialect) -> list[str]:
        return statements

    monkeypatch.setattr(schema, "MIGRATIONS", (*schema.MIGRATIONS, upgrade))
    monkeypatch.setattr(schema, "VERSION", NEXT)
    return statements


def state(path: Path) -> tuple[int, bool]:
    with contextlib.closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("SELECT version FROM lc_memory_schema").fetchone()
        columns = database.execute("SELECT name FROM pragma_table_info('lc_memory_records')")
        return version, ("note",) in columns.fetchall()


def test_an_upgrade_is_whole_or_did_not_happen(folder: Path, next_format: list[str]) -> None:
    path = folder / "memory.db"
    next_format.append("UPDATE nothing SET x = 1")
    with pytest.raises(StoreError, match="nothing"):
        Memory(url_of(path))
    assert state(path) == (1, False)
    next_format.pop()
    with Memory(url_of(path)) as memory:
        expected = (folder / "memory.txt").read_text().splitlines()
        assert records(memory) == expected
    assert state(path) == (NEXT, True)


def test_an_upgrade_that_is_killed_did_not_happen(folder: Path) -> None:
    path = folder / "memory.db"
    code = f"""
import os
from lc_memory.stores import schema, sqlite
schema.MIGRATIONS = (*schema.MIGRATIONS, lambda d: [
    "ALTER TABLE lc_memory_records ADD COLUMN note TEXT", "die"])
schema.VERSION = {NEXT}
run = sqlite._Session.run
def killed(self, sql, parameters=()):
    if sql == "die":
        os.kill(os.getpid(), 9)
    run(self, sql, parameters)
sqlite._Session.run = killed
from lc_memory.stores.sql import SQLStore
SQLStore({url_of(path)!r})
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == -9, done.stderr
    assert state(path) == (1, False)
    with Memory(url_of(path)) as memory:
        assert records(memory) == (folder / "memory.txt").read_text().splitlines()


def test_openers_at_once_upgrade_once(folder: Path, next_format: list[str]) -> None:
    next_format.append("UPDATE lc_memory_records SET version = version + 100")
    path = folder / "memory.db"
    errors: list[BaseException] = []

    def work() -> None:
        try:
            SQLStore(url_of(path)).close()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with contextlib.closing(sqlite3.connect(path)) as database:
        ((lowest, highest),) = database.execute(
            "SELECT min(version), max(version) FROM lc_memory_records"
        )
    assert (lowest, highest) == (101, 102)


NEEDS = (
    rf"written by lc_memory 9\.8\.0 \(format {NEXT}\); this is {re.escape(__version__)}, which "
    rf'reads up to format {schema.VERSION}; upgrade: pip install "lc-memory>=9\.8\.0"'
)


def test_a_newer_database_names_the_release_it_needs(
    folder: Path, next_format: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "__version__", "9.8.0")
    path = folder / "memory.db"
    Memory(url_of(path)).close()
    monkeypatch.undo()
    before = path.read_bytes()
    with pytest.raises(NewerFormat, match=NEEDS):
        Memory(url_of(path))
    assert path.read_bytes() == before
    with contextlib.closing(sqlite3.connect(path)) as database, database:
        for name in (None, "1; rm -rf /", "x" * 99, ""):
            database.execute("UPDATE lc_memory_schema SET library = ?", [name])
            database.commit()
            with pytest.raises(NewerFormat, match=rf"has format {NEXT}; .*install -U lc-memory$"):
                Memory(url_of(path))


def test_newer_documents_of_mongodb_name_it_too(
    mongodb_databases: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = mongodb_databases(tmp_path)
    with monkeypatch.context() as newer:
        newer.setattr(mongo_client, "VERSION", mongo_client.VERSION + 1)
        newer.setattr(mongo_client, "__version__", "9.8.0")
        Memory(url).close()
    with pytest.raises(NewerFormat, match=r'lc_memory 9\.8\.0 .*"lc-memory>=9\.8\.0"'):
        Memory(url)


@pytest.mark.parametrize("server", ["postgres", "mariadb"])
def test_servers_upgrade_too(
    server: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = request.getfixturevalue(f"{server}_databases")(tmp_path)
    with Memory(url) as memory:
        memory.store_memory("a", {"id": "1"})
        before = records(memory)
    request.getfixturevalue("next_format")
    monkeypatch.setattr(schema, "__version__", "9.8.0")
    with Memory(url) as memory:
        assert records(memory) == before
        ((note,),) = memory._layers.store._db.select("SELECT note FROM lc_memory_records")
        assert note == "upgraded"
    monkeypatch.undo()
    with pytest.raises(NewerFormat, match=NEEDS):
        Memory(url)


def test_a_newer_sealed_backup_names_the_release_it_needs(tmp_path: Path) -> None:
    path = tmp_path / "sealed.jsonl"
    with Memory("memory://") as memory:
        memory.backup_data(path, key=KEY)
        head, rest = path.read_bytes().split(b"\n", 1)
        newer = json.loads(head) | {"version": 2, "library": "9.8.0"}
        path.write_bytes(json.dumps(newer, separators=(",", ":")).encode() + b"\n" + rest)
        with pytest.raises(BackupError, match=r"9\.8\.0 \(format 2\).*lc-memory>=9\.8\.0"):
            memory.restore_data(path, key=KEY)


def test_a_newer_backup_names_the_release_it_needs(folder: Path, tmp_path: Path) -> None:
    lines = (folder / "backup.jsonl").read_text().splitlines(keepends=True)
    head: dict[str, Any] = json.loads(lines[0]) | {"version": 3, "library": "9.8.0"}
    path = tmp_path / "newer.jsonl"
    path.write_text(json.dumps(head, separators=(",", ":")) + "\n" + "".join(lines[1:]))
    with Memory("memory://") as memory, pytest.raises(ValueError, match=r"lc-memory>=9\.8\.0"):
        memory.restore_data(path)
