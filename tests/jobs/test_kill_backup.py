"""Backups and their schedule, killed (SIGKILL) at random moments."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest

from lc_memory import Memory, Query
from lc_memory.jobs.backup_file import reading
from lc_memory.jobs.shelf import is_name
from lc_memory.registry import open_store
from lc_memory.testing import FakeClock
from tests.forks import Nursery
from tests.jobs.work import KEY, pair_in

KEPT = 3


@pytest.mark.parametrize("kind", ["sqlite", "json"])
def test_a_killed_backup_leaves_the_old_file_or_the_new(kind: str, tmp_path: Path) -> None:
    """What survives: each file is whole and of one moment, none is older than what was
    acknowledged, and the store holds what was written to it."""
    url = f"{kind}:///{tmp_path}/memory.{kind}"
    with Memory(url) as memory:
        memory.batch_store([("many", {"id": str(i), "v": "x" * 200}) for i in range(150)])
    acknowledged: dict[str, int] = {}
    latest = -1
    with Nursery() as nursery:
        args = [url, str(tmp_path)]
        for said in nursery.kills(30, "back_up_for_ever", "read", "swap", args=args):
            for number, name in (done[1:].split() for done in said if done[0] == "="):
                acknowledged[name] = latest = int(number)
            with open_store(url) as store:
                left, right = pair_in(store)
                assert left == right >= latest
                assert store.count(Query()) == 150 + 2 + min(left + 1, 50)
                latest = left
            for name, number in acknowledged.items():
                key = KEY if name.startswith("sealed") else None
                with reading(tmp_path / name, key) as file:
                    records = list(file.records())  # verified to its end
                left, right = (r.value["n"] for r in records if r.key in ("left", "right"))
                assert number <= left == right <= latest
                assert len(records) == 150 + 2 + min(left + 1, 50)
    assert len(acknowledged) == 3


@pytest.mark.parametrize(("kind", "times"), [("sqlite", 40), ("json", 24)])
def test_a_killed_schedule_goes_on(kind: str, times: int, tmp_path: Path) -> None:
    """What survives: the schedule, each backup on the list, the newest that was acknowledged or
    as many newer ones as are kept; the next process makes the next one, and sweeps up."""
    url = f"{kind}:///{tmp_path}/memory.{kind}"
    folder = tmp_path / "backups"
    start = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
    hours = count(step=20)
    with Memory(url, clock=FakeClock(start)) as memory:
        memory.batch_store([("many", {"id": str(i), "v": "x" * 200}) for i in range(150)])
        plan = memory.schedule_backups("1h", to=folder, keep=KEPT, start=False)
    newest = ""
    now = start

    def args() -> list[str]:
        nonlocal now
        now = start + timedelta(hours=next(hours))
        return [url, str(tmp_path), now.isoformat()]

    phases = ("backup", "drill", "prune")
    with Nursery() as nursery:
        for said in nursery.kills(times, "keep_schedule_for_ever", *phases, args=args):
            newest = max([newest, *(done[1:] for done in said if done[0] == "=")])
            with Memory(url, clock=FakeClock(now + timedelta(hours=10))) as memory:
                assert memory.backups.scheduled() == plan
                listed = memory.backups.list()
                assert [made.error for made in listed if made.error] == []
                assert all(memory.backups.verify(made.name).count == 150 for made in listed)
                newer = [made for made in listed if made.name > newest]
                assert newest in {made.name for made in listed} or len(newer) >= KEPT
    with Memory(url, clock=FakeClock(now + timedelta(days=9))) as memory:
        made = memory.backups.run_due()
        assert made is not None
        assert made.drill == "passed"
        assert len(memory.backups.list()) == KEPT
    assert newest
    assert all(is_name(path.name) for path in folder.iterdir())  # no drafts
    assert len(list(folder.iterdir())) == KEPT
