"""What :class:`~lc_memory.memory.Memory` does so that nothing is lost with its store: backups, and
moves to other stores."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lc_memory.aio import AsyncStore
from lc_memory.layers.base import Layer
from lc_memory.layers.stack import Stack
from lc_memory.records import Namespace
from lc_memory.registry import check_url, open_store

if TYPE_CHECKING:
    from lc_memory.jobs.backup import Backup
    from lc_memory.jobs.backups import Backups
    from lc_memory.jobs.migrate import Migration
    from lc_memory.jobs.move import Move
    from lc_memory.jobs.retention import Keep
    from lc_memory.jobs.schedule import Schedule
    from lc_memory.memory import Memory

_MAKING = threading.Lock()


class Safekeeping:
    """A part of Memory."""

    _layers: Stack
    _backups: Backups | None
    backend: Layer
    bridge: AsyncStore
    scope: Namespace
    principal: str | None

    @property
    def backups(self) -> Backups:
        """The backups of this memory: made, listed, verified, tried out, on a schedule."""
        with _MAKING:
            if self._backups is None:
                from lc_memory.jobs.backups import Backups
                from lc_memory.jobs.rights import Rights

                self._backups = Backups(
                    self._layers.store, self.scope, Rights(self._layers, self.principal)
                )
            return self._backups

    def backup_data(
        self, path: str | os.PathLike[str], *, key: bytes | str | None = None
    ) -> Backup:
        """Write everything, as of one moment, to one checksummed file (mode 0600).

        ``backup.json`` is a JSON document for a person to read, ``backup.jsonl`` lines; ``.gz``
        or ``.zst`` at the end compresses. A URL such as ``s3://bucket/backup.jsonl.gz`` goes
        through fsspec. ``key`` (32 bytes, or a passphrase) seals the file. What is encrypted in
        the store stays so. See docs/backups.md.
        """
        return self.backups.write(path, key)

    def restore_data(
        self,
        path: str | os.PathLike[str],
        *,
        mode: str = "replace",
        collections: Iterable[str] | None = None,
        user: str | None = None,
        key: bytes | str | None = None,
    ) -> int:
        """Replace everything by what a backup holds, or change nothing and raise BackupError.

        The whole file is verified first, and a kill at any moment leaves the old state or the new
        one. ``collections`` and ``user`` restore that part only; ``mode="merge"`` deletes
        nothing. Returns how many records were restored.
        """
        return self.backups.restore(path, mode, collections, user, key)

    def schedule_backups(
        self,
        every: str | float | None = None,
        *,
        cron: str | None = None,
        to: str | os.PathLike[str] | None = None,
        keep: Keep | int | Mapping[str, int] | None = None,
        **options: Any,
    ) -> Schedule:
        """Make backups from now on, as long as this memory is open: ``every="6h"`` (minutes, if
        it is a number) or ``cron="0 3 * * *"`` (UTC), into a folder or an fsspec URL.

        The schedule is kept in the store: without arguments the stored one is taken up again.
        Processes that share the store make one backup. Each is tried out by restoring it into a
        scratch store; ``keep`` says which stay. See
        :meth:`lc_memory.jobs.backups.Backups.schedule` for the options.
        """
        return self.backups.schedule(every, cron=cron, to=to, keep=keep, **options)

    def copy_to(
        self, other: Memory | str, *, dry_run: bool = False, merge: bool = False
    ) -> Migration:
        """Copy everything to another memory (or the store of a URL), of whatever kind.

        Versions, times and expiries are kept, every record is compared afterwards, and a copy
        that was interrupted goes on where it was. ``dry_run`` only counts, and does not open (or
        make) what a URL names; ``merge`` allows a target that holds records already. Raises
        MigrationError (see :func:`lc_memory.jobs.migrate.migrate`).
        """
        from lc_memory.jobs.migrate import counted, migrate
        from lc_memory.jobs.progress import shown
        from lc_memory.memory import Memory

        if dry_run and isinstance(other, str):  # opening it would make it
            check_url(other)
            with shown("Counting") as progress:
                return counted(self.backend, self.scope, progress)
        target = Memory(other) if isinstance(other, str) else other
        try:
            for right in () if dry_run else ("write", "delete"):
                target._layers.require(target.principal, right, self.scope)
            with shown("Copying") as progress:
                return migrate(
                    self.backend,
                    target._layers.inner(target.principal),
                    prefix=self.scope,
                    dry_run=dry_run,
                    merge=merge,
                    name="/".join(self.scope),
                    progress=progress,
                    ending=lambda: target._layers.adopt(self._layers, target.principal),
                )
        finally:
            if target is not other:
                target.close()

    def migrate_to(self, other: Memory | str) -> Move:
        """A move of everything to another memory (or the store of a URL) while others go on
        writing here: ``run()`` it, stop the writers, ``finish()``, and ``confirm()`` or
        ``rollback()``. See :mod:`lc_memory.jobs.move`.

        Records that are encrypted move as they are, with their keys. With access control on, in
        either memory, it takes an administrator there: raises AccessDenied.
        """
        from lc_memory.jobs.move import Move
        from lc_memory.jobs.rights import Rights, check_move

        source = Rights(self._layers, self.principal)
        is_url = isinstance(other, str)
        target = Rights() if isinstance(other, str) else Rights(other._layers, other.principal)
        check_move(source, target)
        store = open_store(other) if isinstance(other, str) else other._layers.store
        return Move(
            self._layers.store, store, self.scope, owns_target=is_url, rights=(source, target)
        )

    # -- async twins -----------------------------------------------------------------------

    async def abackup_data(
        self, path: str | os.PathLike[str], *, key: bytes | str | None = None
    ) -> Backup:
        """:meth:`backup_data` for asyncio."""
        return await self.bridge.run(self.backup_data, path, key=key)

    async def arestore_data(self, path: str | os.PathLike[str], **options: Any) -> int:
        """:meth:`restore_data` for asyncio."""
        return await self.bridge.run(self.restore_data, path, **options)

    async def aschedule_backups(self, every: str | float | None = None, **options: Any) -> Schedule:
        """:meth:`schedule_backups` for asyncio."""
        return await self.bridge.run(self.schedule_backups, every, **options)

    async def acopy_to(
        self, other: Memory | str, *, dry_run: bool = False, merge: bool = False
    ) -> Migration:
        """:meth:`copy_to` for asyncio."""
        return await self.bridge.run(self.copy_to, other, dry_run=dry_run, merge=merge)

    async def amigrate_to(self, other: Memory | str) -> Move:
        """:meth:`migrate_to` for asyncio: call the move's methods in a thread."""
        return await self.bridge.run(self.migrate_to, other)
