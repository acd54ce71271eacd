"""What is found, in order of its worth: pure, with no store in it.

The candidates of a search (from any index, with the turns next to them) are ranked in four ways:

- ``words``: BM25 of the question over the text with its speaker and date;
- ``nearby``: BM25 of the question without names over the text and the turn before it;
- ``meaning``: likeness of the question's vector and the text's;
- ``thread``: the same with the turn before, whose vector is added.

Each way gives 1 to its best, and the less to the others the further they are from it. Small rules
of language add to that, and a turn gains from its neighbours and from the best of its session.
All numbers stand in :class:`Rules`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property, lru_cache
from math import log
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from lc_memory.search.moments import MONTHS, asks_when, dates_in, days_from, tells_when
from lc_memory.search.words import (
    STOP_WORDS,
    codes_in,
    has_run,
    query_words,
    raw_words,
    stem,
    words,
)

if TYPE_CHECKING:
    from lc_memory.search.embeddings import Vectors

#: How many candidates each index gives; twice as many of a way's best count.
ARM: Final = 100
#: How much of a long text is ranked by, in characters.
LONGEST: Final = 20_000


@dataclass(frozen=True, slots=True)
class Rules:
    """The constants of the ranking, and the rules that may be turned off (0).

    They were chosen on one half of LoCoMo (``benchmarks/recall.md``). Rules count in units of
    one first rank, so that 1.0 is worth as much as being first in one way of ranking.
    """

    fusion: float = 1.5  # the power of a score's share of the best: firsts count more than seconds
    saturation: float = 1.2  # BM25's k1
    length: float = 0.5  # BM25's b: less than usual, as the turns of a talk are short
    neighbours: float = 0.1  # of the score of the turns before and after
    session: float = 0.2  # of the best score in the session
    speaker: float = 1.5  # said by the one speaker whom the question names
    time: float = 1.5  # has a word of time, where the question asks when
    date: float = 1.5  # is as old as a date in the question says
    exact: float = 10.0  # has a code of the question (ERR-4711): worth more than all else together
    question: float = -0.6  # a turn that ends in a question mark: asks, and tells nothing


#: How often which word stands in a text, and how many words it has.
Counted: TypeAlias = tuple[Mapping[str, int], int]


@dataclass(frozen=True)
class Passage:
    """What the ranking sees of a candidate. ``session`` and ``place`` say where a turn of a
    conversation stands; ``speaker`` is a person's name, not a role. What is asked of its text
    is found out once."""

    id: Any
    text: str
    speaker: str = ""
    at: datetime | None = None
    session: Hashable = None
    place: int = 0

    @cached_property
    def counted(self) -> Counted:
        """The words of the text."""
        found = words(self.text[:LONGEST])
        return dict(Counter(found)), len(found)

    @cached_property
    def labelled(self) -> Counted:
        """The same with those of speaker and date."""
        counts, size = self.counted
        label = [*words(self.speaker), *words(dated(self.at))]
        return dict(Counter(counts) + Counter(label)), size + len(label)

    @cached_property
    def tells_when(self) -> bool:
        return tells_when(self.text[:LONGEST])

    @cached_property
    def asks(self) -> bool:
        return self.text.rstrip().endswith("?")


@dataclass(frozen=True, slots=True)
class Ranked:
    """A candidate's place: its score, and the parts that the score is made of."""

    passage: Passage
    score: float
    parts: Mapping[str, float] = field(default_factory=dict)


def why(found: Ranked, question: str) -> str:
    """In words: why this was found."""
    counts, _ = found.passage.counted
    said = [word for word in dict.fromkeys(raw_words(question)) if word not in STOP_WORDS]
    reasons = []
    if shared := [word for word in said if counts.get(stem(word))]:
        reasons.append(f"has {', '.join(shared)}")
    if "meaning" in found.parts:
        reasons.append("is like it in meaning")
    reasons += [
        reason.format(found.passage)
        for part, reason in _REASONS.items()
        if found.parts.get(part, 0) > 0
    ]
    if not reasons:
        reasons.append("stands beside what was found")
    return "; ".join(reasons)


