"""LangGraph's filters, as the tree of :mod:`lc_memory.filters`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from lc_memory.errors import InvalidFilter
from lc_memory.filters import And, Equal, Node, Not, Or, Parser, Path, Test, Where

_EXACT: Final = ("$eq", "$ne", "$gt", "$gte", "$lt", "$lte")


def translate(source: Mapping[str, Any]) -> Node:
    """The tree of a LangGraph filter, for the envelopes that items are stored in.

    Raises InvalidFilter, naming the operator or the field.
    """
    return _below("value", _Dialect().filter(source, 0))


@dataclass(frozen=True, slots=True)
class _Object(Test):
    """An object, whatever it holds."""

    def holds(self, value: Any) -> bool:
        return type(value) is dict


@dataclass(frozen=True, slots=True)
class _Listed(Test):
    """A list of just these elements, in this order: each is matched by its node."""

    nodes: tuple[Node, ...]

    def holds(self, value: Any) -> bool:
        return (
            type(value) is list
            and len(value) == len(self.nodes)
            and all(node.matches(item) for node, item in zip(self.nodes, value, strict=True))
        )


class _Dialect(Parser):
    """Fields are literal names, not dotted paths; a dict without operators is a subset of an
    object, a list has the same elements in the same order, and LangGraph's own operators take a
    list as it is. The other operators are those of :mod:`lc_memory.filters`."""

    def path(self, name: str) -> Path:
        return (name,)

    def field(self, path: Path, condition: Any, depth: int) -> Node:
        self._count(depth)
        if isinstance(condition, Mapping):
            if any(isinstance(name, str) and name[:1] == "$" for name in condition):
                return super().field(path, condition, depth)
            fields = [
                self.field((*path, self._name(name)), inner, depth + 1)
                for name, inner in condition.items()
            ]
            return And((Where(path, _Object(), exact=True), *fields))
        if isinstance(condition, (list, tuple)):
            nodes = tuple(self.field((), item, depth + 1) for item in condition)
            return Where(path, _Listed(nodes), exact=True)
        return Where(path, Equal(self._operand(".".join(path)[:80], condition)), exact=True)

    def _operator(
        self, path: Path, where: str, name: str, condition: Mapping[str, Any], depth: int
    ) -> Node:
        node = super()._operator(path, where, name, condition, depth)
        return _exactly(node) if name in _EXACT else node

    def _name(self, name: object) -> str:
        if not isinstance(name, str):
            raise InvalidFilter(f"field {name!r} is not a string")
        return name


def _exactly(node: Node) -> Node:
    if isinstance(node, Not):
        return Not(_exactly(node.node))
    assert isinstance(node, Where)
    return Where(node.path, node.test, exact=True)


def _below(label: str, node: Node) -> Node:
    """The node, asked of what stands under a label of the document."""
    match node:
        case And(nodes):
            return And(tuple(_below(label, inner) for inner in nodes))
        case Or(nodes):
            return Or(tuple(_below(label, inner) for inner in nodes))
        case Not(inner):
            return Not(_below(label, inner))
        case Where(path, test, exact):
            return Where((label, *path), test, exact)
    raise TypeError(f"{type(node).__name__} asks nothing of a field")
