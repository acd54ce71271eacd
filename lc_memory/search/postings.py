"""An index of words in memory, for the stores that keep everything there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import nsmallest

from lc_memory.records import Id, Namespace
from lc_memory.search.asking import Scope
from lc_memory.search.texts import prefix_token


class Postings:
    """Which records have which tokens. Not locked: who owns it does that."""

    def __init__(self) -> None:
        self._having: dict[str, dict[Id, int]] = {}
        self._tokens: dict[Id, tuple[str, ...]] = {}
        self._sizes: dict[Id, int] = {}
        self._size = 0

    def __len__(self) -> int:
        return len(self._tokens)

    def put(self, id: Id, tokens: Sequence[str]) -> None:
        """Have the record stand under these tokens and no others."""
        self.remove(id)
        if not tokens:
            return
        counted = Counter(tokens)
        for token, times in counted.items():
            self._having.setdefault(token, {})[id] = times
        self._tokens[id] = tuple(counted)
        self._sizes[id] = len(tokens)
        self._size += len(tokens)

    def remove(self, id: Id) -> None:
        for token in self._tokens.pop(id, ()):
            having = self._having[token]
            del having[id]
            if not having:
                del self._having[token]
        self._size -= self._sizes.pop(id, 0)

    def clear(self, prefix: Namespace) -> None:
        for id in list(self._having.get(prefix_token(prefix), ()) if prefix else self._tokens):
            self.remove(id)

    def counts(self, tokens: list[str], scope: Scope) -> tuple[int, dict[str, int]]:
        if scope.nothing:
            return 0, {}
        groups = self._groups(scope)
        if len(groups) == 1 and len(groups[0]) == 1:
            total = len(groups[0][0])
        elif groups:
            total = len({id for part in groups[0] for id in part if _in(groups[1:], id)})
        else:
            total = len(self._tokens)
        return total, {
            token: sum(_in(groups, id) for id in self._having.get(token, ())) for token in tokens
        }

    def best(self, tokens: Mapping[str, float], scope: Scope, limit: int) -> list[Id]:
        if scope.nothing:
            return []
        groups = self._groups(scope)
        average = self._size / max(1, len(self._sizes))
        scores: dict[Id, float] = {}
        for token, worth in tokens.items():
            for id, times in self._having.get(token, {}).items():
                if id in scores or _in(groups, id):
                    damping = 0.3 + 0.9 * self._sizes[id] / average
                    scores[id] = scores.get(id, 0.0) + worth * times / (times + damping)
        best = nsmallest(limit, scores.items(), key=lambda pair: (-pair[1], pair[0]))
        return [id for id, _ in best]

    def _groups(self, scope: Scope) -> list[list[dict[Id, int]]]:
        return [[self._having.get(token, {}) for token in group] for group in scope.tokens()]


def _in(groups: list[list[dict[Id, int]]], id: Id) -> bool:
    return all(any(id in part for part in group) for group in groups)
