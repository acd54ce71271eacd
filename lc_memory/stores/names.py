"""Namespaces as one text, so that byte order is the order of the labels.

Each label ends with a tab. A tab, newline or rarer control character inside a label is written
after a newline, which keeps the order; a prefix is then a range of texts, and ``("acme",)``
(``acme⇥``) cannot match ``("acme-corp",)``.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from lc_memory.records import Namespace

_END: Final = "\t"
_ESCAPE: Final = "\n"
_AFTER_END: Final = "\n"  # the character after the end mark
_LOW: Final = re.compile("[\x01-\n]")


@lru_cache(maxsize=4096)
def write_namespace(namespace: Namespace) -> str:
    if "".join(namespace).isprintable():  # there is nothing to escape
        return _END.join((*namespace, ""))
    return "".join(_LOW.sub(_escaped, label) + _END for label in namespace)


@lru_cache(maxsize=4096)
def read_namespace(text: str) -> Namespace:
    if _ESCAPE not in text:
        return tuple(text.split(_END)[:-1])
    labels: list[str] = []
    label: list[str] = []
    characters = iter(text)
    for character in characters:
        if character == _END:
            labels.append("".join(label))
            label.clear()
        else:
            label.append(next(characters) if character == _ESCAPE else character)
    return tuple(labels)


def namespace_range(prefix: Namespace) -> tuple[str, str] | None:
    """From (inclusive) and to (exclusive) of the namespaces under the prefix; None for all."""
    if not prefix:
        return None
    start = write_namespace(prefix)
    return start, start[:-1] + _AFTER_END


def _escaped(found: re.Match[str]) -> str:
    return _ESCAPE + found[0]
