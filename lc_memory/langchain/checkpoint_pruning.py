"""Which checkpoints of a thread must be kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import attrgetter

from lc_memory.langchain.checkpoint_serde import Codec
from lc_memory.langchain.checkpoint_state import COUNTERS, State


def outdated(
    states: Sequence[State], keep: int, codec: Codec, ns: str | None = None
) -> list[State]:
    """All but the latest ``keep`` of each namespace (or of one), and what these need."""
    by_ns = attrgetter("spot.ns")
    kept: list[State] = []
    for name, group in groupby(sorted(states, key=by_ns), key=by_ns):
        found = sorted(group, key=attrgetter("id"), reverse=True)
        kept += found if ns not in (None, name) else found[:keep]
    gone = unneeded(kept, states, codec)
    return gone + _inner(states, gone, codec)


def unneeded(kept: Iterable[State], states: Sequence[State], codec: Codec) -> list[State]:
    """All but those to be kept, and what these are rebuilt from."""
    wanted = {state.place for state in _with_sources(kept, states, codec)}
    return [state for state in states if state.place not in wanted]


def _with_sources(kept: Iterable[State], states: Sequence[State], codec: Codec) -> list[State]:
    """With the ancestors that their DeltaChannels are rebuilt from: back to the nearest that
    holds a value of each.

    Which ones those are the metadata counts; where it does not, a snapshot among the ancestors
    tells.
    """
    known = {state.place: state for state in states}
    snapshots: dict[str, set[str]] = {}
    for state in states:
        snapshots.setdefault(state.spot.ns, set()).update(state.snapshots)
    needed: list[State] = []
    for state in kept:
        needed.append(state)
        counted = set(state.read_metadata(codec).get(COUNTERS) or {})
        missing = counted - state.values.keys()
        perhaps = snapshots[state.spot.ns] - counted - state.values.keys()
        passed: list[State] = []
        seen = {state.id}
        while (missing or perhaps) and state.parent is not None and state.parent not in seen:
            before = known.get((state.spot.states, state.parent))
            if before is None:
                break
            passed.append(before)
            seen.add(before.id)
            if missing or perhaps & before.snapshots:
                needed += passed
                passed = []
            missing -= before.values.keys()
            perhaps -= before.values.keys()
            state = before
    return needed


def _inner(states: Sequence[State], gone: Iterable[State], codec: Codec) -> list[State]:
    """Checkpoints of subgraphs' runs whose surrounding checkpoints are deleted.

    A subgraph with a memory of its own, whose namespace names no run, keeps it.
    """
    lost = {(state.spot.ns, state.id) for state in gone}
    return [
        state
        for state in states
        if ":" in state.spot.ns
        and any(item in lost for item in (state.read_metadata(codec).get("parents") or {}).items())
    ]
