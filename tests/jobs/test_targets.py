"""Backups in object stores, through fsspec."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lc_memory import BackupError, InvalidInput, Memory, StoreUnavailable
from lc_memory.jobs.targets import target
from lc_memory.testing import FakeClock
from tests.jobs.test_migrate import everything, fill

SECRET = "wJalrXUtnFEMI-geheim-EXAMPLEKEY"


@pytest.fixture
def bucket() -> Iterator[str]:
    import fsspec

    yield "memory://bucket/backups"
    fsspec.filesystem("memory").store.clear()


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    if not importlib.util.find_spec("moto") or not importlib.util.find_spec("s3fs"):
        pytest.skip('an S3 server of our own: pip install "moto[server]" s3fs')
    from moto.server import ThreadedMotoServer

    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")

    server = ThreadedMotoServer("127.0.0.1", 0)
    server.start()
    host, port = server.get_host_and_port()
    client = {"endpoint_url": f"http://{host}:{port}"}
    options = {"key": "AKIAIOSFODNN7EXAMPLE", "secret": SECRET, "client_kwargs": client}
    import s3fs

    s3fs.S3FileSystem(**options).mkdir("bucket")
    yield "s3://bucket/backups", options
    server.stop()


def run(memory: Memory, clock: FakeClock, to: str, options: dict[str, Any] | None) -> None:
    fill(memory)
    before = everything(memory)
    memory.schedule_backups("1d", to=to, keep=2, options=options, start=False)
    for _ in range(4):
        made = memory.backups.run_due()
        assert made is not None
        assert (made.drill, made.url) == ("passed", f"{to}/{made.name}")
        clock.forward(24 * 3600)
    assert len(memory.backups.list()) == 2
    assert set(target(to, options).names()) == {m.name for m in memory.backups.list()}
    memory.delete_memory("many")
    assert memory.backups.verify(made.name).count == len(before)
    memory.restore_data(made.name)
    assert [line for line in everything(memory) if "lc_memory" not in line] == before


def test_a_schedule_into_an_object_store(bucket: str) -> None:
    clock = FakeClock()
    with Memory("memory://", clock=clock) as memory:
        run(memory, clock, bucket, None)


def test_a_schedule_into_s3(
    s3: tuple[str, dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    clock = FakeClock()
    caplog.set_level(logging.INFO)
    with Memory("memory://", clock=clock) as memory:
        run(memory, clock, *s3)
        assert SECRET not in "".join(everything(memory)) + repr(memory.backups) + caplog.text


def test_one_backup_by_url(bucket: str) -> None:
    with Memory("memory://") as memory:
        fill(memory)
        before = everything(memory)
        made = memory.backup_data(f"{bucket}/one.jsonl.zst", key=b"k" * 32)
        assert made.path == f"{bucket}/one.jsonl.zst"
        memory.delete_memory("many")
        memory.restore_data(f"{bucket}/one.jsonl.zst", key=b"k" * 32)
        assert everything(memory) == before
        assert set(target(bucket).names()) == {"one.jsonl.zst"}
        with pytest.raises(StoreUnavailable, match="bucket"):
            memory.restore_data(f"{bucket}/missing.jsonl")
        with pytest.raises(InvalidInput, match="names no file"):
            memory.backup_data("memory://bucket/")
        for nothing in ("", "."):
            with pytest.raises(InvalidInput, match="names no file"):
                memory.backup_data(nothing)


def test_a_file_url_is_a_path(tmp_path: Path) -> None:
    with Memory("memory://") as memory:
        memory.backup_data(f"file://{tmp_path}/b.jsonl")
        assert (tmp_path / "b.jsonl").stat().st_mode & 0o777 == 0o600


def test_an_upload_that_arrives_cut_off_is_none(
    bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fsspec.implementations.memory import MemoryFileSystem

    put = MemoryFileSystem.put_file

    def cut(self: Any, here: str, there: str, **options: Any) -> None:
        put(self, here, there, **options)
        self.pipe_file(there, self.cat_file(there)[:-5])

    monkeypatch.setattr(MemoryFileSystem, "put_file", cut)
    with Memory("memory://") as memory:
        with pytest.raises(StoreUnavailable, match="cut off"):
            memory.backup_data(f"{bucket}/one.jsonl")
        assert target(bucket).names() == {}


def test_credentials_are_never_told(
    bucket: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Whatever the file system says of them: in errors, their causes, the log, or the store."""
    from fsspec.implementations.memory import MemoryFileSystem

    def refuse(self: Any, *args: Any, **options: Any) -> None:
        raise PermissionError(f"access denied: secret={SECRET} at https://user:{SECRET}@host/x")

    caplog.set_level(logging.DEBUG, "lc_memory")
    with Memory(f"sqlite:///{tmp_path}/m.db") as memory:
        memory.schedule_backups(
            "1d", to=bucket, options={"client": {"secret": SECRET}}, start=False
        )
        monkeypatch.setattr(MemoryFileSystem, "put_file", refuse)
        with pytest.raises(StoreUnavailable, match="access denied") as error:
            memory.backups.run()
        assert error.value.__cause__ is None
        assert error.value.__suppress_context__
        told = [str(error.value), caplog.text, *everything(memory), repr(memory.backups.list())]
        assert SECRET not in "".join(told)
        assert "***" in str(error.value)
    assert SECRET.encode() not in (tmp_path / "m.db").read_bytes()
    with pytest.raises(InvalidInput) as refused:
        target(f"s3://key:{SECRET}@bucket/x")
    assert SECRET not in str(refused.value)


def test_a_place_that_nobody_knows() -> None:
    with pytest.raises(StoreUnavailable, match="nosuch"):
        target("nosuch://bucket/x")
    with Memory("memory://") as memory, pytest.raises(BackupError, match="cannot be read"):
        memory.restore_data("nosuch/b.jsonl")
