"""Copies to other stores and moves of a store in use, killed (SIGKILL) at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from lc_memory import Clear
from lc_memory.jobs.backup import restore
from lc_memory.jobs.migrate import MARKER, migrate
from lc_memory.jobs.move import Move
from lc_memory.registry import open_store
from tests.forks import Nursery
from tests.jobs.test_backup_crash import two_states
from tests.jobs.work import contents, in_order, pair_in

WAYS = [("sqlite", "sqlite"), ("sqlite", "json"), ("json", "sqlite")]


@pytest.mark.parametrize(("kind", "other"), WAYS)
def test_a_killed_copy_goes_on_where_it_was(kind: str, other: str, tmp_path: Path) -> None:
    """What survives: the source as it was; and the copy is whole, or empty, or says that it is
    unfinished, holds nothing that is not in the source, and is brought to its end."""
    source, target = f"{kind}:///{tmp_path}/source", f"{other}:///{tmp_path}/target"
    two_states(tmp_path)
    with open_store(source) as store:
        restore(store, tmp_path / "a.jsonl")
        expected = contents(store)
    unfinished = 0
    with Nursery() as nursery:
        phases = ("copy", "compare", "empty")
        for _ in nursery.kills(20, "copy_for_ever", *phases, args=[source, target]):
            with open_store(source) as store, open_store(target) as copy:
                assert contents(store) == expected
                copied = contents(copy)
                if copy.get(*MARKER) is None:
                    assert copied in ([], expected)
                else:
                    unfinished += 1
                    assert copied == expected[: len(copied)]
    assert unfinished
    with open_store(source) as store, open_store(target) as copy:
        if copy.get(*MARKER) is None:
            copy.write([Clear(())])
        assert migrate(store, copy).verified
        assert contents(copy) == contents(store) == expected


@pytest.mark.parametrize(("other", "times"), [("sqlite", 30), ("json", 16)])
def test_a_killed_move_loses_nothing(other: str, times: int, tmp_path: Path) -> None:
    """What survives: every write that was acknowledged, to whichever store was the one in use, in
    the store that is to be used next; and the move goes on, or back."""
    urls = [f"sqlite:///{tmp_path}/one", f"{other}:///{tmp_path}/two"]
    two_states(tmp_path)
    with open_store(urls[0]) as store:
        restore(store, tmp_path / "a.jsonl")
    open_store(urls[1]).close()
    phases_met = set()
    acknowledged = -1
    with Nursery() as nursery:
        phases = ("run", "finish", "rollback", "confirm")
        for said in nursery.kills(times, "move_for_ever", *phases, args=urls):
            numbers = [int(done[1:]) for done in said if done[0] == "="]
            acknowledged = max([acknowledged, *numbers])
            stores = [open_store(url) for url in urls]
            try:
                here, there = in_order(stores)
                phase = Move(here, there).phase
                phases_met.add(phase)
                used = there if phase in ("finished", "rolling back") else here
                left, right = pair_in(used)
                assert left == right
                assert left in (acknowledged, acknowledged + 1)
                acknowledged = left
                records = {r.key: r.value["n"] for r in used.records() if r.namespace == ("live",)}
                for number in range(max(0, left - 48), left):
                    assert records[f"{number % 50:02}"] == number
                assert len(contents(used)) == 120 + len(records)
            finally:
                for store in stores:
                    store.close()
    assert len(phases_met) > 1  # which of them is chance
