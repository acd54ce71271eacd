"""The layers of one memory: which there are, in which order, and for whom."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from lc_memory.errors import Unsupported, WrongKey
from lc_memory.jobs.parts import AUDIT
from lc_memory.layers.base import Handle, Layer
from lc_memory.layers.settings import change_setting, read_settings
from lc_memory.records import Id, Namespace
from lc_memory.relations import LINKS, OnDelete, check_modes
from lc_memory.store import Index, Store
from lc_memory.validation import Schemas

if TYPE_CHECKING:
    from pydantic import BaseModel

    from lc_memory.access import Policy
    from lc_memory.audit import Trail
    from lc_memory.keys import Keyring, Source
    from lc_memory.layers.guarded import Guarded
    from lc_memory.layers.indexed import Indexed
    from lc_memory.search.recall import Recall

#: Where the encryption key comes from if none is given.
KEY_VARIABLE: Final = "LC_MEMORY_ENCRYPTION_KEY"


class Stack:
    """Puts the layers in order over one store, for each handle of a memory.

    ``store`` is the store itself. A handle's own store (:meth:`handle`) is the outermost; when a
    layer is added later, every handle has it from then on.
    """

    def __init__(
        self,
        store: Store,
        *,
        encryption_key: Source | list[Source] | None = None,
        encrypt_fields: Sequence[str] | None = None,
        access_control: bool | None = None,
        admins: Sequence[str] = (),
        audit: bool | None = None,
        indexes: Sequence[Index] = (),
        recall: Recall | bool | None = None,
        schemas: Mapping[str, type[BaseModel]] | None = None,
        relations: Mapping[str, OnDelete] | None = None,
    ) -> None:
        self._building = threading.RLock()
        self._handles: weakref.WeakKeyDictionary[Layer, str | None] = weakref.WeakKeyDictionary()
        self.store = store
        #: What ends with the memory, before its store is closed: schedules of any handle.
        self.closing: list[Callable[[], None]] = []
        self.settings = read_settings(store)
        self.sealed: Store = store
        self.keyring: Keyring | None = None
        if encryption_key is None:
            encryption_key = os.environ.get(KEY_VARIABLE)
        if encryption_key is not None or "encryption" in self.settings:
            self._encrypt(encryption_key, encrypt_fields)
        elif encrypt_fields is not None:
            raise TypeError("encrypt_fields needs an encryption_key")
        if indexes:
            self.sealed.declare(indexes)
        self.trail: Trail | None = None
        self._policy: Policy | None = None
        if self._is_on("audit", audit):
            from lc_memory.audit import Trail

            self.trail = Trail(self.sealed, self._digest)
        if self._is_on("access", access_control):
            from lc_memory.access import Policy

            self._policy = Policy(self.sealed, admins)
        self.indexed: Indexed | None = None
        if recall:
            from lc_memory.layers.indexed import Indexed
            from lc_memory.search.recall import Recall

            self.indexed = Indexed(self.sealed, Recall.of(recall))
        self.schemas = Schemas()
        for name, model in (schemas or {}).items():
            self.schemas.register(name, model)
        if relations:
            self.relate(relations)

    def handle(self, principal: str | None) -> Layer:
        """The store that a principal (None: nobody in particular) works on."""
        with self._building:
            top = Handle(self.outer(principal))
            self._handles[top] = principal
            return top

    def outer(self, principal: str | None) -> Store:
        """All the layers, for a principal."""
        store = self.inner(principal)
        if self._policy is not None:
            store = self._guarded(principal, store)
        return store

    def inner(self, principal: str | None) -> Store:
        """The layers below access control: for the library's own work on a principal's behalf."""
        store = below = self.indexed or self.sealed
        if self.schemas:
            from lc_memory.layers.validated import Validated

            store = below = Validated(store, self.schemas)
        if self.trail is not None:
            from lc_memory.layers.audited import Audited

            store = Audited(store, self.trail, principal)
        if "relations" in self.settings:
            from lc_memory.layers.related import Related

            store = Related(store, below, partial(self.require, principal))
        return store

    def relate(self, relations: Mapping[str, OnDelete]) -> None:
        """Declare relations, and that there are links at all."""
        check_modes(relations)
        known = self.settings.get("relations")
        if known is None or not relations.items() <= known.items():
            change = change_setting(self.store, "relations", relations)
            self.settings = {**self.settings, "relations": change}
            self.rebuild()

    def forget(self, user: str) -> None:
        """See to what is kept of a user besides their records: grants, and the data key. It is
        replaced, and deleted when no process can be writing with it any more."""
        from lc_memory.access import forget_grants

        forget_grants(self.sealed, user)
        if self.keyring is not None and self.keyring.holds(user):
            from lc_memory.layers.encrypted import Encrypted

            assert isinstance(self.sealed, Encrypted)
            self.keyring.rotate(user, forgotten=True)
            self.keyring.retire(self.sealed.used())

    @property
    def guards(self) -> bool:
        """Whether access control is on."""
        return self._policy is not None

    def policy(self) -> Policy:
        """Who may do what. Raises Unsupported without access control."""
        if self._policy is None:
            raise Unsupported("access control is off: open with Memory(url, access_control=True)")
        return self._policy

    def require(
        self, principal: str | None, right: str, namespace: Namespace, key: str | None = None
    ) -> None:
        """Raise AccessDenied unless the principal has the right there, or control is off."""
        if self._policy is not None:
            self._guarded(principal, self.sealed).require(right, namespace, key)

    def permitted(self, principal: str | None, right: str, ids: Sequence[Id]) -> list[Id]:
        """Those of the records that the principal has the right to; all, if control is off."""
        if not self.guards:
            return list(ids)
        if principal is None:
            return []
        permits = self.policy().permits(principal)
        return [id for id in ids if permits.may(right, *id)]

    def tell(
        self,
        principal: str | None,
        action: str,
        namespace: Namespace = (),
        key: str | None = None,
        *,
        outcome: str = "done",
        detail: str | None = None,
    ) -> None:
        """Add to the audit log, where there is one, what is not an operation of the store."""
        if self.trail is not None:
            items = [(action, namespace, key, None)]
            self.trail.record(principal, action, items, outcome, detail)

    def remark(
        self,
        principal: str | None,
        action: str,
        namespace: Namespace = (),
        *,
        outcome: str = "done",
        detail: str | None = None,
    ) -> None:
        """:meth:`tell` of what changed nothing; unless the memory is encrypted and its log is
        empty: an entry under its own keys would keep it from taking the backup of another."""
        if self.keyring is None or self.store.namespaces(AUDIT, limit=1, expired=True):
            self.tell(principal, action, namespace, outcome=outcome, detail=detail)

    def reload(self, scope: Namespace = ()) -> None:
        """Take up what the store says of itself now: something was restored under the scope."""
        if self.keyring is not None:
            self.keyring.reload()
        if self.indexed is not None:
            self.indexed.reload()
        self.settings = read_settings(self.store)
        if "relations" not in self.settings and self.store.namespaces((*scope, LINKS), limit=1):
            self.relate({})  # from a store where there were links
        self.rebuild()

    def adopt(self, other: Stack, principal: str | None) -> None:
        """Declare the relations of another store, from which records were copied, or to who may
        not do that, only that there are links."""
        relations = read_settings(other.store).get("relations")
        if relations is not None:
            policy = self._policy
            allowed = policy is None or (
                principal is not None and policy.permits(principal).may("admin", ())
            )
            self.relate(relations if allowed else {})

    def _guarded(self, principal: str | None, store: Store) -> Guarded:
        from lc_memory.layers.guarded import Guarded

        def tell(right: str, namespace: Namespace, key: str | None) -> None:
            self.tell(principal, "denied", namespace, key, outcome="AccessDenied", detail=right)

        return Guarded(store, self.policy(), principal, tell)

    def _is_on(self, name: str, wanted: bool | None) -> bool:
        """What is on stays on for all who open the store, until it is turned off."""
        held = bool(self.settings.get(name, {}).get("on"))
        if wanted is None or wanted == held:
            return held
        if held:
            from lc_memory.audit import Trail

            Trail(self.sealed, self._digest).record(None, "admin", detail=f"{name} turned off")
        change_setting(self.store, name, {"on": wanted})
        return wanted

    def _digest(self, value: Mapping[str, Any]) -> str:
        from lc_memory.audit import plain_digest

        plain = plain_digest(value)
        return plain if self.keyring is None else self.keyring.digest("audit", plain)

    def _encrypt(self, key: Source | list[Source] | None, fields: Sequence[str] | None) -> None:
        if key is None:
            raise WrongKey(
                f"this store is encrypted: give its encryption_key=, or set {KEY_VARIABLE}"
            )
        if "encryption" not in self.settings and self._holds_records():
            raise WrongKey(
                "this store holds records that are not encrypted; copy them into a new, encrypted "
                "one: Memory(old).copy_to(Memory(new, encryption_key=…))"
            )
        from lc_memory.keys import Keyring
        from lc_memory.layers.encrypted import Encrypted

        sources = key if isinstance(key, list) else [key]
        self.keyring = Keyring(self.store, sources)
        held = self.settings.get("encryption", {}).get("fields")
        if isinstance(fields, str):
            raise TypeError(f"encrypt_fields: a list of fields, such as [{fields!r}]")
        chosen = held if fields is None else list(fields)
        if chosen != held:
            if self._holds_records():
                raise Unsupported(
                    "which fields are sealed cannot be changed once something is stored; copy "
                    "everything into a new store: Memory(old, …).copy_to(Memory(new, …))"
                )
            change_setting(self.store, "encryption", {"fields": chosen})
        paths = None if chosen is None else [tuple(field.split(".")) for field in chosen]
        self.sealed = Encrypted(self.store, self.keyring, paths)

    def _holds_records(self) -> bool:
        """Whether there is anything that encryption seals, or should have sealed."""
        from lc_memory.layers.encrypted import PLAIN

        return any(name not in PLAIN for name in self.store.namespaces(expired=True))

    def close(self) -> None:
        """Close what the layers hold open, but not the store."""
        if self.indexed is not None:
            self.indexed.close()

    def rebuild(self) -> None:
        """Give every handle the layers that there are now."""
        with self._building:
            for top, principal in list(self._handles.items()):
                top.inner = self.outer(principal)
