"""Restores, killed (SIGKILL) at random moments."""

from __future__ import annotations

from pathlib import Path

import pytest

from lc_memory.jobs.backup import restore
from lc_memory.registry import open_store
from tests.forks import Nursery
from tests.jobs.test_backup_crash import two_states
from tests.jobs.work import contents

MODES = [
    *[("sqlite", "replace", 40), ("json", "replace", 30), ("csv", "replace", 12)],
    *[("postgres", "replace", 20), ("mongodb", "replace", 8)],
    *[("sqlite", "merge", 26), ("json", "merge", 20), ("postgres", "merge", 12)],
]


@pytest.mark.parametrize(("kind", "mode", "times"), MODES)
def test_a_killed_restore_leaves_the_old_state_or_the_new(
    kind: str, mode: str, times: int, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """What survives: all of the one state or all of the other, the one that was acknowledged or
    the next, whoever opens it. (Merged, they are their own records and the shared ones of one.)"""
    url = f"{kind}:///{tmp_path}/memory.{kind}"
    if kind in ("postgres", "mongodb"):
        url = request.getfixturevalue(f"{kind}_databases")(tmp_path)
    two_states(tmp_path)
    states = {}
    with open_store(url) as store:
        for name in ("b", "a", "b"):
            restore(store, tmp_path / f"{name}.jsonl", mode=mode)
            states[name] = contents(store)
    assert states["a"] != states["b"]
    found, now = [], "b"
    phases = ("verify", "write", "fold") if kind in ("json", "csv") else ("verify", "write")

    def other() -> str:
        return "ab"[now == "a"]

    def args() -> list[str]:
        return [url, str(tmp_path), mode, other()]

    with Nursery() as nursery:
        for said in nursery.kills(times, "restore_for_ever", *phases, args=args):
            now = [now, *(done[1:] for done in said if done[0] == "=")][-1]
            with open_store(url) as store:
                holds = contents(store)
            assert holds in (states[now], states[other()])
            now = "a" if holds == states["a"] else "b"
            found.append(now)
    if times > 20:
        assert set(found) == {"a", "b"}  # some were killed before, and some after
