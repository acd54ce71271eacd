"""Backup and restore of a store: one file with everything as of one moment, and back.

The file's format is :mod:`lc_memory.jobs.backup_file`'s; what belongs into it, and what stays with
the store, is said in :mod:`lc_memory.jobs.parts`. Both directions stream: a store of any size
takes the memory of a page (stores that hold everything in memory still do).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Final

from lc_memory import values
from lc_memory.errors import BackupError, InvalidInput, LinkedRecord, SnapshotLost
from lc_memory.jobs.admission import Admission, OwnerRefused
from lc_memory.jobs.backup_file import Backup as Backup
from lc_memory.jobs.backup_file import reading, write
from lc_memory.jobs.parts import (
    AUDIT,
    DESTROYED,
    OURS,
    STAYS,
    UNDER_LAYERS,
    Part,
    belongs,
    joined,
    staying,
)
from lc_memory.jobs.progress import Progress, silent
from lc_memory.jobs.seal import Key, check_key
from lc_memory.records import Namespace, Query, Record
from lc_memory.store import Store
from lc_memory.stores.disk import Disk

_PAGE: Final = 1000
_KEYS: Final = (OURS, "keys")
_SETTING: Final = (OURS, "settings"), "encryption"
#: What no restore turns off.
_HELD: Final = ((OURS, "settings"), "access"), ((OURS, "settings"), "audit")
#: How often a store that cannot keep one moment is read again, if somebody wrote meanwhile.
_TRIES: Final = 3


def backup(
    store: Store,
    path: str | os.PathLike[str],
    scope: Namespace = (),
    *,
    key: Key | None = None,
    progress: Progress = silent,
    now: datetime | None = None,
    disk: Disk | None = None,
) -> Backup:
    """Write everything under the scope, as of one moment, to a new file (mode 0600).

    The file appears whole or not at all; one of that name is replaced. ``key`` (32 bytes, or a
    passphrase) seals it. Records that are encrypted in the store stay so, key or not.
    """
    if key is not None:
        check_key(key)
    for left in reversed(range(_TRIES)):
        try:
            with store.snapshot() as view:
                total = view.count(Query(scope, expired=True))
                records = _told(_belonging(view, scope), progress, total)
                when, under = now or datetime.now(UTC), encryption(view)
                return write(Path(path), records, when, scope, key, disk, under)
        except SnapshotLost:
            if not left:
                raise
    raise AssertionError


def restore(
    store: Store,
    path: str | os.PathLike[str],
    scope: Namespace = (),
    *,
    mode: str = "replace",
    collections: Iterable[str] | None = None,
    user: str | None = None,
    key: Key | None = None,
    progress: Progress = silent,
    name: str | None = None,
    accept: Callable[[Backup], None] = lambda made: None,
    begin: Callable[[], None] = lambda: None,
    admission: Callable[[Iterable[Record] | None], Admission] = lambda brought: Admission(),
) -> int:
    """Replace what the backup was made of by what it holds; returns how many records.

    The whole file is verified before the first write, and the replacement is one batch: all, or
    nothing, also if the process is killed. ``collections`` and ``user`` restore that part and
    leave the rest alone. ``mode="merge"`` deletes nothing: what the backup holds is written over
    what has the same id. Of the library's own records such a part takes only the keys that its
    records need, and these are looked into: each must be readable here. A store's own settings of
    encryption, access control and audit stay, and what was sealed with a key that was destroyed
    with its user is left out.

    Raises BackupError for a file that is damaged, foreign, of a newer format, made of another
    scope, without what was asked for, or of a user who was forgotten; BackupKeyError if it is
    sealed and the key is not its; WrongKey if its data keys are wrapped by a master key that was
    not given; LinkedRecord if a part would delete what a relation forbids to delete.
    """
    if mode not in ("replace", "merge"):
        raise InvalidInput(f"mode: 'replace' or 'merge', not {mode!r}")
    part = Part.of(collections, user)
    brought: list[Record] = []
    made = verify(
        path, key, name=name, within=scope, part=part, progress=progress, keys=brought.append
    )
    if made.scope[: len(scope)] == scope:
        scope = made.scope
    whole = part.is_all and mode == "replace"
    accept(made)
    same = made.encryption == encryption(store)
    if not same:
        _check_apart(store, made, whole and not scope, name or str(path))
    else:  # otherwise nothing that is told of it could be read afterwards
        begin()
    all_of_it = whole and not scope
    admitted = admission(None if all_of_it else brought)
    gone = {r.key for r in store.records(Query(DESTROYED, expired=True))} if same else set()
    kept = [r for r in store.read([*_HELD, *([_SETTING] if same else [])], expired=True) if r]
    held = {record.id for record in kept}
    prefixes = [] if mode == "merge" else part.prefixes(store, scope)
    linked = {} if all_of_it else admitted.refusing(prefixes)
    restored = 0

    def records() -> Iterator[Record]:
        nonlocal restored
        restored = 0
        lost = dict(linked)
        with reading(Path(path), key, name) as file:
            for are_keys, group in groupby(file.records(), lambda r: r.namespace == _KEYS):
                if are_keys and same:
                    for mine, key_record in _with_keys(group, store, part, whole, admitted, gone):
                        restored += mine and whole
                        yield key_record
                    continue
                for record in group:
                    if not belongs(record.namespace):
                        continue
                    if record.namespace[:1] == (OURS,):
                        if not whole:
                            continue
                        if record.id in held:
                            restored += 1
                            continue
                    elif not part.holds(record.namespace):
                        continue
                    elif gone and sealed_with(record) in gone:
                        if scope or part.user is not None:
                            raise BackupError(
                                f"{name or path}: holds what was stored before the user was "
                                "forgotten, and nobody can read that any more"
                            )
                        continue
                    else:
                        admitted.check(record)
                    if record.id == _SETTING:
                        admitted.check_master(record)
                    restored += 1
                    lost.pop(record.id, None)
                    yield record
            if file.manifest.sha256 != made.sha256:
                raise BackupError(f"{name or path}: was changed meanwhile; nothing was restored")
        if lost:
            raise LinkedRecord(
                f"{name or path}: {len(lost)} records that it does not hold are linked by a "
                f"relation that forbids to delete them: {', '.join(sorted(set(lost.values())))}; "
                'unlink them first, or restore with mode="merge"'
            )
        if all_of_it:
            yield from kept
            yield from staying(store, STAYS if same else UNDER_LAYERS[:2])

    try:
        store.restore(records, prefixes)
    except OwnerRefused as refused:  # while it restores, nobody else writes; nor does the log
        admitted.deny(refused.record)
        raise
    return restored


def verify(
    path: str | os.PathLike[str],
    key: Key | None = None,
    *,
    name: str | None = None,
    within: Namespace = (),
    part: Part | None = None,
    progress: Progress = silent,
    keys: Callable[[Record], object] = lambda record: None,
) -> Backup:
    """Read all of a backup, and say what it holds. Raises BackupError (see :func:`restore`)."""
    outside = inside = count = 0
    names: set[str] = set()
    wanted = part or Part()
    with reading(Path(path), key, name) as file:
        for record in file.records():
            count += 1
            if record.namespace == _KEYS:
                keys(record)
            outside += record.namespace[: len(within)] != within
            if wanted.holds(record.namespace):
                inside += 1
                if wanted.collections is not None:
                    names |= wanted.names(record.namespace)
            if count % _PAGE == 0:
                progress(count, 0)
        made = file.manifest
    shown = name or path
    if outside:
        raise BackupError(
            f"{shown}: holds records outside of {'/'.join(within)!r}; restore it where it was made"
        )
    missing = set(wanted.collections or ()) - names
    if missing:
        raise BackupError(
            f"{shown}: holds no {', '.join(sorted(missing))}"
            f"{' of ' + repr(wanted.user) if wanted.user else ''}; it holds "
            f"{', '.join(sorted(made.collections)) or 'nothing'}"
        )
    if wanted.user is not None and not inside:
        raise BackupError(f"{shown}: holds nothing of {wanted.user!r}; nothing was restored")
    return made


def encryption(store: Store) -> str:
    """What tells the encryption of a store from another's; empty if it has none."""
    found = store.get(*_SETTING)
    if found is None:
        return ""
    return hashlib.sha256(values.encode({"salt": found.value.get("salt")}).encode()).hexdigest()[
        :16
    ]


