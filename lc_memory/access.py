"""Access control: who may do what where, and the handle that manages it.

A *right* is ``read``, ``write``, ``delete``, ``share`` or ``admin`` (all of these, and the
management of grants) on a namespace and all under it, or on one record. Every user has all but
``admin`` on their own ``("users", id)``. More is granted to users or groups, as rights or by the
name of a role. Each user and group has a card, one record with its grants, which is read anew
for every operation, so that what is taken back is gone at once, in every process.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from lc_memory.errors import InvalidKey, InvalidValue, MemoryNotFound
from lc_memory.layers.base import SYSTEM
from lc_memory.records import (
    Id,
    Limits,
    Namespace,
    Query,
    Record,
    Value,
    check_name,
    check_namespace,
)
from lc_memory.store import Store

if TYPE_CHECKING:
    from lc_memory.layers.stack import Stack

RIGHTS: Final = ("read", "write", "delete", "share", "admin")
_OWN: Final = frozenset(("read", "write", "delete", "share"))

#: The roles there are without defining any.
ROLES: Final[dict[str, tuple[str, ...]]] = {
    "reader": ("read",),
    "editor": ("read", "write", "delete"),
    "owner": ("read", "write", "delete", "share"),
    "administrator": RIGHTS,
}

ACCESS: Final[Namespace] = (*SYSTEM, "access")
CARDS: Final[Namespace] = (*ACCESS, "cards")
_ROLES: Final[Id] = (ACCESS, "roles")


@dataclass(frozen=True, slots=True)
class Grant:
    """Rights that ``to`` (``user:bob`` or ``group:team``) has on a namespace and all under it,
    or on the one record ``key`` of it. With a ``role`` the rights are that role's at any time."""

    to: str
    namespace: Namespace
    key: str | None
    rights: frozenset[str]
    role: str | None = None
    by: str | None = None

    def covers(self, namespace: Namespace, key: str | None) -> bool:
        if self.key is not None:
            return (namespace, key) == (self.namespace, self.key)
        return namespace[: len(self.namespace)] == self.namespace


@dataclass(frozen=True, slots=True)
class Permits:
    """What a principal may do, and the records that say so."""

    principal: str
    grants: tuple[Grant, ...]
    seen: tuple[Record, ...]

    def may(self, right: str, namespace: Namespace, key: str | None = None) -> bool:
        return any(_gives(g, right) and g.covers(namespace, key) for g in self.grants)

    def under(self, right: str, prefix: Namespace, exact: bool) -> Limits:
        """Where under a prefix the right is given, when it is not for the prefix whole."""
        size = len(prefix)
        given = [g for g in self.grants if _gives(g, right) and g.namespace[:size] == prefix]
        return Limits(
            tuple(g.namespace for g in given if g.key is None and not exact),
            tuple(
                (g.namespace, g.key)
                for g in given
                if g.key is not None and (not exact or g.namespace == prefix)
            ),
        )

    def needed(self, right: str, namespace: Namespace, key: str | None) -> tuple[Record, ...]:
        """The records that must stay as they are for the right to hold."""
        own = (g for g in self.grants if not g.to and _gives(g, right))
        return () if any(g.covers(namespace, key) for g in own) else self.seen


class Policy:
    """Reads who may do what. ``admins`` may do everything, whatever is stored."""

    def __init__(self, store: Store, admins: Collection[str] = ()) -> None:
        self._store = store
        self._admins = frozenset(admins)
        self._groups: dict[str, tuple[str, ...]] = {}

    def permits(self, principal: str) -> Permits:
        """What the principal may do at this moment."""
        groups = self._groups.get(principal, ())
        while True:
            ids = [_card_of("user", principal), *(_card_of("group", g) for g in groups), _ROLES]
            card, *found = self._store.read(ids)
            now = tuple(card.value["groups"]) if card is not None else ()
            if now == groups:
                break
            groups = self._groups[principal] = now
        roles = found.pop()
        grants = [Grant("", ("users", principal), None, _OWN)]
        if principal in self._admins:
            grants.append(Grant("", (), None, frozenset(RIGHTS)))
        cards = [one for one in (card, *found) if one is not None]
        for one in cards:
            grants += _grants_on(one, {} if roles is None else roles.value)
        seen = cards if roles is None else [*cards, roles]
        return Permits(principal, tuple(grants), tuple(seen))


