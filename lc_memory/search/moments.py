"""Time in words: dates that a question names, and words with which a text tells when."""

from __future__ import annotations

from datetime import date
from typing import Final

import regex

_ALL: Final = "january february march april may june july august september october november"
MONTHS: Final = (*_ALL.split(), "december")
_MONTH: Final = "|".join(f"{name}|{name[:3]}" for name in MONTHS) + "|sept"
_YEAR: Final = r"(?:19|20)\d\d"
_DAY: Final = r"\d{1,2}(?:st|nd|rd|th)?"
_ISO: Final = regex.compile(rf"\b({_YEAR})-(\d\d)(?:-(\d\d))?\b")
_NAMED: Final = regex.compile(
    rf"\b(?:({_DAY})\s+(?:of\s+)?)?({_MONTH})\b\.?(?:\s+({_DAY})\b(?!\d))?(?:,?\s+(?:of\s+)?({_YEAR}))?",
    regex.IGNORECASE,
)
#: The year of a date that was named without one; a leap year, or 29 February would not be.
_ANY: Final = 4
_NUMBER: Final = regex.compile(r"\d+")
_HELPER: Final = (
    r"(?:did|does|do|is|are|was|were|will|would|has|have|had|can|could|should|may|might)\b"
)
#: "When" asks where it begins the question, a verb of asking stands before it or a helping verb
#: after it; in "what did she say when they met?" it does not.
_ASKS_WHEN: Final = regex.compile(
    r"^\W*when\b(?!.*\b(?:what|who|whom|whose|where|which|why|how)\b)"
    rf"|\bwhen(?:['’]s\b|\s+{_HELPER}|\W*$)"
    r"|\b(?:know|remember|recall|tell\s+\w+|say|said|asked?|since|until|and|or|exactly)\s+when\b"
    r"|\b(?:how long|how many (?:days|weeks|months|years)|what (?:date|day|month|year|time)"
    r"|which (?:date|day|month|year)|how old)\b",
    regex.IGNORECASE | regex.DOTALL,
)
_TELLS_WHEN: Final = regex.compile(
    rf"\b(yesterday|today|tonight|tomorrow|ago|(?:last|next|this|past|previous|following|few|"
    rf"couple of|every)\s+(?:few\s+|couple\s+(?:of\s+)?)?(?:night|day|morning|evening|afternoon|"
    rf"week|weekend|month|year|summer|winter|spring|fall|autumn|\w+day)s?|recently|since|"
    rf"\w+\s+(?:day|week|month|year)s?|monday|tuesday|wednesday|thursday|friday|saturday|sunday|"
    rf"{'|'.join(name for name in MONTHS if name not in ('march', 'may'))}|{_YEAR})\b",
    regex.IGNORECASE,
)


def asks_when(question: str) -> bool:
    """Whether the question asks for a time or a duration."""
    return _ASKS_WHEN.search(question) is not None


def tells_when(text: str) -> bool:
    """Whether the text has a word of time in it."""
    return _TELLS_WHEN.search(text) is not None


def dates_in(question: str) -> list[tuple[date, date]]:
    """The spans that the question names, a day or a month each. Without a year they are of
    the year 4, which nobody asks about."""
    spans: list[tuple[date, date]] = []
    for year, month, day in _ISO.findall(question):
        spans += _span(int(year), int(month), int(day) if day else None)
    for before, name, after, year in _NAMED.findall(question):
        if not (before or after or year) and (name == "may" or name == "march" or len(name) == 3):
            continue  # more often a verb than a month
        month = next(i for i, full in enumerate(MONTHS, 1) if full.startswith(name.lower()[:3]))
        digits = _NUMBER.match(before or after or "")
        spans += _span(int(year) if year else _ANY, month, int(digits[0]) if digits else None)
    return spans


def days_from(span: tuple[date, date], day: date) -> int:
    """How many days lie between a day and a span (0: it is within); a span without a year is
    meant in the year that comes nearest."""
    first, last = span
    if first.year != _ANY:
        return max((first - day).days, (day - last).days, 0)
    return min(
        max((_in(first, year) - day).days, (day - _in(last, year)).days, 0)
        for year in (day.year - 1, day.year, day.year + 1)
        if year > 1
    )


def _in(day: date, year: int) -> date:
    try:
        return day.replace(year=year)
    except ValueError:  # 29 February
        return date(year, 3, 1)


def _span(year: int, month: int, day: int | None) -> list[tuple[date, date]]:
    try:
        if day is not None:
            return [(date(year, month, day), date(year, month, day))]
        following = date(year + month // 12, month % 12 + 1, 1)
        return [(date(year, month, 1), date.fromordinal(following.toordinal() - 1))]
    except ValueError:  # no such day
        return []
