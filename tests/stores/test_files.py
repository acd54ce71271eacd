"""The file stores keep the contract, and their files are what their names say."""

from __future__ import annotations

import csv
import json
import os
import pickle
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings

from lc_memory import Memory, __version__, values
from lc_memory.errors import StoreUnavailable, UnknownStorage
from lc_memory.log import Log
from lc_memory.records import Delete, Put, Query, Record
from lc_memory.stores import archive
from lc_memory.stores.disk import Disk
from lc_memory.stores.files import FileStore
from lc_memory.testing import FakeClock, PropertyContract, StoreContract
from lc_memory.testing.properties import DOCUMENTS
from lc_memory.testing.writing import NAMES, VALUES

FORMATS = ["json", "yaml", "csv", "pickle"]


def open_file(folder: Path, format: str, **options: Any) -> FileStore:
    return FileStore(f"{format}:///{folder}/memory.{format}", **options)


class FileContract(StoreContract, PropertyContract):
    format: str
    examples = 25

    def open_store(self, folder: Path, **options: Any) -> FileStore:
        return open_file(folder, self.format, **options)


class TestJSON(FileContract):
    format = "json"


class TestYAML(FileContract):
    format = "yaml"


class TestCSV(FileContract):
    format = "csv"


class TestPickle(FileContract):
    format = "pickle"


# -- what is in the file ---------------------------------------------------------------------


def records_of(path: Path) -> list[dict[str, Any]]:
    """The records in a file, read as anybody would read its format."""
    if path.suffix == ".json":
        with path.open(encoding="utf-8") as file:
            return json.load(file)["records"]  # type: ignore[no-any-return]
    if path.suffix == ".yaml":
        return yaml.safe_load(path.read_bytes())["records"]  # type: ignore[no-any-return]
    if path.suffix == ".pickle":
        with path.open("rb") as file:
            return pickle.load(file)["records"]  # type: ignore[no-any-return]
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for title in [title for title in row if title.startswith(("sha256:", "lc_memory "))]:
            del row[title]
    return rows


PLAIN = {
    "namespace": ["users", "ada"],
    "key": "profile",
    "value": {
        "name": "Ada 李",
        "answer": "no",
        "score": 1.0,
        "born": {"$date": "1815-12-10T00:00:00.000000Z"},
        "photo": {"$bytes": "AP8="},
        "tags": [],
    },
    "version": 1,
    "created_at": "2026-01-01T00:00:00.000000Z",
    "updated_at": "2026-01-01T00:00:00.000000Z",
    "expires_at": "2026-01-01T01:00:00.000000Z",
    "owner": "ada",
}
IN_CSV = {
    **PLAIN,
    "namespace": '["users","ada"]',
    "value": json.dumps(PLAIN["value"], ensure_ascii=False, separators=(",", ":")),
    "version": "1",
}


def put_plain(store: FileStore, clock: FakeClock) -> Record:
    value = {
        "name": "Ada 李",
        "answer": "no",
        "score": 1.0,
        "born": datetime(1815, 12, 10, tzinfo=UTC),
        "photo": b"\x00\xff",
        "tags": [],
    }
    expires = clock() + timedelta(hours=1)
    return store.put(("users", "ada"), "profile", value, expires_at=expires, owner="ada")


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


@pytest.mark.parametrize("format", FORMATS)
def test_the_file_can_be_read_without_us(tmp_path: Path, format: str) -> None:
    """After opening, after an idle moment, and after closing; never half, never missing."""
    clock = FakeClock()
    path = tmp_path / f"memory.{format}"
    expected = IN_CSV if format == "csv" else PLAIN
    with open_file(tmp_path, format, clock=clock, idle=0.01) as store:
        assert records_of(path) == []
        put_plain(store, clock)
        assert records_of(path) in ([], [expected])
        wait_until(lambda: records_of(path) == [expected])
        store.put(("z",), "k", {})
    assert [record["key"] for record in records_of(path)] == ["profile", "k"]
    assert records_of(path)[0] == expected