class Access:
    """``memory.access``: users, groups, roles and grants.

    With access control on, each method asks for the right to do it: ``admin`` on the namespace a
    grant is about, ``admin`` on everything for groups and roles. Raises AccessDenied.
    """

    def __init__(self, stack: Stack, principal: str | None) -> None:
        self._stack = stack
        self._principal = principal
        self._store = stack.inner(principal)

    # -- grants ----------------------------------------------------------------------------

    def grant(
        self,
        to: str,
        rights: str | Iterable[str],
        namespace: Namespace,
        key: str | None = None,
    ) -> Grant:
        """Give ``to`` (``"bob"``, ``"user:bob"`` or ``"group:team"``) rights on a namespace and
        all under it, or on one record. ``rights``: names of rights, or of one role."""
        self._stack.require(self._principal, "admin", namespace, key)
        return self._give(to, rights, namespace, key)

    def revoke(self, to: str, namespace: Namespace, key: str | None = None) -> int:
        """Take back everything granted to them on exactly this; returns how many grants."""
        self._stack.require(self._principal, "admin", namespace, key)
        return self._take(to, namespace, key, lambda grant: True)

    def share(
        self, to: str, namespace: Namespace, key: str | None = None, *, write: bool = False
    ) -> Grant:
        """Let another user or group read (and with ``write`` change) what one has the right to
        share. Nobody can give what they do not have."""
        rights = ("read", "write") if write else ("read",)
        for right in ("share", *rights):
            self._stack.require(self._principal, right, namespace, key)
        return self._give(to, rights, namespace, key)

    def unshare(self, to: str, namespace: Namespace, key: str | None = None) -> int:
        """Take back what one shared oneself; returns how many grants that were."""
        self._stack.require(self._principal, "share", namespace, key)
        return self._take(to, namespace, key, lambda grant: grant["by"] == self._principal)

    def grants(self, to: str | None = None) -> list[Grant]:
        """The grants of a user or group (None: of all)."""
        if to is None or _holder(to) != f"user:{self._principal}":
            self._stack.require(self._principal, "admin", ())
        roles = self._store.get(*_ROLES)
        known = {} if roles is None else roles.value
        if to is not None:
            card = self._store.get(CARDS, _holder(to))
            return [] if card is None else list(_grants_on(card, known))
        cards = self._store.records(Query(CARDS, exact=True))
        return [grant for card in cards for grant in _grants_on(card, known)]

    def may(self, user: str, right: str, namespace: Namespace, key: str | None = None) -> bool:
        """Whether a user has a right there."""
        if user != self._principal:
            self._stack.require(self._principal, "admin", namespace, key)
        return self._stack.policy().permits(user).may(_right(right), namespace, key)

    # -- users, groups, roles --------------------------------------------------------------

    def users(self) -> list[str]:
        """The users that have grants, are in a group, or have stored something."""
        self._stack.require(self._principal, "admin", ())
        cards = {record.key for record in self._store.records(Query(CARDS, exact=True))}
        named = {key.removeprefix("user:") for key in cards if key.startswith("user:")}
        spaces = self._store.namespaces(("users",), expired=True)
        return sorted(named | {space[1] for space in spaces if len(space) > 1})

    def remove_user(self, user: str) -> bool:
        """Take all grants and memberships from a user; what they stored stays."""
        self._stack.require(self._principal, "admin", ())
        return self._store.delete(CARDS, _holder_of_user(user))

    def groups(self) -> dict[str, list[str]]:
        """The groups, each with its members."""
        self._stack.require(self._principal, "admin", ())
        members: dict[str, list[str]] = {}
        for card in self._store.records(Query(CARDS, exact=True)):
            kind, _, name = card.key.partition(":")
            if kind == "group":
                members.setdefault(name, [])
            for group in card.value["groups"]:
                members.setdefault(group, []).append(name)
        return members

    def add_to_group(self, group: str, *users: str) -> None:
        """Make the users members of a group, which there is from then on."""
        self._stack.require(self._principal, "admin", ())
        self._change(_holder(f"group:{group}"), lambda card: card)
        for user in users:
            self._change(_holder_of_user(user), lambda c: _with_group(c, group))

    def remove_from_group(self, group: str, *users: str) -> None:
        """End the users' membership."""
        self._stack.require(self._principal, "admin", ())
        for user in users:
            self._change(_holder_of_user(user), lambda c: _without_group(c, group))

    def remove_group(self, group: str) -> None:
        """End a group: its grants, and all memberships."""
        self._stack.require(self._principal, "admin", ())
        self.remove_from_group(group, *self.groups().get(group, ()))
        self._store.delete(CARDS, _holder(f"group:{group}"))

    def roles(self) -> dict[str, list[str]]:
        """The roles there are, each with its rights."""
        self._stack.require(self._principal, "admin", ())
        found = self._store.get(*_ROLES)
        known = {name: list(rights) for name, rights in ROLES.items()}
        return known | ({} if found is None else found.value)

    def define_role(self, name: str, rights: Iterable[str]) -> None:
        """Define or change a role; who was granted it has the new rights from then on."""
        self._stack.require(self._principal, "admin", ())
        if name in ROLES or name in RIGHTS or not check_name(name, "role"):
            raise InvalidKey(f"role {name!r}: this name is taken")
        wanted = [_right(right) for right in rights]
        self._store.update(*_ROLES, {name: wanted}, default={})

    # -- inside ----------------------------------------------------------------------------

    def _give(
        self, to: str, rights: str | Iterable[str], namespace: Namespace, key: str | None
    ) -> Grant:
        check_namespace(namespace)
        if namespace[: len(SYSTEM)] == SYSTEM:
            raise InvalidKey("nobody has rights on the library's own records")
        role, listed = None, [rights] if isinstance(rights, str) else list(rights)
        if len(listed) == 1 and listed[0] not in RIGHTS:
            role = listed[0]
            if role not in self._known_roles():
                raise InvalidValue("rights", f"{role!r} is no role; define_role() makes one")
            listed = []
        grant: Value = {
            "namespace": list(namespace),
            "key": key if key is None else check_name(key),
            "rights": [_right(right) for right in listed],
            "role": role,
            "by": self._principal,
            "at": self._store.now(),
        }
        card = self._change(_holder(to), lambda c: _with_grant(c, grant))
        *_, given = _grants_on(card, self._known_roles())
        return given

    def _take(
        self, to: str, namespace: Namespace, key: str | None, which: Callable[[Value], bool]
    ) -> int:
        taken = 0

        def change(card: Value) -> Value:
            nonlocal taken
            place = [list(namespace), key]
            grants = card["grants"]
            kept = [g for g in grants if [g["namespace"], g["key"]] != place or not which(g)]
            taken = len(card["grants"]) - len(kept)
            return {**card, "grants": kept}

        self._change(_holder(to), change)
        return taken

    def _known_roles(self) -> Value:
        found = self._store.get(*_ROLES)
        return ROLES | ({} if found is None else found.value)

    def _change(self, holder: str, change: Any) -> Record:
        return self._store.update(CARDS, holder, change, default={"groups": [], "grants": []})


