"""What is asked of a search, and what it answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final, Protocol, TypeAlias

from lc_memory.filters import Node
from lc_memory.records import Id, Limits, Namespace, Record
from lc_memory.search.ranking import Ranked, why
from lc_memory.search.texts import id_token, prefix_token

#: Told how many records of how many a long piece of work has done.
Progress: TypeAlias = Callable[[int, int], None]

#: How many hits a search gives that was not told how many.
MOST_HITS: Final = 100

EVERYTHING: Final[tuple[Namespace, ...]] = ((),)


@dataclass(frozen=True, slots=True)
class Scope:
    """Where to search: under any of the prefixes, and within the limits of access if there are
    any. An index looks nowhere else: this is part of its own query."""

    prefixes: tuple[Namespace, ...] = EVERYTHING
    within: Limits | None = None

    def covers(self, id: Id) -> bool:
        if self.prefixes != EVERYTHING:
            namespace = id[0]
            if not any(namespace[: len(prefix)] == prefix for prefix in self.prefixes):
                return False
        return self.within is None or self.within.allow(id)

    def covers_all(self, namespace: Namespace) -> bool:
        """Whether everything in a namespace is in scope. (Of others, single ids may be.)"""
        held = [self.prefixes] if self.within is None else [self.prefixes, self.within.prefixes]
        return all(any(namespace[: len(p)] == p for p in prefixes) for prefixes in held)

    def tokens(self) -> list[list[str]]:
        """The same in an index's words: each list is of alternatives, and all lists hold."""
        parts: list[list[str]] = []
        if () not in self.prefixes:
            parts.append([prefix_token(prefix) for prefix in self.prefixes])
        if self.within is not None and () not in self.within.prefixes:
            prefixes = [prefix_token(prefix) for prefix in self.within.prefixes]
            parts.append([*prefixes, *(id_token(id) for id in self.within.ids)])
        return parts

    @property
    def nothing(self) -> bool:
        limits = self.within
        return not self.prefixes or (limits is not None and not limits.prefixes and not limits.ids)


@dataclass(frozen=True, slots=True)
class Search:
    """One search, as it goes down through the layers.

    ``since`` and ``until`` bound the time of what is found (until is not included); ``as_of``
    answers with what was known then. ``expired`` also finds what has expired and is not swept.
    """

    text: str
    scope: Scope = Scope()
    limit: int = 10
    filter: Node | None = None
    since: datetime | None = None
    until: datetime | None = None
    as_of: datetime | None = None
    expired: bool = False
    lift: Callable[[Record], Record] | None = None  # gives a record its present form, for layers

    def limited(self, limits: Limits) -> Search:
        """The same search within limits of access, besides those that it has."""
        held = self.scope.within
        within = limits if held is None else limits.both(held)
        return replace(self, scope=replace(self.scope, within=within))


@dataclass(frozen=True, slots=True)
class Hit:
    """Something that was recalled.

    ``score`` compares the hits of one answer, and ``parts`` is what it is the sum of: ``words``,
    ``nearby``, ``meaning`` and ``thread`` for the ranks in the four ways of looking, the others
    for the rules (:class:`~lc_memory.search.ranking.Rules`). ``source`` names the record;
    ``why`` says in words why it was recalled.
    """

    record: Record
    text: str
    query: str
    ranked: Ranked = field(repr=False)

    @property
    def value(self) -> dict[str, Any]:
        return self.record.value

    @property
    def score(self) -> float:
        return self.ranked.score

    @property
    def parts(self) -> Mapping[str, float]:
        return self.ranked.parts

    @property
    def at(self) -> datetime | None:
        """The time that it is of: what it says itself, else when it was stored."""
        return self.ranked.passage.at

    @property
    def why(self) -> str:
        return why(self.ranked, self.query)

    @property
    def source(self) -> str:
        return "/".join((*self.record.namespace, self.record.key))


class Keywords(Protocol):
    """An index of words that a store keeps in step with its own writes."""

    def counts(self, tokens: list[str], scope: Scope) -> tuple[int, dict[str, int]]:
        """How many records there are in scope, and how many of them have each token. Large
        numbers may be cut off."""

    def best(self, tokens: Mapping[str, float], scope: Scope, limit: int) -> list[Id]:
        """The records in scope that have any of the tokens, those first whose tokens are worth
        most. They may have expired."""

    def rebuild(self, progress: Progress | None = None) -> int:
        """Make the index anew from what is stored; returns of how many records it is."""
