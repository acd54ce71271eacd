"""What of a store a backup holds, and what parts of it can be asked for."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from lc_memory.errors import InvalidInput
from lc_memory.records import Namespace, Query, Record, check_name
from lc_memory.store import Store

#: The library's own records.
OURS: Final = "lc_memory"

#: What a store keeps for itself: schedules with their locks and results, how far a copy got, and
#: which index of meanings is its own.
STAYS_BEHIND: Final[tuple[Namespace, ...]] = (
    (OURS, "backups"),
    (OURS, "migrations"),
    (OURS, "recall"),
)

#: What is neither backed up nor touched by a restore: that, and the audit log, which nobody may
#: turn back.
AUDIT: Final[Namespace] = (OURS, "audit")
#: Nor which data keys were destroyed with their users (by the keys' own names).
DESTROYED: Final[Namespace] = (OURS, "destroyed")
STAYS: Final[tuple[Namespace, ...]] = (*STAYS_BEHIND, AUDIT, DESTROYED)

#: The namespaces that are read and written in the store itself, whatever layers it has.
UNDER_LAYERS: Final[tuple[Namespace, ...]] = (
    *STAYS_BEHIND[:2],
    (OURS, "backups", "results"),
    DESTROYED,
)

#: More names than these are counted together.
_MOST_NAMES: Final = 1000


def belongs(namespace: Namespace, stays: tuple[Namespace, ...] = STAYS) -> bool:
    """Whether the records of a namespace go into backups (or with a move)."""
    return not (namespace[:1] == (OURS,) and namespace[:2] in stays)


def staying(store: Store, stays: tuple[Namespace, ...] = STAYS) -> Iterator[Record]:
    """The records that a restore of everything leaves where they are."""
    for prefix in stays:
        yield from store.records(Query(prefix, expired=True))


def collection_of(namespace: Namespace) -> str:
    """The collection, whoever's it is: ``documents/notes``, ``messages``, ``checkpoints``."""
    rest = namespace[2:] if namespace[:1] == ("users",) else namespace
    return "/".join(rest[: 2 if rest[:1] in (("documents",), (OURS,)) else 1])


def root_of(namespace: Namespace) -> Namespace:
    """The namespace under which all of its collection lies, for its user."""
    start = 2 if namespace[:1] == ("users",) else 0
    return namespace[: start + collection_of(namespace[start:]).count("/") + 1]


def joined(
    left: Iterator[Record], right: Iterator[Record]
) -> Iterator[tuple[Record | None, Record | None]]:
    """Both, in the order of their ids, side by side where the id is the same."""
    mine, theirs = next(left, None), next(right, None)
    while mine is not None or theirs is not None:
        if theirs is None or (mine is not None and mine.id < theirs.id):
            yield mine, None
            mine = next(left, None)
        elif mine is None or theirs.id < mine.id:
            yield None, theirs
            theirs = next(right, None)
        else:
            yield mine, theirs
            mine, theirs = next(left, None), next(right, None)


class Tally:
    """How many records each collection has."""

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        self._last: Namespace | None = None
        self._name = ""

    def add(self, namespace: Namespace) -> None:
        if namespace != self._last:
            self._last, self._name = namespace, collection_of(namespace)
            if self._name not in self.counts and len(self.counts) >= _MOST_NAMES:
                self._name = "…"
        self.counts[self._name] = self.counts.get(self._name, 0) + 1


@dataclass(frozen=True, slots=True)
class Part:
    """Some collections, or one user's things, or both; without either: everything."""

    collections: Collection[str] | None = None
    user: str | None = None

    @classmethod
    def of(cls, collections: Iterable[str] | None, user: str | None) -> Part:
        if isinstance(collections, str):
            raise InvalidInput(f"collections: a list of names, such as [{collections!r}]")
        names = None if collections is None else frozenset(collections)
        if names is not None and not names:
            raise InvalidInput("collections: empty; leave it out for all of them")
        if user is not None:
            check_name(user, "user id")
        return cls(names, user)

    @property
    def is_all(self) -> bool:
        return self.collections is None and self.user is None

    def holds(self, namespace: Namespace) -> bool:
        if namespace[:1] == (OURS,):
            return self.is_all
        if self.user is not None and namespace[:2] != ("users", self.user):
            return False
        return self.collections is None or bool(self.names(namespace) & set(self.collections))

    @staticmethod
    def names(namespace: Namespace) -> set[str]:
        """By what names the collection may be asked for."""
        name = collection_of(namespace)
        return {name, name.removeprefix("documents/")}

    def prefixes(self, store: Store, scope: Namespace) -> list[Namespace]:
        """The namespaces in the store that hold just this part."""
        if self.user is not None:
            scope = ("users", self.user)
        if self.collections is None:
            return [scope]
        found = store.namespaces(scope, expired=True)
        return sorted({root_of(name) for name in found if self.holds(name)})
