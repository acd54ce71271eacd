"""Every error that the library raises on purpose.

LCMemoryError
├── InvalidInput (ValueError)        the caller's input; nothing was changed
│   ├── InvalidValue                 a value that cannot be stored; names the JSON path
│   │   └── InvalidDocument          a document that its collection's schema refuses
│   ├── InvalidKey                   a key, namespace or id that no store could keep
│   ├── InvalidFilter                a filter that has no meaning; names the operator or path
│   └── InvalidQuery                 an order, limit or cursor that does not fit
├── MemoryNotFound (KeyError)        there is nothing to update
├── LinkedRecord                     it is linked, and may not be deleted for that
├── Conflict                         somebody else wrote first; read again and retry
├── UnknownStorage (ValueError)      no such storage type; lists the known ones
├── AccessDenied (PermissionError)   the principal lacks a right; says which, on what
├── WrongKey (PermissionError)       the encryption key is missing or another store's
├── MissingExtra (ImportError)       an optional part is not installed; says which
├── Unsupported (NotImplementedError) this store or configuration cannot do that
├── LearningFailed                   a model's answer that no facts can be made of
├── BackupError (ValueError)         a backup that is damaged, foreign or too new
│   ├── BackupKeyError               sealed, and the key is missing or another
│   └── DrillFailed                  restoring it for a trial gave something else
├── MigrationError (ValueError)      a copy that would overwrite, or came out different
└── StoreError                       the store itself
    ├── StoreClosed                  used after close()
    ├── StoreUnavailable (ConnectionError)  cannot be reached or opened, or is busy
    │   ├── CommitUnknown            a commit was cut off
    │   └── SnapshotLost             others wrote where no moment can be kept
    ├── StoreFull (OSError)          no room left; what was stored before is intact
    ├── StoreReadOnly (PermissionError)  may be read but not written
    ├── CorruptStore                 the stored bytes are not what was written
    └── NewerFormat                  written by a newer version of the library
"""

from __future__ import annotations

import re


class LCMemoryError(Exception):
    """The base of all errors of this library."""


class InvalidInput(LCMemoryError, ValueError):
    """Input that was refused before anything was changed."""


class InvalidValue(InvalidInput):
    """A value that cannot be stored; the message begins with its JSON path."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path


class InvalidDocument(InvalidValue):
    """A document that is not what its collection's schema says; the message begins with the JSON
    path of the first problem, and ``problems`` has all of them, as ``(path, reason)``."""

    def __init__(
        self, path: str, reason: str, problems: list[tuple[str, str]] | None = None
    ) -> None:
        super().__init__(path, reason)
        self.reason = reason
        self.problems = problems or [(path, reason)]


class InvalidKey(InvalidInput):
    """A key, namespace, session id or user id that cannot be kept."""


class InvalidFilter(InvalidInput):
    """A filter that has no meaning; the message names the operator or the field."""


class InvalidQuery(InvalidInput):
    """An order, limit, offset or cursor that does not fit."""


class MemoryNotFound(LCMemoryError, KeyError):
    """There is nothing of that name to change."""

    def __str__(self) -> str:  # KeyError would print the repr of the message
        return str(self.args[0]) if self.args else ""


class LinkedRecord(LCMemoryError):
    """What was to be deleted is linked by a relation that forbids it; nothing was changed."""


class Conflict(LCMemoryError):
    """A precondition (``replacing=``) did not hold: somebody else wrote first."""


class AccessDenied(LCMemoryError, PermissionError):
    """A principal lacks a right. Says which right on what, not whether the thing exists."""


class WrongKey(LCMemoryError, PermissionError):
    """The encryption key is missing, is none, or is not the store's; nothing was changed."""


class UnknownStorage(LCMemoryError, ValueError):
    """No store of that name is known."""


class MissingExtra(LCMemoryError, ImportError):
    """An optional dependency is not installed; the message says what to install."""

    def __init__(self, what: str, extra: str) -> None:
        super().__init__(f'{what} needs an extra: pip install "lc-memory[{extra}]"')
        self.extra = extra


class Unsupported(LCMemoryError, NotImplementedError):
    """This store, or this configuration, cannot do what was asked."""


class LearningFailed(LCMemoryError):
    """A model's answer had not the form asked for; the messages are stored, and not yet
    learned from."""


class BackupError(LCMemoryError, ValueError):
    """A backup that is damaged, truncated, foreign or of a newer format."""


class BackupKeyError(BackupError):
    """A sealed backup, and no key was given, or another than it was sealed with."""


class DrillFailed(BackupError):
    """A backup that was restored for a trial, and did not come out as it was."""


class MigrationError(LCMemoryError, ValueError):
    """A copy into a store that would overwrite what is there, or that came out different."""


class StoreError(LCMemoryError):
    """Something is wrong with the store itself."""


class StoreClosed(StoreError):
    """The store was used after ``close()``."""


class StoreUnavailable(StoreError, ConnectionError):
    """The store cannot be opened or reached, or stayed busy for too long."""


class CommitUnknown(StoreUnavailable):
    """The connection broke, or who committed a write with others' was interrupted: it may have
    arrived or not."""


class SnapshotLost(StoreUnavailable):
    """Others wrote while a store was read that cannot show one moment (MongoDB alone)."""


class StoreFull(StoreError, OSError):
    """There is no room for the write; what was stored before is intact."""


class StoreReadOnly(StoreError, PermissionError):
    """The store can be read but not written."""


class CorruptStore(StoreError):
    """The stored bytes are not what was written; nothing is answered from them."""


class NewerFormat(StoreError):
    """The store was written by a newer version of the library; says which to install."""


def newer(place: str, release: object, format: object, known: int) -> str:
    """What to say of something in a format that is not known yet, written by that release (which
    may not be named: older ones did not say)."""
    from lc_memory import __version__

    named = isinstance(release, str) and re.fullmatch(r"[0-9][0-9A-Za-z.+!-]{0,40}", release)
    wrote = (
        f"was written by lc_memory {release} (format {format})" if named else f"has format {format}"
    )
    wanted = f'"lc-memory>={release}"' if named else "-U lc-memory"
    return (
        f"{place} {wrote}; this is {__version__}, which reads up to format {known}; upgrade: pip "
        f"install {wanted}"
    )
