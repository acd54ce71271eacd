"""Backups on a schedule: when, by whom, which stay, and what is told of them."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lc_memory import (
    BackupError,
    BackupKeyError,
    Conflict,
    CorruptStore,
    DrillFailed,
    InvalidInput,
    Memory,
    NewerFormat,
    StoreFull,
    Unsupported,
)
from lc_memory.jobs import backups as backups_module
from lc_memory.jobs import schedule, targets
from lc_memory.jobs.backups import Made
from lc_memory.jobs.retention import Keep, kept
from lc_memory.jobs.schedule import LEASE, PLACE, Lease, Schedule
from lc_memory.testing import FakeClock
from tests.jobs.test_migrate import everything

HOUR = 3600


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC))  # a Wednesday


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/m.db"


@pytest.fixture
def memory(url: str, clock: FakeClock) -> Iterator[Memory]:
    with Memory(url, clock=clock) as memory:
        memory.store_memory("a", {"id": "1"})
        yield memory


def planned(memory: Memory, tmp_path: Path, **options: Any) -> Schedule:
    options = {"to": tmp_path / "backups", "start": False, "keep": 100} | options
    every = None if "cron" in options else options.pop("every", "6h")
    return memory.schedule_backups(every, **options)


def files(tmp_path: Path) -> list[str]:
    return sorted(p.name for p in (tmp_path / "backups").glob("lc_memory-*"))


# -- when --------------------------------------------------------------------------------------


def test_one_backup_each_time_it_is_due(memory: Memory, clock: FakeClock, tmp_path: Path) -> None:
    planned(memory, tmp_path)
    made = []
    for _ in range(24 * 4):  # a day, in quarters of an hour
        made.append(memory.backups.run_due())
        clock.forward(HOUR / 4)
    there = [m for m in made if m]
    assert len(there) == 4
    assert [m.made_at.hour for m in there] == [5, 11, 17, 23]
    assert [m.name for m in memory.backups.list()] == [m.name for m in there[::-1]]
    assert all(m.drill == "passed" and m.count == 1 and m.good for m in memory.backups.list())
    assert files(tmp_path) == sorted(m.name for m in there)


def test_it_survives_a_restart(url: str, clock: FakeClock, tmp_path: Path) -> None:
    with Memory(url, clock=clock) as memory:
        plan = planned(memory, tmp_path, keep={"daily": 3}, jitter=2)
        memory.backups.run_due()
    with Memory(url, clock=clock) as again:
        assert again.backups.scheduled() == plan
        assert again.schedule_backups(start=False) == plan
        assert again.backups.run_due() is None
        assert again.backups.next_due() == clock() + timedelta(hours=6)
        again.backups.unschedule()
        assert again.backups.next_due() is None
        with pytest.raises(InvalidInput, match="no schedule"):
            again.schedule_backups()
    assert len(files(tmp_path)) == 1


def test_what_was_missed_is_made_up_for_once(
    memory: Memory, clock: FakeClock, tmp_path: Path
) -> None:
    for options in ({"every": "6h"}, {"cron": "0 3 * * *"}):
        planned(memory, tmp_path, **options)
        memory.backups.run_due()
        clock.forward(30 * 24 * HOUR)  # the machine slept
        before = len(files(tmp_path))
        assert memory.backups.run_due()
        assert memory.backups.run_due() is None
        assert len(files(tmp_path)) == before + 1


def test_a_clock_that_is_set_back_or_forth_stops_nothing(
    memory: Memory, clock: FakeClock, tmp_path: Path
) -> None:
    for options in ({"every": "6h"}, {"cron": "0 3 * * *"}):
        planned(memory, tmp_path, **options)
        memory.backups.run_due()
        clock.forward(-3 * 24 * HOUR)
        assert memory.backups.run_due()  # one too many rather than none for days
        assert memory.backups.run_due() is None
        clock.forward(25 * HOUR)
        assert memory.backups.run_due()
        clock.forward(365 * 24 * HOUR)
        assert memory.backups.run_due()
        assert memory.backups.run_due() is None
        # A lock from the other side of the step holds nobody up.
        memory._layers.store.put(PLACE, "lock", {"until": clock() + timedelta(days=9)})
        clock.forward(25 * HOUR)
        assert memory.backups.run_due()


def test_a_schedule_of_a_newer_release_is_refused_with_what_to_install(
    memory: Memory, tmp_path: Path
) -> None:
    plan = planned(memory, tmp_path)
    store = memory._layers.store
    store.update(PLACE, "schedule", {"version": 2, "library": "0.9.0", "moon": "full"})
    with pytest.raises(NewerFormat, match=r'lc_memory 0\.9\.0 .*"lc-memory>=0\.9\.0"'):
        memory.backups.run_due()
    store.update(PLACE, "schedule", {"version": 1})
    with pytest.raises(CorruptStore, match=r"moon.*schedule them anew"):
        memory.backups.next_due()
    planned(memory, tmp_path)
    assert memory.backups.scheduled() == plan


def test_cron_means_what_cron_means() -> None:
    def times(cron: str, many: int = 3) -> list[str]:
        plan = Schedule("x", cron=cron, since=datetime(2026, 3, 4, 5, 6, tzinfo=UTC))
        last, found = None, []
        for _ in range(many):
            last = plan.due(last, datetime(2027, 1, 1, tzinfo=UTC))
            found.append(f"{last:%a %d %H:%M}")
        return found

    assert times("0 3 * * *") == ["Thu 05 03:00", "Fri 06 03:00", "Sat 07 03:00"]
    assert times("0 3 * * 0") == times("0 3 * * 7") == times("0 3 * * sun")
    assert times("0 3 * * 0")[0] == "Sun 08 03:00"
    assert times("30 2 * * 1-5") == ["Thu 05 02:30", "Fri 06 02:30", "Mon 09 02:30"]
    assert times("0 0 * * 5-7") == ["Fri 06 00:00", "Sat 07 00:00", "Sun 08 00:00"]
    assert times("0 0 1 * *")[0] == "Wed 01 00:00"
    assert times("*/30 * * * *") == ["Wed 04 05:30", "Wed 04 06:00", "Wed 04 06:30"]
    for bad in ("", "0 3 * *", "60 3 * * *", "0 3 * * 8", "0 3 1 * 1", "nonsense", "0 3 * * 1/0"):
        with pytest.raises(InvalidInput, match="cron"):
            Schedule("x", cron=bad)


def test_schedules_that_make_no_sense(memory: Memory, tmp_path: Path) -> None:
    for every in ("6", "0h", "-1h", "1y", "", 0, -5, float("nan"), float("inf"), True, [1]):
        with pytest.raises(InvalidInput):
            memory.schedule_backups(every, to=tmp_path, start=False)
    for options in ({"keep": -1}, {"keep": {"hourly": 3}}, {"keep": {"last": 1.5}}, {"jitter": -1}):
        with pytest.raises(InvalidInput):
            memory.schedule_backups("6h", to=tmp_path, start=False, **options)
    for options in ({"format": ".zip"}, {"cron": "0 3 * * *"}, {"to": ""}, {"key": b"short"}):
        with pytest.raises(InvalidInput):
            memory.schedule_backups("6h", **{"to": tmp_path, "start": False} | options)
    with pytest.raises(InvalidInput, match="credentials") as error:
        memory.schedule_backups("6h", to="s3://user:geheim@bucket/x", start=False)
    assert "geheim" not in str(error.value)
    with pytest.raises(Unsupported, match="whole"):
        memory.as_user("ada").schedule_backups("6h", to=tmp_path)
    assert memory.backups.scheduled() is None
    with pytest.raises(InvalidInput, match="schedule_backups"):
        memory.backups.list()


# -- by whom -----------------------------------------------------------------------------------


def test_processes_that_share_a_store_make_one_backup(
    memory_url: str, clock: FakeClock, tmp_path: Path
) -> None:
    """Each thread is a memory of its own, as in another process (all of them share one in
    ``memory://``), and all of them wake at once."""
    with Memory(memory_url, clock=clock) as first:
        planned(first, tmp_path)
        shared = memory_url == "memory://"
        others = [
            Memory(first._layers.store) if shared else Memory(memory_url, clock=clock)
            for _ in range(4)
        ]
        barrier = threading.Barrier(4)
        made: list[Made | None] = []
        errors: list[BaseException] = []

        def work(memory: Memory) -> None:
            try:
                for _ in range(3):
                    barrier.wait(60)
                    made.append(memory.backups.run_due())
                    if not barrier.wait(60):
                        clock.forward(6 * HOUR)
            except BaseException as error:
                errors.append(error)
                barrier.abort()

        threads = [threading.Thread(target=work, args=(other,)) for other in others]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for other in others:
            other.close()
        assert errors == []
        assert len([m for m in made if m]) == 3
        assert len(files(tmp_path)) == 3


def test_a_lock_ends_with_its_process(memory: Memory, clock: FakeClock, tmp_path: Path) -> None:
    planned(memory, tmp_path)
    dead = Lease(memory._layers.store)
    assert dead.acquire()
    assert memory.backups.run_due() is None
    with pytest.raises(Conflict, match="another process"):
        memory.backups.run()
    clock.forward(LEASE.total_seconds() / 2 + 1)
    dead.renew()
    clock.forward(LEASE.total_seconds() / 2 + 1)
    assert memory.backups.run_due() is None  # it was renewed
    clock.forward(LEASE.total_seconds())
    assert memory.backups.run_due()
    with pytest.raises(Conflict):
        dead.renew()
    dead.release()
    assert memory.backups.run()


def test_an_upload_longer_than_the_lock_holds_it(
    memory: Memory, url: str, clock: FakeClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one process uploads, no other begins; if it dies there, the lock ends as ever."""
    uploading, go_on = threading.Event(), threading.Event()
    upload = targets.Remote._upload

    def slow(self: targets.Remote, path: Path, there: str) -> None:
        uploading.set()
        assert go_on.wait(60)
        upload(self, path, there)

    monkeypatch.setattr(targets.Remote, "_upload", slow)
    monkeypatch.setattr(schedule, "RENEWAL", timedelta(milliseconds=5))
    memory.schedule_backups("1m", to=f"memory://{tmp_path.name}", start=False)
    made: list[Made | None] = []
    working = threading.Thread(target=lambda: made.append(memory.backups.run_due()))
    working.start()
    assert uploading.wait(60)
    with Memory(url, clock=clock) as other:
        for _ in range(6):
            clock.forward(LEASE.total_seconds() * 0.6)
            held = other.backend.get(PLACE, "lock")
            while held is None or held.value["until"] - clock() < LEASE / 2:
                time.sleep(0.002)  # the holder has not looked yet
                held = other.backend.get(PLACE, "lock")
            assert other.backups.run_due() is None
            with pytest.raises(Conflict, match="another process"):
                other.backups.run()
        go_on.set()
        working.join()
        assert [m.drill for m in made if m] == ["passed"]
        assert other.backend.get(PLACE, "lock") is None
        assert "lc_memory-lease" not in [thread.name for thread in threading.enumerate()]
        assert len(other.backups.list()) == 1


# -- what goes wrong ---------------------------------------------------------------------------


def test_a_failing_drill_is_loud(
    memory: Memory,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    told: list[Made] = []
    planned(memory, tmp_path, keep=1, notify=told.append)
    good = memory.backups.run_due()
    clock.forward(6 * HOUR)
    write = backups_module.backup

    def spoiled(store: Any, path: Path, *args: Any, **options: Any) -> Any:
        made = write(store, path, *args, **options)
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        return made

    monkeypatch.setattr(backups_module, "backup", spoiled)
    with pytest.raises(DrillFailed, match="drill failed"):
        memory.backups.run_due()
    assert "drill failed" in caplog.text
    assert {r.levelno for r in caplog.records if "failed" in r.message} == {logging.ERROR}
    bad = memory.backups.list()[0]
    assert (bad.drill, bad.good) == ("failed", False)
    assert "drill failed" in bad.error
    assert [(m.drill, m.good) for m in told] == [("passed", True), ("failed", False)]
    # It does not drive the good one out, though one is kept only; and goes when a good one comes.
    assert memory.backups.prune() == []
    assert files(tmp_path) == sorted([good.name, bad.name])  # type: ignore[union-attr]
    monkeypatch.undo()
    assert memory.backups.run_due() is None  # it is tried again a little later
    clock.forward(6 * 60)
    new = memory.backups.run_due()
    assert files(tmp_path) == [new.name]  # type: ignore[union-attr]
    assert [m.good for m in memory.backups.list()] == [True]


def test_a_backup_that_fails_is_told_and_tried_again(
    memory: Memory,
    clock: FakeClock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    planned(memory, tmp_path)

    def full(*args: Any, **options: Any) -> Any:
        raise StoreFull("no room")

    monkeypatch.setattr(backups_module, "backup", full)
    tries = 0
    for _ in range(24 * 60):
        try:
            assert memory.backups.run_due() is None
        except StoreFull:
            tries += 1
        clock.forward(60)
    assert 20 < tries < 40  # 5 minutes, 10, 20, 40, and then each hour
    assert "no room" in caplog.text
    (latest, *_) = memory.backups.list()
    assert (latest.size, latest.error) == (0, "StoreFull: no room")
    monkeypatch.undo()
    clock.forward(HOUR)
    assert memory.backups.run_due()
    assert memory.backups.list()[0].good
    assert len(memory.backups.list()) < 60


def test_a_lost_or_damaged_file_is_told(memory: Memory, tmp_path: Path) -> None:
    planned(memory, tmp_path, format=".json")
    made = memory.backups.run()
    assert memory.backups.verify(made.name).sha256 == made.sha256
    assert memory.backups.drill(made.url).count == 1
    Path(made.url).write_bytes(Path(made.url).read_bytes()[:-9])
    with pytest.raises(BackupError, match="cut off"):
        memory.backups.verify(made.name)
    with pytest.raises(DrillFailed, match="cut off"):
        memory.backups.drill(made.name)
    assert memory.backups.list()[0].drill == "failed"
    Path(made.url).unlink()
    assert [m.size for m in memory.backups.list()] == [0]  # what failed is still told


def test_any_kept_day_can_be_brought_back(memory: Memory, clock: FakeClock, tmp_path: Path) -> None:
    planned(memory, tmp_path, every="1d", key=b"k" * 32, keep={"daily": 7})
    states = {}
    for day in range(10):
        memory.store_memory("days", {"id": "today", "day": day})
        made = memory.backups.run_due()
        assert made is not None
        states[made.name] = day
        clock.forward(24 * HOUR)
    listed = memory.backups.list()
    assert [states[m.name] for m in listed] == [9, 8, 7, 6, 5, 4, 3]
    for m in (listed[3], listed[-1], listed[0]):
        with Memory("memory://") as other:
            other.restore_data(m.url, key=b"k" * 32)
            assert other.retrieve_memory("days")["day"] == states[m.name]  # type: ignore[index]
    memory.restore_data(listed[2].name)
    assert memory.retrieve_memory("days")["day"] == 7  # type: ignore[index]
    assert len(memory.backups.list()) == 7  # the list is not what is restored


def test_a_key_is_never_stored(url: str, clock: FakeClock, tmp_path: Path) -> None:
    with Memory(url, clock=clock) as memory:
        planned(memory, tmp_path, key="open sesame")
        memory.backups.run()
        assert "sesame" not in "".join(everything(memory)) + repr(vars(memory.backups.scheduled))
    assert b"sesame" not in (tmp_path / "m.db").read_bytes()
    with Memory(url, clock=clock) as again:
        with pytest.raises(BackupKeyError, match="key="):
            again.schedule_backups(start=False)
        clock.forward(6 * HOUR)
        with pytest.raises(BackupKeyError):
            again.backups.run_due()
        again.schedule_backups(key="open sesame", start=False)
        clock.forward(HOUR)
        assert again.backups.run_due().sealed  # type: ignore[union-attr]


# -- which stay --------------------------------------------------------------------------------


def test_what_is_kept() -> None:
    start = datetime(2024, 1, 1, tzinfo=UTC)
    times = [start + timedelta(hours=6 * i) for i in range(4 * 800)]
    stay = sorted(kept(times, Keep(last=3, daily=7, weekly=4, monthly=12, yearly=5)), reverse=True)
    assert stay[:3] == times[:-4:-1]
    assert len([t for t in stay if t > times[-1] - timedelta(days=6.9)]) == 3 + 6
    months = {(t.year, t.month) for t in stay}
    assert len(months) == 12 + 1  # and the last of 2024, of which no month is kept
    assert {t.year for t in stay} == {2024, 2025, 2026}
    assert max(t for t in stay if t.year == 2024) == datetime(2024, 12, 31, 18, tzinfo=UTC)
    assert kept(times, Keep(last=0)) == {times[-1]}  # the newest always stays
    assert kept([], Keep()) == set()


def test_only_our_files_are_deleted(memory: Memory, clock: FakeClock, tmp_path: Path) -> None:
    planned(memory, tmp_path, keep=2)
    folder = tmp_path / "backups"
    folder.mkdir()
    theirs = ["lc_memory-mine.jsonl", "photo.jpg", ".lc_memory-x", "lc_memory-20200101.jsonl.gz"]
    abandoned = ".lc_memory-20200101T000000Z-abcdef.jsonl.gz.12345678"  # of a killed process
    for name in (*theirs, abandoned):
        (folder / name).write_text("x")
    for _ in range(5):
        memory.backups.run_due()
        clock.forward(6 * HOUR)
    assert len(memory.backups.list()) == 2
    assert {p.name for p in folder.iterdir()} == {*theirs, *(m.name for m in memory.backups.list())}
    assert folder.stat().st_mode & 0o777 in (0o700, 0o755)


def test_stores_that_share_a_folder_leave_each_others_backups(
    memory: Memory, clock: FakeClock, tmp_path: Path
) -> None:
    planned(memory, tmp_path, keep=1)
    first = memory.backups.run()
    clock.forward(HOUR)
    with Memory(f"sqlite:///{tmp_path}/other.db", clock=clock) as other:
        planned(other, tmp_path, keep=1)
        second = other.backups.run()
        assert files(tmp_path) == [first.name, second.name]
        assert [made.count for made in other.backups.list()] == [0, None]
    clock.forward(HOUR)
    third = memory.backups.run()
    assert files(tmp_path) == [second.name, third.name]


# -- the timer ---------------------------------------------------------------------------------


async def test_the_timer_makes_them_and_stops_with_the_memory(url: str, tmp_path: Path) -> None:
    made = threading.Semaphore(0)
    memory = Memory(url)
    memory.store_memory("a", {"id": "1"})
    await memory.aschedule_backups(
        1 / 60, to=tmp_path / "backups", keep=2, notify=lambda _: made.release()
    )
    for _ in range(2):
        assert made.acquire(timeout=60)
    await memory.aclose()
    names = files(tmp_path)
    assert 1 <= len(names) <= 3
    assert [t.name for t in threading.enumerate() if "APScheduler" in t.name] == []
    with Memory(url) as again:  # nothing runs unless it is asked for
        assert len(again.backups.list()) >= 1
        assert files(tmp_path) == names


def test_closing_gives_up_a_backup_under_way(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = Memory(url)
    memory.batch_store([("a", {"id": str(i)}) for i in range(3000)])
    begun, go_on = threading.Event(), threading.Event()
    write = backups_module.backup

    def slow(store: Any, path: Path, *args: Any, **options: Any) -> Any:
        begun.set()
        go_on.wait(60)
        return write(store, path, *args, **options)

    monkeypatch.setattr(backups_module, "backup", slow)
    memory.schedule_backups("6h", to=tmp_path / "backups")
    assert begun.wait(60)
    closing = threading.Thread(target=memory.close)
    closing.start()
    while not memory.backups._closed.is_set():
        pass
    go_on.set()
    closing.join()
    assert list((tmp_path / "backups").iterdir()) == []
    monkeypatch.undo()
    with Memory(url) as again:
        assert again.backups.run_due()  # the next process makes up for it
