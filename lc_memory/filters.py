"""The filter language: MongoDB's, parsed once into a small tree.

    {"age": {"$gte": 18}, "tags": "python", "$or": [{"lang": "en"}, {"lang": {"$exists": False}}]}

Operators: ``$eq $ne $gt $gte $lt $lte $in $nin $exists $regex (with $options) $all $size
$elemMatch $not`` on fields, ``$and $or $nor`` around filters. Paths are dotted; a path goes
through the elements of arrays, and a test holds for an array if it holds for one element.

The tree's own :meth:`Node.matches` is the only definition of what a filter means. A backend may
compile what it can into its query, as long as the compiled part lets every match through; what
comes back is asked again here. Comparing different types is false, never an error; ``1`` equals
``1.0`` and not ``True``; a missing field equals None.

Filters may come from a model: size and depth are bounded, and a regular expression that takes
too long is an error.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import regex

from lc_memory import values
from lc_memory.errors import InvalidFilter, InvalidValue
from lc_memory.values import same

MAX_DEPTH: Final = 40
MAX_NODES: Final = 2_000
REGEX_SECONDS: Final = 0.25

Path: TypeAlias = tuple[str, ...]


class _Missing:
    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = _Missing()


# -- the tree ----------------------------------------------------------------------------------


class Test:
    """What is asked of one value."""

    __slots__ = ()

    def holds(self, value: Any) -> bool:
        raise NotImplementedError


class Node:
    """What is asked of a document."""

    __slots__ = ()

    def matches(self, document: Any) -> bool:
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class And(Node):
    nodes: tuple[Node, ...]

    def matches(self, document: Any) -> bool:
        return all(node.matches(document) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Or(Node):
    nodes: tuple[Node, ...]

    def matches(self, document: Any) -> bool:
        return any(node.matches(document) for node in self.nodes)


@dataclass(frozen=True, slots=True)
class Not(Node):
    node: Node

    def matches(self, document: Any) -> bool:
        return not self.node.matches(document)


@dataclass(frozen=True, slots=True)
class Where(Node):
    """A test of the values at a path. With ``exact`` the path and the test take arrays as they
    are, instead of looking into them."""

    path: Path
    test: Test
    exact: bool = False

    def matches(self, document: Any) -> bool:
        value = straight(document, self.path)
        if self.exact or not (value is MISSING or type(value) is list):  # no array is in the way
            return self.test.holds(value)
        whole = isinstance(self.test, Size | Elements)
        for found in reach(document, self.path):
            if self.test.holds(found):
                return True
            if not whole and type(found) is list and any(map(self.test.holds, found)):
                return True
        return False


@dataclass(frozen=True, slots=True)
class Equal(Test):
    value: Any

    def holds(self, value: Any) -> bool:
        if value is MISSING:
            return self.value is None
        return same(value, self.value)


@dataclass(frozen=True, slots=True)
class In(Test):
    values: tuple[Any, ...]

    def holds(self, value: Any) -> bool:
        value = None if value is MISSING else value
        return any(same(value, item) for item in self.values)


_COMPARED: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


@dataclass(frozen=True, slots=True)
class Compare(Test):
    """``value <operator> operand`` between values of one type; ``operator`` is gt gte lt lte."""

    operator: str
    operand: Any

    def holds(self, value: Any) -> bool:
        if value is MISSING or values.rank(value) != values.rank(self.operand):
            return False
        return bool(_COMPARED[self.operator](value, self.operand))


@dataclass(frozen=True, slots=True)
class Exists(Test):
    def holds(self, value: Any) -> bool:
        return value is not MISSING


@dataclass(frozen=True, slots=True)
class Matches(Test):
    """A regular expression that is found somewhere in a string."""

    pattern: Any

    def holds(self, value: Any) -> bool:
        if type(value) is not str:
            return False
        try:
            found = self.pattern.search(value, timeout=REGEX_SECONDS, concurrent=True)
        except TimeoutError:
            raise InvalidFilter(
                f"$regex {self.pattern.pattern!r} takes too long; use a simpler one"
            ) from None
        return found is not None


@dataclass(frozen=True, slots=True)
class Size(Test):
    count: int

    def holds(self, value: Any) -> bool:
        return type(value) is list and len(value) == self.count


@dataclass(frozen=True, slots=True)
class Elements(Test):
    """``$elemMatch``: an array with an element that the node matches."""

    node: Node

    def holds(self, value: Any) -> bool:
        return type(value) is list and any(map(self.node.matches, value))


def straight(document: Any, path: Path) -> Any:
    """The value at the path, with no array on the way; MISSING if there is none."""
    for name in path:
        if type(document) is not dict or name not in document:
            return MISSING
        document = document[name]
    return document


def reach(document: Any, path: Path) -> Iterator[Any]:
    """Every value at the path, through arrays; MISSING where an object lacks it."""
    for depth, name in enumerate(path):
        if type(document) is list:
            rest = path[depth:]
            if name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(document):
                yield from reach(document[int(name)], rest[1:])
            for item in document:
                if type(item) is dict:
                    yield from reach(item, rest)
            return
        if type(document) is not dict or name not in document:
            yield MISSING
            return
        document = document[name]
    yield document


# -- parsing -----------------------------------------------------------------------------------

_COMPARISONS: Final = ("$gt", "$gte", "$lt", "$lte")
_FIELD_OPERATORS: Final = (
    *("$eq", "$ne", *_COMPARISONS, "$in", "$nin", "$exists"),
    *("$regex", "$options", "$all", "$size", "$elemMatch", "$not"),
)
_LOGICAL: Final = ("$and", "$or", "$nor")


def parse(source: Mapping[str, Any] | Node) -> Node:
    """The tree of a filter. Raises InvalidFilter, naming the operator or the field."""
    if isinstance(source, Node):
        return source
    return Parser().filter(source, 0)


def matches(source: Mapping[str, Any] | Node, document: Mapping[str, Any]) -> bool:
    """Whether the document matches the filter: the one definition of its meaning."""
    return parse(source).matches(document)


class Parser:
    """Reads a filter into the tree; a dialect overrides what it means differently."""

    def __init__(self) -> None:
        self.nodes = 0

    def filter(self, source: Any, depth: int) -> Node:
        if not isinstance(source, Mapping):
            raise InvalidFilter(f"a filter is a dict, not a {type(source).__name__}")
        self._count(depth)
        nodes: list[Node] = []
        for name, condition in source.items():
            if not isinstance(name, str):
                raise InvalidFilter(f"field {name!r} is not a string")
            if name.startswith("$"):
                nodes.append(self._logical(name, condition, depth))
            else:
                nodes.append(self.field(self.path(name), condition, depth))
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def path(self, name: str) -> Path:
        return tuple(name.split("."))

    def _logical(self, name: str, condition: Any, depth: int) -> Node:
        if name not in _LOGICAL:
            raise InvalidFilter(
                f"unknown operator {name[:40]!r}; around filters there are {', '.join(_LOGICAL)}"
            )
        if not isinstance(condition, (list, tuple)) or not condition:
            raise InvalidFilter(f"{name} takes a list of filters, with at least one")
        nodes = tuple(self.filter(item, depth + 1) for item in condition)
        if name == "$and":
            return And(nodes)
        return Or(nodes) if name == "$or" else Not(Or(nodes))

    def field(self, path: Path, condition: Any, depth: int) -> Node:
        """The node for what is asked of one field: an operator dict, or a value to equal."""
        self._count(depth)
        where = ".".join(path)[:80]
        if not isinstance(condition, Mapping):
            return Where(path, Equal(self._operand(where, condition)))
        operators = [k for k in condition if isinstance(k, str) and k.startswith("$")]
        if not operators:
            return Where(path, Equal(self._operand(where, condition)))
        if len(operators) < len(condition):
            raise InvalidFilter(f"{where}: operators and fields are mixed in {list(condition)!r}")
        nodes = [
            self._operator(path, where, name, condition, depth)
            for name in operators
            if name != "$options" or "$regex" not in condition
        ]
        return nodes[0] if len(nodes) == 1 else And(tuple(nodes))

    def _operator(
        self, path: Path, where: str, name: str, condition: Mapping[str, Any], depth: int
    ) -> Node:
        operand = condition[name]
        match name:
            case "$eq":
                return Where(path, Equal(self._operand(where, operand)))
            case "$ne":
                return Not(Where(path, Equal(self._operand(where, operand))))
            case "$gt" | "$gte" | "$lt" | "$lte":
                return Where(path, Compare(name[1:], self._scalar(where, name, operand)))
            case "$in":
                return Where(path, In(self._list(where, name, operand)))
            case "$nin":
                return Not(Where(path, In(self._list(where, name, operand))))
            case "$exists":
                if not isinstance(operand, bool):
                    raise InvalidFilter(f"{where}: $exists takes true or false, not {operand!r}")
                there = Where(path, Exists())
                return there if operand else Not(there)
            case "$regex":
                return Where(path, _pattern(where, operand, condition.get("$options", "")))
            case "$size":
                if type(operand) is not int or operand < 0:
                    raise InvalidFilter(f"{where}: $size takes a whole number from 0 up")
                return Where(path, Size(operand))
            case "$all":
                return self._all(path, where, operand, depth)
            case "$elemMatch":
                return Where(path, self._elements(where, operand, depth))
            case "$not":
                if not isinstance(operand, Mapping) or not _is_operators(operand):
                    raise InvalidFilter(f"{where}: $not takes operators, such as {{'$gt': 5}}")
                return Not(self.field(path, operand, depth + 1))
        raise InvalidFilter(
            f"{where}: unknown operator {name[:40]!r}; there are {', '.join(_FIELD_OPERATORS)}"
        )

    def _all(self, path: Path, where: str, operand: Any, depth: int) -> Node:
        if not isinstance(operand, (list, tuple)):
            raise InvalidFilter(f"{where}: $all takes a list")
        if not operand:
            return Or(())  # nothing, as in MongoDB
        return And(
            tuple(
                Where(path, self._elements(where, item["$elemMatch"], depth))
                if isinstance(item, Mapping) and set(item) == {"$elemMatch"}
                else Where(path, Equal(self._operand(where, item)))
                for item in operand
            )
        )

    def _elements(self, where: str, operand: Any, depth: int) -> Elements:
        if not isinstance(operand, Mapping):
            raise InvalidFilter(f"{where}: $elemMatch takes a filter or operators")
        if _is_operators(operand):
            return Elements(_as_it_is(self.field((), operand, depth + 1)))
        return Elements(_OfObject(self.filter(operand, depth + 1)))

    def _operand(self, where: str, operand: Any) -> Any:
        """The operand as a stored value would come back, so that the two compare."""
        if operand is None or type(operand) in (str, bool):
            return operand
        try:
            lowered = values.lower({"value": operand})
        except InvalidValue as error:
            raise InvalidFilter(f"{where}: {error}") from None
        return values.lift(lowered)["value"]

    def _scalar(self, where: str, name: str, operand: Any) -> Any:
        operand = self._operand(where, operand)
        if operand is None or isinstance(operand, (dict, list)):
            raise InvalidFilter(f"{where}: {name} takes a number, string, date or bytes")
        return operand

    def _list(self, where: str, name: str, operand: Any) -> tuple[Any, ...]:
        if not isinstance(operand, (list, tuple)):
            raise InvalidFilter(f"{where}: {name} takes a list")
        return tuple(self._operand(where, item) for item in operand)

    def _count(self, depth: int) -> None:
        self.nodes += 1
        if depth > MAX_DEPTH:
            raise InvalidFilter(f"nested deeper than {MAX_DEPTH} levels")
        if self.nodes > MAX_NODES:
            raise InvalidFilter(f"more than {MAX_NODES} conditions")


@dataclass(frozen=True, slots=True)
class _OfObject(Node):
    """A node that only objects can match: ``$elemMatch`` with a filter skips other elements."""

    node: Node

    def matches(self, document: Any) -> bool:
        return type(document) is dict and self.node.matches(document)


def _as_it_is(node: Node) -> Node:
    """The conditions on an element, which do not look into it if it is an array itself."""
    match node:
        case And(nodes):
            return And(tuple(map(_as_it_is, nodes)))
        case Or(nodes):
            return Or(tuple(map(_as_it_is, nodes)))
        case Not(inner):
            return Not(_as_it_is(inner))
        case Where(path, test):
            return Where(path, test, exact=True)
    return node


def _is_operators(operand: Mapping[Any, Any]) -> bool:
    """Whether these are operators on a value, rather than a filter on its fields."""
    names = [name for name in operand if isinstance(name, str) and name.startswith("$")]
    return bool(names) and len(names) == len(operand) and not set(names) & set(_LOGICAL)


def _pattern(where: str, operand: Any, options: Any) -> Matches:
    flags = {"i": regex.IGNORECASE, "m": regex.MULTILINE, "s": regex.DOTALL, "x": regex.VERBOSE}
    if not isinstance(operand, str) or len(operand) > 1000:
        raise InvalidFilter(f"{where}: $regex takes a string of at most 1000 characters")
    if not isinstance(options, str) or not set(options) <= set(flags):
        raise InvalidFilter(f"{where}: $options takes letters of {''.join(flags)}")
    try:
        return Matches(regex.compile(operand, sum(flags[letter] for letter in set(options))))
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        raise InvalidFilter(f"{where}: $regex {operand[:80]!r}: {error}") from None