@pytest.mark.parametrize("format", ["json", "yaml", "pickle"])
def test_other_programs_read_the_same_values(tmp_path: Path, format: str) -> None:
    """Hostile strings, long keys and odd numbers included: no other reader sees another value."""
    extra: list[dict[str, Any]] = [
        {"x" * 3000: {"y" * 2000: [[{"z" * 500: 1}, [[]]], {"": []}]}},
        {"&anchor": "*alias", "<<": {"a": 1}, "? ": ": ", "- ": "- a", "#": " # no comment"},
        {str(name): name for name in NAMES},
        {str(char): chr(char) for char in (*range(0xA1), 0x2028, 0x2029, 0xFEFF, 0xFFFE, 0xFFFF)},
    ]

    @settings(max_examples=25, deadline=None)
    @given(DOCUMENTS)
    def compare(drawn: dict[str, Any]) -> None:
        with open_file(tmp_path, format) as store:
            documents = [drawn, *extra, *VALUES]
            store.write([Put(("n",), f"{i:02}", doc) for i, doc in enumerate(documents)])
        kept = [record["value"] for record in records_of(store.path)]
        assert repr(kept) == repr([values.lower(document) for document in documents])
        with open_file(tmp_path, format) as store:
            assert repr([r.value for r in store.records()]) == repr(documents)

    compare()


def test_yaml_looks_like_yaml(tmp_path: Path) -> None:
    clock = FakeClock()
    with open_file(tmp_path, "yaml", clock=clock) as store:
        put_plain(store, clock)
    lines = store.path.read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith('seal: "sha256:')
    assert lines[1:15] == [
        'format: "lc_memory records"',
        "version: 1",
        f'library: "{__version__}"',
        "count: 1",
        "records:",
        "- namespace:",
        '    - "users"',
        '    - "ada"',
        '  key: "profile"',
        "  value:",
        '    name: "Ada 李"',
        '    answer: "no"',
        "    score: 1.0",
        "    born:",
    ]


def test_no_cell_of_a_csv_is_a_formula(tmp_path: Path) -> None:
    """What a spreadsheet would run stands behind an apostrophe, and comes back as it was."""
    marks = ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠", "'", "'="]
    keys = [*(f'{mark}cmd|" /C calc"!A0' for mark in marks), *marks, "", "'"]
    with open_file(tmp_path, "csv") as store:
        store.write([Put((key,), key, {key: key}, owner=key) for key in keys])
        store.put(("n",), "nobody's", {}, owner=None)
        written = list(store.records())
    with store.path.open(newline="", encoding="utf-8") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    assert not [cell for cell in cells if cell[:1] in tuple("=+-@\t\r\n＝＋－＠")]
    with open_file(tmp_path, "csv") as store:
        assert list(store.records()) == written


# -- opening ---------------------------------------------------------------------------------


def test_urls_and_default_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for format in FORMATS:
        with Memory(f"{format}:///relative.{format}") as memory:
            memory.store_memory("notes", {"n": format})
        with Memory(f"{format}:///{tmp_path}/relative.{format}") as memory:
            assert memory.retrieve_memory("notes") == {"n": format}
        from memory_agent.agent import MemoryAgent

        MemoryAgent(storage_type=format).close()
        assert (tmp_path / f"agent_memory.{format}").exists()
        MemoryAgent(storage_type=format, db_path=f"mine.{format}").close()
        assert (tmp_path / f"mine.{format}").exists()


def test_places_that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no folder"):
        FileStore(f"json:///{tmp_path}/missing/memory.json")
    with pytest.raises(StoreUnavailable, match="a folder"):
        FileStore(f"json:///{tmp_path}")
    with pytest.raises(StoreUnavailable):
        FileStore(f"json:///{tmp_path}/{'x' * 300}")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(StoreUnavailable):
        FileStore(f"json:///{tmp_path}/loop")
    for url in (
        "json://",
        "json://memory.json",
        "json://folder/memory.json",
        "json:///memory.json?x=1",
        "sqlite:///x.db",
    ):
        with pytest.raises(UnknownStorage, match="names no file"):
            FileStore(url)
    with pytest.raises(ValueError, match="pickle_key"):
        FileStore(f"json:///{tmp_path}/memory.json", pickle_key="secret")
    assert [path.name for path in tmp_path.iterdir()] == ["loop"]


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
@pytest.mark.parametrize("format", FORMATS)
def test_new_files_are_their_owners_alone(tmp_path: Path, format: str) -> None:
    with open_file(tmp_path, format) as store:
        store.put(("n",), "k", {})
        names = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
        assert names == dict.fromkeys(
            [f"memory.{format}{end}" for end in ("", ".journal", ".lock")], 0o600
        )
        store.path.chmod(0o640)
    assert store.path.stat().st_mode & 0o777 == 0o640  # what its owner allows, stays allowed


