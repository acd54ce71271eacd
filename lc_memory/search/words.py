"""Text as words to search by: the same for every store, every script kept.

Words are folded (case, width, accents) and English ones stemmed. Scripts that are written without
spaces (Chinese, Japanese, Thai and their like) become overlapping pairs of characters.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Final

import regex
from snowballstemmer.english_stemmer import EnglishStemmer

_UNSPACED: Final = r"[\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_WORD: Final = regex.compile(rf"{_UNSPACED}\p{{M}}*+|(?:(?!{_UNSPACED})[\p{{L}}\p{{M}}\p{{N}}])+")
_BEGINS_UNSPACED: Final = regex.compile(_UNSPACED)
_ACCENTS: Final = regex.compile("[\u0300-\u036f]")

#: A run of letters and digits that may be a code, and those that are not one: words, small numbers,
#: years, dates, times, ordinals and measures.
_RUN: Final = regex.compile(r"[\p{L}\p{N}]++(?:[-_./:#][\p{L}\p{N}]++)*+")
_NO_CODE: Final = regex.compile(
    r"\P{N}+|\d{1,3}|(?:19|20)\d\d(?:-\d\d){0,2}|\d{1,4}(?:[/.]\d{1,4}){1,2}"
    r"|\d{1,2}(?::\d\d)+\p{L}*|\d+\p{L}{1,2}|\d{1,2}-\p{L}.*"
)

#: What a question is made of, but not what it is about. Left out of queries, never of the index.
STOP_WORDS: Final = frozenset(
    """a about am an and any are as at be been being but by can could did do does doing for from
    had has have having he her hers him his how i if in into is it its me might my of on or our
    she should so some than that the their them there these they this those to us was we were
    what when where which while who whom whose why will with would you your
    s t d ll m re ve don didn doesn isn aren wasn weren won hasn haven hadn
    couldn shouldn wouldn""".split()  # noqa: SIM905 - a list of this length reads better so
)


def plain(text: str) -> str:
    """The text folded: compatibility forms, case and accents are one."""
    if text.isascii():
        return text.lower()
    apart = _ACCENTS.sub("", unicodedata.normalize("NFKD", text))
    return unicodedata.normalize("NFKC", apart).casefold()


def raw_words(text: str) -> list[str]:
    """The words of a text, folded but not stemmed."""
    found: list[str] = _WORD.findall(plain(text))
    if text.isascii():
        return found
    return _paired(found)


def words(text: str) -> list[str]:
    """The words of a text as they are indexed."""
    return [stem(word) for word in raw_words(text)]


def query_words(text: str) -> list[str]:
    """The words of a question that say what it is about, each once (all, if none does)."""
    found = raw_words(text)
    telling = [word for word in found if word not in STOP_WORDS]
    return list(dict.fromkeys(stem(word) for word in telling or found))


def codes_in(question: str) -> list[tuple[str, ...]]:
    """The codes that a question names (ERR-4711, invoice 2024-0097), each as its words."""
    runs = dict.fromkeys(_RUN.findall(question))
    return [tuple(raw_words(run)) for run in runs if not _NO_CODE.fullmatch(run)]


def has_run(text: str, wanted: Sequence[str]) -> bool:
    """Whether these words stand in the text one after the other."""
    return f" {' '.join(wanted)} " in f" {' '.join(raw_words(text))} "


@lru_cache(maxsize=50_000)
def stem(word: str) -> str:
    if len(word) < 3 or not (word.isascii() and word.isalpha()):
        return word
    stemmed: str = EnglishStemmer().stemWord(word)
    return stemmed


def _paired(found: list[str]) -> list[str]:
    """Runs of characters of unspaced scripts become pairs; a lone one stays."""
    paired: list[str] = []
    run: list[str] = []
    for word in [*found, ""]:
        if word and _BEGINS_UNSPACED.match(word):
            run.append(word)
            continue
        if len(run) == 1:
            paired += run
        paired += [first + second for first, second in pairwise(run)]
        run.clear()
        if word:
            paired.append(word)
    return paired
