"""One search: candidates from the indexes, read from the store, ranked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Final

from lc_memory.records import Id, Record
from lc_memory.search.asking import Hit, Keywords, Search
from lc_memory.search.ranking import (
    ARM,
    LONGEST,
    Passage,
    Rules,
    names_in,
    rank,
    rarity,
    without_names,
)
from lc_memory.search.texts import FACTS, THREADS, first_of, neighbours, passage_of, place_of, token
from lc_memory.search.words import query_words
from lc_memory.store import Store

if TYPE_CHECKING:
    from lc_memory.search.embeddings import Vectors
    from lc_memory.search.meaning import Meaning

#: Words of a question that are looked for; the rest of a very long one is left out.
_MOST_WORDS: Final = 40
#: Records whose passages are remembered between searches.
_REMEMBERED: Final = 5000


class Finder:
    """Finds what a search asks for in a store that is indexed."""

    def __init__(
        self, store: Store, keywords: Keywords, meaning: Meaning | None, rules: Rules
    ) -> None:
        self._store = store
        self._keywords = keywords
        self._meaning = meaning
        self._rules = rules
        self._seen: dict[Id, tuple[int, datetime, Passage | None]] = {}

    def find(self, search: Search) -> list[Hit]:
        """The best hits, best first.

        An index gives the first candidates; what the search's filter or times refuse is made up
        for by asking for more, until there are enough or there are no more.
        """
        if search.scope.nothing or not search.limit:
            return []
        wanted = query_words(search.text)[:_MOST_WORDS]
        tokens = {word: token(word) for word in wanted}
        total, having = self._keywords.counts(list(tokens.values()), search.scope)
        worth = rarity(total, {word: having[tokens[word]] for word in wanted})
        worths = {tokens[word]: worth(word) for word in wanted if having[tokens[word]]}
        pool = _Pool(self._store, search, self._passage)
        vector: Vectors | None = None
        size = max(ARM, search.limit)
        while True:
            by_word = self._keywords.best(worths, search.scope, size)
            pool.add(by_word)
            by_meaning: list[Id] = []
            if self._meaning is not None:
                if vector is None:
                    names = names_in(list(pool.passages.values()))
                    vector = self._meaning.asked(without_names(search.text, names))
                by_meaning = self._meaning.nearest(vector, search.scope, size)
                self._meaning.forget(pool.add(by_meaning))
            if len(pool.passages) >= search.limit or max(len(by_word), len(by_meaning)) < size:
                break
            size *= 4
        vectors = {}
        if self._meaning is not None:
            vectors = self._meaning.vectors(list(pool.records.values()))
        passages = list(pool.passages.values())
        ranked = rank(
            search.text, passages, worth, vector=vector, vectors=vectors, rules=self._rules
        )
        ids = [(found, found.passage.id) for found in ranked[: search.limit]]
        return [
            Hit(pool.records[id], pool.passages[id].text, search.text, found) for found, id in ids
        ]

    def _passage(self, record: Record) -> Passage | None:
        """What there is to find of a record, remembered for as long as the record is as it is."""
        seen = self._seen.get(record.id)
        if seen is not None and seen[0] == record.version and seen[1] == record.updated_at:
            return seen[2]
        passage = passage_of(record)
        if len(self._seen) >= _REMEMBERED:
            self._seen.clear()
        if passage is None or len(passage.text) <= LONGEST:
            self._seen[record.id] = record.version, record.updated_at, passage
        return passage


class _Pool:
    """The candidates of a search: what was found, and the turns next to it."""

    def __init__(
        self, store: Store, search: Search, passage: Callable[[Record], Passage | None]
    ) -> None:
        self._store = store
        self._passage = passage
        self._search = search
        self._now = store.now()
        self._asked: set[Id] = set()
        self.records: dict[Id, Record] = {}
        self.passages: dict[Id, Passage] = {}

    def add(self, ids: Sequence[Id]) -> list[Id]:
        """Read these records and their neighbours; returns those of them that are not there."""
        covers = self._search.scope.covers
        wanted = dict.fromkeys(id for id in ids if id not in self._asked)
        around = (near for id in wanted for near in neighbours(id) if covers(near))
        wanted |= dict.fromkeys(near for near in around if near not in self._asked)
        self._asked |= wanted.keys()
        found = dict(zip(wanted, self._store.read(list(wanted), expired=True), strict=True))
        lift = self._search.lift
        for id, held in found.items():
            record = lift(held) if lift is not None and held is not None else held
            if record is not None and (passage := self._admitted(record)) is not None:
                self.records[id], self.passages[id] = record, passage
        return [id for id in ids if id in found and found[id] is None]

    def _admitted(self, record: Record) -> Passage | None:
        """What there is to find of a record, if the search is open to it."""
        search = self._search
        if not (search.expired or record.lives_at(self._now)):
            return None
        if search.filter is not None and not search.filter.matches(record.value):
            return None
        passage = self._passage(record)
        if passage is None or passage.at is None or not _believed(record, passage.at, search):
            return None
        if search.since is not None and passage.at < search.since:
            return None
        if search.until is not None and passage.at >= search.until:
            return None
        return passage


def _believed(record: Record, at: datetime, search: Search) -> bool:
    """Whether it was known at the time that is asked about (by default: still is)."""
    is_fact = place_of(record.namespace) == ("documents", FACTS)
    since = at if is_fact or first_of(record.namespace) in THREADS else record.created_at
    if search.as_of is not None and since > search.as_of:
        return False
    if not is_fact:
        return True
    until = record.value.get("valid_to")
    if not isinstance(until, datetime):
        return True
    return search.as_of is not None and search.as_of < until
