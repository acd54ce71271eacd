"""Filters as SQL. What is compiled here lets every match through, and is asked again in Python:
it may let more through, never less. What cannot be said in SQL is left out.

Paths and operands are always bound parameters.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, TypeAlias

from lc_memory import values
from lc_memory.filters import (
    MISSING,
    And,
    Compare,
    Elements,
    Equal,
    Exists,
    In,
    Node,
    Or,
    Path,
    Size,
    Test,
    Where,
    reach,
    straight,
)
from lc_memory.stores.schema import INDEXED_BYTES

#: A piece of SQL and its parameters.
Sql: TypeAlias = tuple[str, list[Any]]

#: What SQLite cannot look up by a path, or compare as a parameter, as Python would.
AWKWARD: Final = re.compile('["\\\\\x00-\x1f\ud800-\udfff]')
UNBINDABLE: Final = re.compile("[\x00\ud800-\udfff]")
_MOST_VALUES: Final = 100
_MOST_PARAMETERS: Final = 500

#: The end of a number's range, relative to it.
_SLACK: Final = 1e-9


def sqlite_condition(node: Node | None) -> Sql | None:
    """A condition on ``r.value`` that holds for every match, or None if none can be said."""
    if isinstance(node, And):
        parts = [part for part in map(sqlite_condition, node.nodes) if part is not None]
        return joined(" AND ", parts) if parts else None
    if isinstance(node, Or):
        parts = []
        for child in node.nodes:
            part = sqlite_condition(child)
            if part is None:
                return None
            parts.append(part)
        return joined(" OR ", parts) if parts else ("0", [])
    if isinstance(node, Where):
        return _where(node)
    return None  # a negation lets most records through anyway


def within_limits(condition: Sql | None) -> Sql | None:
    """The condition, unless it is too much for a database: then Python decides alone. (SQLite
    takes expressions of a depth of 1000, and every parameter costs.)"""
    if condition is None or len(condition[1]) > _MOST_PARAMETERS:
        return None
    return condition if condition[0].count(" OR ") <= _MOST_PARAMETERS else None


def joined(word: str, parts: Sequence[Sql]) -> Sql:
    return (
        "(" + word.join(sql for sql, _ in parts) + ")",
        [parameter for _, parameters in parts for parameter in parameters],
    )


def _where(node: Where) -> Sql | None:
    if not node.path or any(AWKWARD.search(name) for name in node.path):
        return None
    test = _test(_json_path(node.path), node.test)
    if test is None:
        return None
    if node.exact:
        return test
    # An array on the way, or at the end, is Python's to look into.
    paths = [_json_path(node.path[:size]) for size in range(1, len(node.path) + 1)]
    arrays: list[Sql] = [("json_type(r.value, ?) = 'array'", [path]) for path in paths]
    return joined(" OR ", [test, *arrays])


def _json_path(path: Path) -> str:
    return "$" + "".join(f'."${name}"' if name[0:1] == "$" else f'."{name}"' for name in path)


def _test(path: str, test: Test) -> Sql | None:
    match test:
        case Equal(operand):
            return _equal(path, operand)
        case In(operands):
            if len(operands) > _MOST_VALUES:
                return None
            parts = [_equal(path, operand) for operand in operands]
            known = [part for part in parts if part is not None]
            return None if len(known) < len(parts) else joined(" OR ", known or [("0", [])])
        case Compare(operator, operand):
            return _compare(path, operator, operand)
        case Exists():
            return "json_type(r.value, ?) IS NOT NULL", [path]
        case Size() | Elements():
            return "json_type(r.value, ?) = 'array'", [path]
    return None


def _equal(path: str, operand: Any) -> Sql | None:
    field = "json_extract(r.value, ?)"
    if operand is None:
        return f"{field} IS NULL", [path]
    if isinstance(operand, bool):
        return f"{field} = ?", [path, int(operand)]
    if isinstance(operand, int):
        return (f"{field} = ?", [path, operand]) if _fits(operand) else None
    if isinstance(operand, float):
        return f"{field} BETWEEN ? AND ?", [path, *slack(operand)]
    if isinstance(operand, str):
        return None if UNBINDABLE.search(operand) else (f"{field} = ?", [path, operand])
    if isinstance(operand, datetime):
        return f"{field} = ?", [path + '."$date"', values.write_time(operand)]
    if isinstance(operand, (list, dict)):
        return "json_type(r.value, ?) = ?", [path, "array" if type(operand) is list else "object"]
    return None


def _compare(path: str, operator: str, operand: Any) -> Sql | None:
    sign = ">=" if operator[0] == "g" else "<="  # inclusive: SQLite cuts a string at a NUL
    field = "json_extract(r.value, ?)"
    if isinstance(operand, bool):
        return None
    if isinstance(operand, (int, float)):
        if not _fits(operand):
            return None
        bound = slack(operand)[sign == "<="]
        # An integer past 64 bits is stored as a tagged object.
        return (
            f"({field} {sign} ? OR json_type(r.value, ?) = 'object')",
            [path, bound, path],
        )
    if isinstance(operand, str) and not UNBINDABLE.search(operand):
        return f"{field} {sign} ?", [path, operand]
    if isinstance(operand, datetime):
        return f"{field} {sign} ?", [path + '."$date"', values.write_time(operand)]
    return None


def _fits(number: int | float) -> bool:
    return isinstance(number, float) or -(2**63) <= number < 2**63


def slack(number: int | float) -> tuple[float, float]:
    """A little below and a little above the number: databases read decimals as they like."""
    near = float(number)
    return near - abs(near) * _SLACK - 1e-300, near + abs(near) * _SLACK + 1e-300


# -- declared indexes --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of an index's sort keys (both ends included) that hold every match of a filter."""

    path: Path
    ranges: tuple[tuple[bytes, bytes], ...]
    cost: int  # 1: one value, 2: some values, 3: between two, 4: above or below one

    @property
    def only(self) -> tuple[bytes, bytes] | None:
        """The one range that there is, where no value is odd."""
        ranges = [one for one in self.ranges if one != (ODD_KEY, ODD_KEY)]
        return ranges[0] if len(ranges) == 1 else None

    def condition(self, column: str) -> Sql:
        parts: list[Sql] = []
        for low, high in self.ranges:
            if low == high:
                parts.append((f"{column} = ?", [low]))
            else:
                parts.append((f"{column} BETWEEN ? AND ?", [low, high]))
        return joined(" OR ", parts)