def test_through_a_link_it_is_the_same_store(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.json").symlink_to(tmp_path / "real" / "memory.json")
    with (
        FileStore(f"json:///{tmp_path}/link.json") as one,
        open_file(tmp_path / "real", "json") as other,
    ):
        one.put(("n",), "k", {})
        assert other.count() == 1
    assert (tmp_path / "link.json").is_symlink()


# -- what things cost ------------------------------------------------------------------------


class Counting(Disk):
    def __init__(self) -> None:
        self.written = 0
        self.synced = 0
        self.read_files: list[str] = []

    def write(self, file: int, data: memoryview) -> int:
        self.written += len(data)
        return super().write(file, data)

    def sync(self, file: int) -> None:
        self.synced += 1
        super().sync(file)

    def read(self, path: Path, start: int = 0) -> bytes:
        self.read_files.append(path.name)
        return super().read(path, start)


@pytest.mark.parametrize("format", FORMATS)
def test_a_write_costs_the_write_not_the_file(tmp_path: Path, format: str) -> None:
    disk = Counting()
    with open_file(tmp_path, format, disk=disk, idle=60) as store:
        store.write([Put(("n",), f"{i:05}", {"text": "x" * 100}) for i in range(10_000)])
        disk.__init__()  # type: ignore[misc]
        store.put(("n",), "00500", {"text": "y"})
        Log(store, ("log",)).append([{"text": "z"}])
        assert disk.written < 1000
        assert disk.synced == 2
        assert disk.read_files == []


def test_writers_at_once_share_a_sync(tmp_path: Path) -> None:
    disk = Counting()
    with open_file(tmp_path, "json", disk=disk) as store:
        before = disk.synced
        outcomes = store.write_many([[Put(("n",), f"{i}", {})] for i in range(200)])
        assert all(isinstance(result, list) for result in outcomes)
        assert disk.synced == before + 1


def test_a_tail_decodes_what_it_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str] = []
    decode = values.decode

    def counted(text: str) -> dict[str, Any]:
        decoded.append(text)
        return decode(text)

    with open_file(tmp_path, "json") as store:
        log = Log(store, ("log",))
        log.append({"i": i} for i in range(10_000))
        monkeypatch.setattr(values, "decode", counted)
        assert [record.value["i"] for record in log.tail(20)] == list(range(9_980, 10_000))
        assert len(decoded) <= 21
        store.find(Query(("log",), exact=True, order="-@updated_at", limit=1))
        assert len(decoded) <= 23


def test_who_has_seen_everything_reads_no_file_again(tmp_path: Path) -> None:
    disk = Counting()
    with open_file(tmp_path, "json", idle=60) as one:
        one.put(("n",), "a", {})
        with open_file(tmp_path, "json", disk=disk, idle=60) as other:
            one.put(("n",), "b", {})
            assert other.count() == 2
            one.close()  # and so folds
            disk.__init__()  # type: ignore[misc]
            assert other.count() == 2
            with open_file(tmp_path, "json") as third:
                third.put(("n",), "c", {})
                assert other.count() == 3
            assert disk.read_files == ["memory.json.journal"] * 2


def test_a_journal_that_outgrows_the_file_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "SMALL", 2000)
    with open_file(tmp_path, "json", idle=60) as store:
        journal = tmp_path / "memory.json.journal"
        sizes: list[int] = []
        for i in range(100):
            store.put(("n",), f"{i}", {"text": "x" * 100})
            sizes.append(journal.stat().st_size)
            assert sizes[-1] <= max(2000, store.path.stat().st_size)
        folds = sum(later < earlier for earlier, later in pairwise(sizes))
        assert 3 <= folds <= 12  # ever rarer as the file grows
    with open_file(tmp_path, "json") as store:
        assert store.count() == 100


def test_what_was_deleted_is_in_no_file_after_a_fold(tmp_path: Path) -> None:
    with open_file(tmp_path, "json", idle=0.01) as store:
        store.write([Put(("n",), "k", {"secret": "swordfish"}), Put(("n",), "other", {})])
        store.write([Delete(("n",), "k")])
        wait_until(lambda: (tmp_path / "memory.json.journal").stat().st_size < 300)
        assert [r["key"] for r in records_of(store.path)] == ["other"]
        assert not [p for p in tmp_path.iterdir() if b"swordfish" in p.read_bytes()]


def test_no_thread_outlives_its_work(tmp_path: Path) -> None:
    def folders() -> int:
        return sum(thread.name == "lc_memory-fold" for thread in threading.enumerate())

    with open_file(tmp_path, "json", idle=0.01) as store:
        assert folders() == 0
        store.put(("n",), "k", {})
        assert folders() == 1
        wait_until(lambda: folders() == 0)
        store.put(("n",), "k", {})
    with open_file(tmp_path, "json", idle=60) as store:
        store.put(("n",), "k", {})
    assert folders() == 0