def _check_apart(store: Store, made: Backup, whole: bool, name: str) -> None:
    """Refuse to mix what was stored under different keys. Raises BackupError."""
    if not whole:
        raise BackupError(
            f"{name}: its records were stored under {_under(made.encryption)}, and those of this "
            f"store are under {_under(encryption(store))}: they cannot be mixed; restore all of "
            "it, into a store of its own"
        )
    if encryption(store) and store.find(Query(AUDIT, limit=1, expired=True)).records:
        raise BackupError(
            f"{name}: was made under {_under(made.encryption)}, and nobody could read this "
            "store's audit log any more: restore it into a new store"
        )


def sealed_with(record: Record) -> str:
    """The name of the key that an encrypted record is sealed with."""
    sealed = record.value.get("sealed")
    return sealed.partition(".")[0] if isinstance(sealed, str) else ""


def _with_keys(
    records: Iterator[Record],
    store: Store,
    part: Part,
    whole: bool,
    admitted: Admission,
    gone: Collection[str],
) -> Iterator[tuple[bool, Record]]:
    """The data keys of the backup and those of the store together, and whether the backup has
    them. Nothing that can be read now becomes unreadable: of a key in both, the store's form
    stays, which may be wrapped by a newer master key. Of the backup's, those come that were not
    destroyed, and are wrapped anew if they need it."""
    from lc_memory.keys import _name

    held = store.records(Query(_KEYS, exact=True, expired=True))
    for mine, theirs in joined(records, held):
        if part.user is not None and (mine or theirs).key != _name(part.user):  # type: ignore[union-attr]  # one of the two is
            continue
        if mine is None:
            if whole and theirs is not None:
                yield False, theirs
            continue
        there = {} if theirs is None else theirs.value["keys"]
        keys = mine.value["keys"]
        new = {id: keys[id] for id in keys if id not in there and id not in gone}
        if new:
            new = admitted.taken(replace(mine, value={**mine.value, "keys": new})).value["keys"]
        if theirs is not None:
            yield True, replace(theirs, value={**theirs.value, "keys": {**new, **there}})
        elif new:
            active = mine.value["active"]
            active = active if active in new else next(iter(new))
            yield True, replace(mine, value={**mine.value, "keys": new, "active": active})


def _under(encryption: str) -> str:
    return f"the encryption {encryption}" if encryption else "no encryption"


def _belonging(view: Store, scope: Namespace) -> Iterator[Record]:
    records = view.records(Query(scope, expired=True), _PAGE)
    return (record for record in records if belongs(record.namespace))


def _told(records: Iterable[Record], progress: Progress, total: int) -> Iterator[Record]:
    count = 0
    for record in records:
        yield record
        count += 1
        if count % _PAGE == 0:
            progress(count, total)
    progress(count, max(count, total))
