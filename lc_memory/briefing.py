"""What a model is told of a user before it answers, within a budget of tokens."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, Final

from lc_memory.errors import InvalidQuery
from lc_memory.facts import fact_of, holds
from lc_memory.knowledge import FENCE, Knowledge, fenced
from lc_memory.layers.indexed import indexed_in
from lc_memory.records import NEWEST, Query, Value
from lc_memory.search.texts import FACTS, SEARCHED, passage_of, place_of

if TYPE_CHECKING:
    from lc_memory.search.asking import Hit

#: What there is at most of each kind, however large the budget.
MOST_RECALLED: Final = 10
MOST_RECENT: Final = 20

#: Documents that are told of as the profile and the progress.
_TOLD: Final = ("user_profile", "user_learning_progress", FACTS)

#: How many tokens a text is.
Counter = Callable[[str], int]


def tokens_in(text: str) -> int:
    """About how many tokens a text is: four bytes each, which suits most scripts."""
    return -(-len(text.encode("utf-8", "surrogatepass")) // 4)


def brief(
    known: Knowledge,
    query: str | None,
    max_tokens: int,
    *,
    facts: int = 20,
    recent: int = MOST_RECENT,
    present: Collection[str] = (),
    counter: Counter = tokens_in,
) -> str:
    """Profile, progress, the facts that bear on the query (else the latest), other memories of
    it and the latest turns, as data within the fence; the same for the same memory.

    What comes first is dearest: when the budget is spent, what does not fit is left out.
    ``present`` are texts that the model sees anyway.
    """
    data: Value = {}
    if counter(FENCE.format(fenced(data))) > max_tokens:
        raise InvalidQuery(f"max_tokens: {max_tokens} is too few for anything; give some hundred")

    def add(part: str, item: Any, *, first: bool = False) -> None:
        old = data.get(part)
        if isinstance(item, list):
            data[part] = [*item, *(old or ())] if first else [*(old or ()), *item]
        else:
            data[part] = item
        if counter(FENCE.format(fenced(data))) > max_tokens:
            if old is None:
                del data[part]
            else:
                data[part] = old

    whole = known.snapshot(0)
    for part in ("profile", "progress"):
        add(part, whole[part])
    add("facts", [])
    hits = _hits(known, query, facts)
    for fact in _facts(known, hits, facts):
        add("facts", [{"key": fact["id"], "text": fact["text"]}])
    for text, time in _others(hits, present):
        add("recalled", [{"text": text, "time": time}])
    for role, text in _turns(known, recent, present):
        add("recent", [{"role": role, "text": text}], first=True)
    return FENCE.format(fenced(data))


def _hits(known: Knowledge, query: str | None, facts: int) -> list[Hit]:
    if not query or not query.strip() or indexed_in(known.memory.backend) is None:
        return []
    # A memory that is bound to nobody is one person's: it is told nothing of its store's users.
    return known.memory.recall(query, k=facts + 2 * MOST_RECALLED, namespaces=SEARCHED)


def _facts(known: Knowledge, hits: list[Hit], limit: int) -> list[Value]:
    """The facts that bear on the query, then the latest."""
    near = [
        fact_of(hit.record)
        for hit in hits
        if _collection(hit) == FACTS and isinstance(hit.value.get("text"), str) and holds(hit.value)
    ]
    told = {fact["id"]: fact for fact in [*near, *known.facts(limit)]}
    return list(told.values())[:limit]


def _others(hits: list[Hit], present: Collection[str]) -> Iterator[tuple[str, str]]:
    """Other memories of what is asked, with their times."""
    found = [hit for hit in hits if _collection(hit) not in _TOLD and hit.text not in present]
    for hit in found[:MOST_RECALLED]:
        yield hit.text, "" if hit.at is None else hit.at.isoformat(timespec="seconds")


def _turns(known: Knowledge, limit: int, present: Collection[str]) -> Iterator[tuple[str, str]]:
    """The latest turns of the user's chats, the newest first."""
    if not limit:
        return
    memory = known.memory
    latest = Query((*memory.scope, "messages"), order=NEWEST, limit=limit)
    for record in memory.backend.find(latest).records:
        passage = passage_of(record)
        if passage is not None and passage.text not in present:
            yield str(record.value["type"]), passage.text


def _collection(hit: Hit) -> str:
    place = place_of(hit.record.namespace)
    return place[1] if place[:1] == ("documents",) and len(place) > 1 else ""
