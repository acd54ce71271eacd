"""One search: candidates from the indexes, read from the store, ranked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple

from lc_memory import values
from lc_memory.records import Id, Namespace, Record, State
from lc_memory.search.asking import Hit, Keywords, Search
from lc_memory.search.ranking import (
    ARM,
    LONGEST,
    Passage,
    Ranked,
    Rules,
    names_in,
    rank,
    rarity,
    without_names,
)
from lc_memory.search.texts import FACTS, THREADS, first_of, neighbours, passage_of, place_of, token
from lc_memory.search.vectors import mark_of
from lc_memory.search.words import query_words
from lc_memory.store import Store

if TYPE_CHECKING:
    from lc_memory.search.embeddings import Vectors
    from lc_memory.search.meaning import Meaning

#: Words of a question that are looked for; the rest of a very long one is left out.
_MOST_WORDS: Final = 40
#: Records of which is remembered between searches what there is to find.
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
        self._seen: dict[Id, _Known] = {}
        self._names: dict[tuple[Namespace, ...], Mapping[str, str]] = {}  # met last, by scope

    def find(self, search: Search) -> list[Hit]:
        """The best hits, best first.

        An index gives the first candidates; what the search's filter or times refuse is made up
        for by asking for more, until there are enough or there are no more.
        """
        if search.scope.nothing or not search.limit:
            return []
        likely = without_names(search.text, self._names.get(search.scope.prefixes, {}))
        begun = self._meaning.begin(likely) if self._meaning is not None else None
        wanted = sorted(query_words(search.text), key=str.isalpha)[:_MOST_WORDS]  # numbers first
        tokens = {word: token(word) for word in wanted}
        total, having = self._keywords.counts(list(tokens.values()), search.scope)
        worth = rarity(total, {word: having[tokens[word]] for word in wanted})
        worths = {tokens[word]: worth(word) for word in wanted if having[tokens[word]]}
        pool = _Pool(self._store, search, self._seen)
        vector: Vectors | None = None
        size = max(ARM, search.limit)
        while True:
            by_word = self._keywords.best(worths, search.scope, size)
            pool.add(by_word)
            by_meaning: list[Id] = []
            if self._meaning is not None and begun is not None:
                if vector is None:
                    question = self._without_names(search, pool)
                    vector = begun() if question == likely else self._meaning.asked(question)
                by_meaning = self._meaning.nearest(vector, search.scope, size)
                if gone := pool.add(by_meaning):
                    self._meaning.forget(gone)
            if len(pool.passages) >= search.limit or max(len(by_word), len(by_meaning)) < size:
                break
            size *= 4
        ranked = rank(
            search.text,
            list(pool.passages.values()),
            worth,
            vector=vector,
            vectors=None if self._meaning is None else self._meaning.vectors(pool.marks),
            rules=self._rules,
        )
        return pool.hits(ranked)

    def _without_names(self, search: Search, pool: _Pool) -> str:
        """The question without the names of those who were met, which are remembered: the next
        search of the same scope likely meets them again."""
        names = names_in(list(pool.passages.values()))
        if len(self._names) >= _REMEMBERED:
            self._names.clear()
        self._names[search.scope.prefixes] = names
        return without_names(search.text, names)


class _Known(NamedTuple):
    """What there is to find of a record in one state (nothing: no passage), and since and until
    when it was known: all that is asked of it by a search without a filter."""

    version: int
    updated: int
    mark: str
    passage: Passage | None
    since: datetime
    until: datetime | None

    @classmethod
    def of(cls, record: Record) -> _Known:
        passage, since, until = passage_of(record), record.created_at, None
        is_fact = place_of(record.namespace) == ("documents", FACTS)
        if passage is not None and (is_fact or first_of(record.namespace) in THREADS):
            since = passage.at or since
        if is_fact and isinstance(record.value.get("valid_to"), datetime):
            until = record.value["valid_to"]
        version, updated, _ = record.state
        return cls(version, updated, mark_of(record), passage, since, until)

    def of_state(self, state: State) -> bool:
        return self.updated == state.updated and self.version == state.version


class _Pool:
    """The candidates of a search: what was found, and the turns next to it.

    What ``seen`` remembers of a record, and is in the same state still, is not read: the ranking
    wants no more of it. The hits are read in the end.
    """

    def __init__(self, store: Store, search: Search, seen: dict[Id, _Known]) -> None:
        self._store = store
        self._search = search
        self._seen = seen
        self._now = values.micros(store.now())
        self._asked: set[Id] = set()
        self._records: dict[Id, Record] = {}
        self.passages: dict[Id, Passage] = {}
        self.marks: dict[Id, str] = {}

    def add(self, ids: Sequence[Id]) -> list[Id]:
        """Take in these records and their neighbours; returns those of them that are not there."""
        wanted = dict.fromkeys(id for id in ids if id not in self._asked)
        around = [near for id in wanted for near in neighbours(id) if near not in self._asked]
        if self._search.scope.within is not None:  # else it goes by the namespace, which is theirs
            around = [near for near in around if self._search.scope.covers(near)]
        every = list(wanted | dict.fromkeys(around))
        self._asked.update(every)
        same, other = self._remembered(every)
        records = self._read(other)
        for id in every:
            if id in same:
                self._admit(id, *same[id])
            elif id in records:
                self._take(records[id])
        return [id for id in wanted if id not in same and id not in records]

    def hits(self, ranked: Iterator[Ranked]) -> list[Hit]:
        """The first of what was ranked, but for what has gone since."""
        search, hits = self._search, list[Hit]()
        while part := list(islice(ranked, search.limit - len(hits))):
            ids = [found.passage.id for found in part]
            for record in self._read([id for id in ids if id not in self._records]).values():
                self._take(record)
            hits += [
                Hit(self._records[id], self.passages[id].text, search.text, found)
                for found, id in zip(part, ids, strict=True)
                if id in self._records
            ]
        return hits

    def _remembered(
        self, ids: Sequence[Id]
    ) -> tuple[dict[Id, tuple[_Known, int | None]], list[Id]]:
        """Those that are as they are remembered, with the time they expire, and those to read."""
        if self._search.filter is not None or self._search.lift is not None:
            return {}, list(ids)
        same: dict[Id, tuple[_Known, int | None]] = {}
        other: list[Id] = []
        for id, state in zip(ids, self._store.states(ids), strict=True):
            if state is None:
                continue
            known = self._seen.get(id)
            if known is not None and known.of_state(state):
                same[id] = known, state.expires
            else:
                other.append(id)
        return same, other

    def _read(self, ids: Sequence[Id]) -> dict[Id, Record]:
        found = self._store.read(ids, expired=True) if ids else ()
        return {record.id: record for record in found if record is not None}

    def _take(self, held: Record) -> None:
        """Take in a record that was read, if the search is open to it."""
        search = self._search
        record = held if search.lift is None else search.lift(held)
        if search.filter is not None and not search.filter.matches(record.value):
            return
        id, state = record.id, record.state
        known = self._seen.get(id) if record is held else None
        if known is None or not known.of_state(state):
            known = _Known.of(record)
            if record is held and (known.passage is None or len(known.passage.text) <= LONGEST):
                if len(self._seen) >= _REMEMBERED:
                    self._seen.clear()
                self._seen[id] = known
        if self._admit(id, known, state.expires):
            self._records[id] = record

    def _admit(self, id: Id, known: _Known, expires: int | None) -> bool:
        """Take in what there is to find of a record, if the search is open to it."""
        search, passage = self._search, known.passage
        if expires is not None and expires <= self._now and not search.expired:
            return False
        if passage is None or passage.at is None:
            return False
        if search.since is not None and passage.at < search.since:
            return False
        if search.until is not None and passage.at >= search.until:
            return False
        if search.as_of is None:
            if known.until is not None:
                return False
        elif known.since > search.as_of or (
            known.until is not None and search.as_of >= known.until
        ):
            return False
        self.passages[id], self.marks[id] = passage, known.mark
        return True
