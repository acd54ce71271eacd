"""The restore drill: a backup is good when it was restored and came out the same."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable
from pathlib import Path

from lc_memory.errors import BackupKeyError, DrillFailed, LCMemoryError, StoreClosed
from lc_memory.jobs.backup import restore
from lc_memory.jobs.backup_file import Backup, line_of, reading
from lc_memory.jobs.progress import Progress, silent
from lc_memory.jobs.seal import Key
from lc_memory.records import Namespace, Query, Record
from lc_memory.store import Store


def drill(
    path: Path,
    key: Key | None = None,
    *,
    name: str | None = None,
    scratch: Store | None = None,
    within: Namespace = (),
    progress: Progress = silent,
) -> Backup:
    """Restore a backup into a scratch store, and compare counts and digests of what is there.

    The scratch store is an SQLite file in the temporary folder, deleted afterwards, unless an
    (empty) one is given; nothing in the backup may lie outside of ``within``. Raises DrillFailed,
    saying what was wrong; BackupKeyError without its key.
    """
    try:
        if scratch is not None:
            return _drilled(path, key, name, scratch, within, progress)
        from lc_memory.stores.sql import SQLStore

        with (
            tempfile.TemporaryDirectory(prefix="lc_memory_drill_") as folder,
            # Nobody needs this file after a power loss.
            SQLStore(f"sqlite:///{folder}/scratch.db", durability="normal") as store,
        ):
            return _drilled(path, key, name, store, within, progress)
    except (DrillFailed, BackupKeyError, StoreClosed):
        raise
    except (LCMemoryError, OSError) as error:
        raise DrillFailed(f"{name or path}: the restore drill failed: {error}") from error


def _drilled(
    path: Path,
    key: Key | None,
    name: str | None,
    scratch: Store,
    within: Namespace,
    progress: Progress,
) -> Backup:
    restore(scratch, path, within, key=key, name=name, progress=progress)
    found = _digest(scratch.records(Query(expired=True), 1000), progress)
    with reading(path, key, name) as file:
        expected = _digest(file.records(), progress)
        made = file.manifest
    if found != expected:
        raise DrillFailed(
            f"{name or path}: the restore drill failed: {found[0]} records came back of "
            f"{expected[0]}, and they are not the same; do not rely on this backup"
        )
    return made


def _digest(records: Iterable[Record], progress: Progress) -> tuple[int, str]:
    digest = hashlib.sha256()
    count = 0
    for record in records:
        digest.update(line_of(record))
        count += 1
        if count % 1000 == 0:
            progress(count, 0)
    return count, digest.hexdigest()