#: The sort key of "here the index does not tell all": an array, whose elements stand in it too and
#: may lie on both sides of a range, or a value whose key was cut.
ODD_KEY: Final = b"\xf0"


def index_keys(document: Any, path: Path) -> set[bytes]:
    """The keys under which a document stands in the index of a field: that of its place in the
    order by this field, and those of the values in arrays there."""
    value = straight(document, path)
    place = b"" if value is MISSING else values.sort_key(value)
    keys = {place[:INDEXED_BYTES]}
    if value is MISSING or type(value) is list:
        for found in reach(document, path):
            elements = found if type(found) is list else [found]
            keys.update(
                values.sort_key(item)[:INDEXED_BYTES]
                for item in elements
                if isinstance(item, (str, int, float, bytes, datetime))
            )
    if len(keys) > 1 or type(value) is list or len(place) > INDEXED_BYTES:
        keys.add(ODD_KEY)
    return keys


def best_ranges(node: Node | None, paths: Sequence[Path]) -> Ranges | None:
    """The best way to use an index on one of the paths for this filter, if there is one."""
    conditions = node.nodes if isinstance(node, And) else (node,)
    flat = [child for child in _flattened(conditions) if child.path in paths]
    options = [option for option in map(_ranges, flat) if option is not None]
    options += _two_sided(flat)
    return min(options, key=lambda option: option.cost, default=None)


def only_of(node: Node | None, path: Path) -> bool:
    """Whether a filter asks of that one field alone, and no negation."""
    nodes = node.nodes if isinstance(node, And) else (node,)
    return all(isinstance(child, Where) and child.path == path for child in nodes)


def _flattened(nodes: Sequence[Node | None]) -> list[Where]:
    flat: list[Where] = []
    for node in nodes:
        if isinstance(node, And):
            flat += _flattened(node.nodes)
        elif isinstance(node, Where):
            flat.append(node)
    return flat


def _ranges(node: Where) -> Ranges | None:
    match node.test:
        case Equal(operand) if _has_key(operand):
            key = _key(operand)
            return Ranges(node.path, ((key, key),), 1)
        case In(operands) if operands and all(map(_has_key, operands)):
            keys = sorted({_key(operand) for operand in operands})
            if len(keys) <= _MOST_VALUES:
                return Ranges(node.path, tuple((key, key) for key in keys), 2)
        case Compare(operator, operand):
            return Ranges(node.path, (_span(operator, operand),), 4)
    return None


def _two_sided(flat: Sequence[Where]) -> list[Ranges]:
    compares = [(node.path, node.test) for node in flat if isinstance(node.test, Compare)]
    options: list[Ranges] = []
    for path, above in compares:
        for other, below in compares:
            if path == other and above.operator[0] == "g" and below.operator[0] == "l":
                low, _ = _span(above.operator, above.operand)
                _, high = _span(below.operator, below.operand)
                options.append(Ranges(path, ((low, high), (ODD_KEY, ODD_KEY)), 3))
    return options


def _span(operator: str, operand: Any) -> tuple[bytes, bytes]:
    key, kind = _key(operand), values.rank(operand)
    if operator[0] == "g":
        return key, bytes((kind + 1,))
    return bytes((kind,)), key


def _key(operand: Any) -> bytes:
    return values.sort_key(operand)[:INDEXED_BYTES]


def _has_key(operand: Any) -> bool:
    return operand is not None and not isinstance(operand, (list, dict))
