"""Who may back up, restore and move a memory that has layers over its store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

from lc_memory.errors import BackupError, InvalidInput, LCMemoryError
from lc_memory.jobs.admission import Admission
from lc_memory.jobs.backup_file import Backup
from lc_memory.layers.stack import Stack
from lc_memory.records import Namespace, Record


class Rights:
    """What the layers of a memory have to say; without layers (None) everything is allowed."""

    def __init__(self, stack: Stack | None = None, principal: str | None = None) -> None:
        self._stack = stack
        self._principal = principal

    def require(self, *rights: str, scope: Namespace = ()) -> None:
        """Raise AccessDenied unless the principal has these rights there."""
        if self._stack is not None:
            for right in rights:
                self._stack.require(self._principal, right, scope)

    @property
    def is_store(self) -> bool:
        """Whether there are no layers."""
        return self._stack is None

    @property
    def is_sealed(self) -> bool:
        return self._stack is not None and self._stack.keyring is not None

    def tell(
        self, action: str, scope: Namespace, detail: str | None = None, outcome: str = "done"
    ) -> None:
        """Add to the audit log."""
        if self._stack is not None:
            self._stack.tell(self._principal, action, scope, detail=detail, outcome=outcome)

    def remark(self, action: str, scope: Namespace, outcome: str = "done") -> None:
        """Add to the audit log what changed nothing."""
        if self._stack is not None:
            self._stack.remark(self._principal, action, scope, outcome=outcome)

    @contextmanager
    def told(self, action: str, scope: Namespace, *, begun: bool = True) -> Iterator[list[str]]:
        """Put on record that a job begins, so that a kill leaves a trace, and how it ended, with
        the details that were added to what is given."""
        if begun:
            self.tell(action, scope, outcome="begun")
        details: list[str] = []
        try:
            yield details
        except BaseException as error:
            with suppress(LCMemoryError):  # what went wrong first is what the caller must hear
                tell = self.tell if begun else self.remark
                tell(action, scope, outcome=type(error).__name__)
            raise
        self.tell(action, scope, ", ".join(details) or None)

    def accept(self, made: Backup) -> None:
        """Raise BackupError for a backup that this memory, as it is open, could not read."""
        if self._stack is None:
            return
        if made.encryption and self._stack.keyring is None:
            raise BackupError(
                f"{made.path}: is of an encrypted memory; open this one with encryption_key="
            )
        if not made.encryption and self._stack.keyring is not None:
            raise BackupError(
                f"{made.path}: is not of an encrypted memory, and this one is; restore it into a "
                "new one, and copy_to() this"
            )

    def admission(self, brought: Iterable[Record] | None) -> Admission:
        """What of a backup may come in (see there)."""
        return Admission(self._stack, self._principal, brought)

    def check(self, record: Record) -> None:
        """Raise InvalidDocument for a record, not sealed, that its schema refuses."""
        if self._stack is not None:
            cover = self._stack.schemas.covering(record.namespace)
            if cover is not None:
                cover.check(record.value)

    def restored(self, scope: Namespace) -> None:
        """Take up the keys that were restored."""
        if self._stack is not None:
            self._stack.reload(scope)

    def at_close(self, end: Callable[[], None]) -> None:
        """Have this done when the memory is closed, whatever handle began it."""
        if self._stack is not None:
            self._stack.closing.append(end)


def check_move(source: Rights, target: Rights) -> None:
    """Raise AccessDenied to who is not an administrator of both memories, which are read and
    written below their access control; or InvalidInput if the target, as it is open, could not
    read what comes."""
    source.require("admin")
    target.require("admin")
    if not target.is_store and (source.is_sealed or target.is_sealed):
        raise InvalidInput(
            "an encrypted memory moves as it is, with its keys: give the URL of the new store, "
            "and open that with the same encryption_key= afterwards"
        )