def _gives(grant: Grant, right: str) -> bool:
    return right in grant.rights or "admin" in grant.rights


def _grants_on(card: Record, roles: Value) -> Iterator[Grant]:
    for held in card.value["grants"]:
        role = held["role"]
        rights = held["rights"] if role is None else roles.get(role, ROLES.get(role, ()))
        namespace = tuple(held["namespace"])
        yield Grant(card.key, namespace, held["key"], frozenset(rights), role, held["by"])


def _with_grant(card: Value, grant: Value) -> Value:
    """The card with the grant, instead of what the same one gave there before."""
    same = ("namespace", "key", "by")
    others = [g for g in card["grants"] if any(g[name] != grant[name] for name in same)]
    return {**card, "grants": [*others, grant]}


def _with_group(card: Value, group: str) -> Value:
    return {**card, "groups": sorted({*card["groups"], group})}


def _without_group(card: Value, group: str) -> Value:
    return {**card, "groups": [g for g in card["groups"] if g != group]}


def _holder(to: str) -> str:
    kind, mark, name = to.partition(":") if isinstance(to, str) else ("", "", "")
    if not mark:
        kind, name = "user", kind
    if kind not in ("user", "group") or not name:
        raise InvalidKey(f"{to!r}: name a user or a group, as 'bob', 'user:bob' or 'group:team'")
    return check_name(f"{kind}:{name}", "user or group")


def _holder_of_user(user: str) -> str:
    """A user's card, by the plain id."""
    if not check_name(user, "user id"):
        raise InvalidKey("user id: empty")
    return check_name(f"user:{user}", "user id")


def _card_of(kind: str, name: str) -> Id:
    return CARDS, f"{kind}:{name}"


def _right(right: str) -> str:
    if right not in RIGHTS:
        raise InvalidValue("rights", f"{right!r} is none of {', '.join(RIGHTS)}")
    return right


def denied(principal: str | None, right: str, namespace: Sequence[str], key: str | None) -> str:
    """What an AccessDenied says."""
    if principal is None:
        return (
            "access control is on, and this handle is bound to nobody; use memory.as_user(id) "
            "or memory.acting_as(id)"
        )
    place = "/".join((*namespace, *([] if key is None else [key]))) or "everything"
    return f"{principal!r} lacks the right {right!r} on {place!r}"


def forget_grants(store: Store, user: str) -> None:
    """Delete the card of a user, and take back what anybody was granted on the user's things."""
    from lc_memory.layers.reading import innermost, readable

    def without(card: Value) -> Value:
        kept = [g for g in card["grants"] if g["namespace"][:2] != ["users", user]]
        return {**card, "grants": kept}

    innermost(store).delete(*_card_of("user", user))  # whether it can be opened or not
    for card, unreadable in readable(store, Query(CARDS, exact=True)):
        if unreadable is None and without(card.value) != card.value:
            with suppress(MemoryNotFound):  # deleted meanwhile
                store.update(*card.id, without)