_REASONS: Final = {
    "speaker": "said by {0.speaker}",
    "time": "tells when",
    "date": "is of {0.at:%Y-%m-%d}",
    "exact": "has the very code",
}

#: What programs write as a speaker's name where they mean "the one who asks" or "the machine".
_PARTS: Final = frozenset(
    ["user", "human", "person", "customer", "assistant", "ai", "bot", "model", "agent", "system"]
)

#: In how many of how many texts a word stands: BM25's statistics of a search's scope.
Rarity = Callable[[str], float]


def rarity(total: int, counts: Mapping[str, int]) -> Rarity:
    """How telling a word is, from how many of ``total`` texts have it."""

    def of(word: str) -> float:
        having = min(counts.get(word, 0), total)
        return log(1 + (total - having + 0.5) / (having + 0.5))

    return of


def _has(passage: Passage, code: tuple[str, ...]) -> bool:
    counts, _ = passage.counted
    return all(stem(word) in counts for word in code) and has_run(passage.text[:LONGEST], code)


def _bm25(
    wanted: Sequence[str],
    texts: Sequence[Counted],
    worth: Rarity,
    rules: Rules,
    before: Sequence[int | None] = (),
) -> list[float]:
    """BM25 of each text, together with the one ``before`` it if that is told."""
    counts, sizes = [counts for counts, _ in texts], [size for _, size in texts]
    after: dict[int, int] = {}
    for i, b in enumerate(before):
        if b is not None:
            sizes[i] += texts[b][1]
            after[b] = i
    average = sum(sizes) / max(1, len(sizes)) or 1.0
    base, slope = rules.saturation * (1 - rules.length), rules.saturation * rules.length / average
    scores = [0.0] * len(texts)
    for word in wanted:
        value = worth(word) * (rules.saturation + 1)
        times = {i: having[word] for i, having in enumerate(counts) if word in having}
        for i, count in list(times.items()) if after else ():
            if (a := after.get(i)) is not None:
                times[a] = times.get(a, 0) + count
        for i, count in times.items():
            scores[i] += value * count / (count + (base + slope * sizes[i]))
    return scores


def names_in(passages: Sequence[Passage]) -> dict[str, str]:
    """The words of the speakers' names, each with the speaker it belongs to. What only says which
    part somebody plays is nobody's name."""
    speakers = {passage.speaker: None for passage in passages if passage.speaker}
    named = {word: speaker for speaker in speakers for word in raw_words(speaker)}
    return {word: speaker for word, speaker in named.items() if word not in _PARTS}


def without_names(question: str, names: Mapping[str, str]) -> str:
    """The question without the speakers' names, as vectors are compared with it."""
    if not names:
        return question
    kept = [
        word
        for word in question.split()
        if not ((found := raw_words(word)) and found[0] in names and found[1:] in ([], ["s"]))
    ]
    return " ".join(kept) or question


def rank(
    question: str,
    passages: Sequence[Passage],
    worth: Rarity,
    *,
    vector: Vectors | None = None,
    vectors: Vectors | None = None,
    rules: Rules = Rules(),
) -> Iterator[Ranked]:
    """The passages, best first. ``vector`` is the question's, without names; ``vectors`` has a
    row for each passage. All are of length 1, or zeros where there is none."""
    names = names_in(passages)
    before = _before(passages)
    arms: dict[str, list[float]] = {
        "words": _bm25(query_words(question), [p.labelled for p in passages], worth, rules),
        "nearby": _bm25(
            query_words(without_names(question, names)),
            [p.counted for p in passages],
            worth,
            rules,
            before,
        ),
    }
    if vector is not None and vectors is not None:
        arms |= _likeness(before, vector, vectors)
    # Each part is a column: what it gives to every passage.
    parts = {name: _fused(scores, rules) for name, scores in arms.items()}
    parts |= _rules(question, passages, names, rules)
    parts |= _context(passages, before, _sums(parts), rules)
    if rules.exact and (codes := codes_in(question)):  # no neighbour gains from it
        shares = [sum(_has(p, code) for code in codes) / len(codes) for p in passages]
        parts["exact"] = [rules.exact * share for share in shares]
    scores = _sums(parts)
    for i in sorted(range(len(passages)), key=scores.__getitem__, reverse=True):
        given = {name: column[i] for name, column in parts.items() if column[i]}
        yield Ranked(passages[i], scores[i], given)


