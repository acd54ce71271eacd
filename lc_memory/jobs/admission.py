"""What of a backup may come into a memory: what it can read, and what the caller may bring."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from lc_memory.errors import AccessDenied, BackupError, CorruptStore, WrongKey
from lc_memory.keys import Keyring, _name
from lc_memory.layers.encrypted import Encrypted
from lc_memory.records import Id, Namespace, Query, Record
from lc_memory.relations import DECLARED, Stored, holding, is_link

if TYPE_CHECKING:
    from lc_memory.layers.stack import Stack


class OwnerRefused(AccessDenied):
    """A record of an owner whom the principal cannot speak for, met while the store is held: it
    is put on record afterwards (:meth:`Admission.deny`)."""

    def __init__(self, record: Record) -> None:
        super().__init__(f"{record.owner!r} is not yours to speak for")
        self.record = record


class Admission:
    """Without layers (None) everything may.

    ``brought`` are the records of data keys in the backup. None: the records are not looked into,
    because all that there is is replaced by what there was, by an administrator.
    """

    def __init__(
        self,
        stack: Stack | None = None,
        principal: str | None = None,
        brought: Iterable[Record] | None = None,
    ) -> None:
        self._stack = stack
        self._principal = principal
        self._looks = brought is not None
        self._keys: _Keys | None = None
        if stack is not None and stack.keyring is not None:
            self._keys = _Keys(stack.keyring, brought or ())
            self._sealed = Encrypted(stack.store, self._keys)

    def check_master(self, setting: Record) -> None:
        """Raise WrongKey for the encryption of a memory whose master key is not at hand."""
        keyring = self._stack and self._stack.keyring
        if keyring and not keyring.fits(setting.value):
            raise WrongKey(
                "the backup is of a memory with another master key; nothing was restored. Open "
                "this one with that key: encryption_key=[its key, this one's]"
            )

    def taken(self, key: Record) -> Record:
        """A record of data keys, wrapped by the holding master key. Raises WrongKey if theirs is
        not at hand."""
        return key if self._keys is None else self._keys.taken(key)

    def refusing(self, prefixes: Sequence[Namespace]) -> dict[Id, str]:
        """The ends, under these prefixes, of links that forbid to delete them, by relation."""
        if self._stack is None:
            return {}
        store = self._stack.sealed
        declared = store.get(*DECLARED)
        modes = {} if declared is None else declared.value
        refusing = {name for name, mode in modes.items() if mode == "refuse"}
        halves: dict[Id, Stored] = {}
        for name in store.namespaces(expired=True) if refusing else ():
            if is_link(name):
                for record in store.records(Query(name, exact=True, expired=True)):
                    with suppress(CorruptStore):  # no link, whoever wrote it
                        halves[record.id] = Stored.of(record)
        links = [
            link
            for id, link in halves.items()
            if id == link.ids[0]
            and link.ids[1] in halves
            and link.relation in refusing
            and not all(_under(half, prefixes) for half in link.ids)
        ]
        return {
            end: link.relation
            for link in holding(store, links)
            for end in (link.source, link.target)
            if _under(end, prefixes)
        }

    def check(self, record: Record) -> None:
        """Raise OwnerRefused for a record of an owner whom the principal cannot speak for,
        BackupError for a sealed one that could not be read, and InvalidDocument for one that its
        schema refuses."""
        if self._stack is None:
            return
        if self._looks:
            theirs = record.namespace[1:2] if record.namespace[:1] == ("users",) else ()
            if record.owner not in (None, self._principal, *theirs) and not self._rules(record):
                raise OwnerRefused(record)
        if self._keys is not None:
            if not self._looks:
                return
            try:
                record = self._sealed._lift(record)
            except CorruptStore as error:
                raise BackupError(f"nothing was restored: {error}") from error
        cover = self._stack.schemas.covering(record.namespace)
        if cover is not None:
            cover.check(record.value)

    def deny(self, record: Record) -> None:
        """Put on record that this one was refused, and raise AccessDenied."""
        if self._stack is not None:
            self._stack.require(self._principal, "admin", record.namespace, record.key)

    def _rules(self, record: Record) -> bool:
        """Whether the principal is an administrator there. Writes nothing."""
        if self._stack is None or not self._stack.guards:
            return True
        if self._principal is None:
            return False
        permits = self._stack.policy().permits(self._principal)
        return permits.may("admin", record.namespace, record.key)


def _under(id: Id, prefixes: Sequence[Namespace]) -> bool:
    return any(id[0][: len(prefix)] == prefix for prefix in prefixes)


class _Keys(Keyring):
    """The keys of a store, and those that a backup brings to it."""

    def __init__(self, own: Keyring, brought: Iterable[Record]) -> None:
        self._own = own
        self._brought = {record.key: record for record in brought}
        self._masters, self._first = own._masters, own._first
        self._ciphers = {}

    def cipher(self, user: str, id: str) -> AESGCM:
        found = self._ciphers.get((user, id))
        if found is not None:
            return found
        try:
            return self._own.cipher(user, id)
        except CorruptStore:
            record = self._brought.get(_name(user))
            if record is None or id not in record.value["keys"]:
                raise
            return self._open(user, record, id)

    def taken(self, key: Record) -> Record:
        return replace(key, value=self._rewrapped(key.value))