def _fused(scores: Sequence[float], rules: Rules) -> list[float]:
    """What one way of ranking gives to each: how near its score is to the best, as measured from
    those that do not count any more. So the scale of the scores is of no matter."""
    found = sorted((score for score in scores if score > 0), reverse=True)
    best = found[0] if found else 1.0
    least = found[2 * ARM] if len(found) > 2 * ARM and found[2 * ARM] < best else 0.0
    span = best - least
    return [((s - least) / span) ** rules.fusion if s > least else 0.0 for s in scores]


def _sums(parts: Mapping[str, Sequence[float]]) -> list[float]:
    return [sum(row) for row in zip(*parts.values(), strict=True)]


@lru_cache(maxsize=4096)
def _day(day: date) -> str:
    return f"{day.day} {MONTHS[day.month - 1]} {day.year}"


def dated(at: datetime | None) -> str:
    """The date as people write it, for words to find."""
    return "" if at is None else _day(at.date())


def _before(passages: Sequence[Passage]) -> list[int | None]:
    """Where the turn before each passage is, if it is there."""
    places = {(p.session, p.place): i for i, p in enumerate(passages) if p.session is not None}
    return [None if p.session is None else places.get((p.session, p.place - 1)) for p in passages]


def _likeness(
    before: Sequence[int | None], vector: Vectors, vectors: Vectors
) -> dict[str, list[float]]:
    import numpy as np

    alone = vectors @ vector
    both = alone.copy()
    held: list[int] = np.count_nonzero(vectors, axis=1).tolist()
    pairs = [(i, b) for i, b in enumerate(before) if b is not None and held[i] and held[b]]
    if pairs:  # the sum of two vectors need not be made to know how like it is
        mine, other = map(list, zip(*pairs, strict=True))
        between = np.einsum("ij,ij->i", vectors[mine], vectors[other])
        length = np.sqrt(np.maximum(2 + 2 * between, 1e-9))
        both[mine] = (alone[mine] + alone[other]) / length
    return {"meaning": alone.tolist(), "thread": both.tolist()}


def _rules(
    question: str, passages: Sequence[Passage], names: Mapping[str, str], rules: Rules
) -> dict[str, list[float]]:
    """What the small rules give to each passage."""
    given: dict[str, list[float]] = {}
    named = {names[word] for word in raw_words(question) if word in names}
    if rules.speaker and len(named) == 1:
        (speaker,) = named
        given["speaker"] = [rules.speaker * (p.speaker == speaker) for p in passages]
    if rules.time and asks_when(question):
        given["time"] = [rules.time * p.tells_when for p in passages]
    if rules.date and (spans := dates_in(question)):
        given["date"] = [
            rules.date / (1 + min(days_from(span, p.at.date()) for span in spans) / 7)
            if p.at is not None
            else 0.0
            for p in passages
        ]
    if rules.question:
        given["question"] = [rules.question * (p.session is not None and p.asks) for p in passages]
    return given


def _context(
    passages: Sequence[Passage],
    before: Sequence[int | None],
    own: Sequence[float],
    rules: Rules,
) -> dict[str, list[float]]:
    """What turns gain from their session and their neighbours."""
    best: dict[Hashable, float] = {}
    for passage, score in zip(passages, own, strict=True):
        if passage.session is not None and score > best.get(passage.session, 0.0):
            best[passage.session] = score
    near = [0.0] * len(own)
    for i, b in enumerate(before):
        if b is not None:
            near[i] += rules.neighbours * own[b]
            near[b] += rules.neighbours * own[i]
    return {
        "session": [rules.session * best.get(p.session, 0.0) for p in passages],
        "neighbours": near,
    }
