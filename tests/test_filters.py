"""What filters mean, and what is refused."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from lc_memory import InvalidFilter, matches, values

DOCUMENT: dict[str, Any] = {
    "n": 5,
    "f": 1.0,
    "yes": True,
    "none": None,
    "s": "Hello",
    "tags": ["a", "b", 3],
    "empty": [],
    "o": {"x": {"y": 1}, "l": [{"z": 1}, {"z": 2, "w": 3}, 7]},
    "when": datetime(2024, 1, 15, tzinfo=UTC),
    "bytes": b"abc",
}

HOLDS: list[dict[str, Any]] = [
    {},
    {"n": 5},
    {"n": 5.0},
    {"f": 1},
    {"yes": True},
    {"none": None},
    {"missing": None},
    {"missing": {"$ne": 1}},
    {"missing": {"$nin": [1, "a"]}},
    {"missing": {"$exists": False}},
    {"none": {"$exists": True}},
    {"n": {"$gt": 4, "$lte": 5}},
    {"s": {"$gte": "Hell", "$lt": "Hf"}},
    {"when": {"$gt": datetime(2024, 1, 14, tzinfo=UTC)}},
    {"bytes": {"$lt": b"abd"}},
    {"n": {"$in": [1, 5]}},
    {"missing": {"$in": [None]}},
    {"tags": "a"},
    {"tags": ["a", "b", 3]},
    {"tags": {"$in": ["x", "b"]}},
    {"tags": {"$gt": 2}},
    {"tags": {"$all": ["b", "a"]}},
    {"tags": {"$size": 3}},
    {"empty": {"$size": 0}},
    {"empty": []},
    {"tags": {"$elemMatch": {"$gt": 1, "$lt": 4}}},
    {"o.x.y": 1},
    {"o.x": {"y": 1}},
    {"o.l.z": 2},
    {"o.l.1.w": 3},
    {"o.l": {"$elemMatch": {"z": 2, "w": 3}}},
    {"o.l": {"$all": [{"$elemMatch": {"z": 1}}, 7]}},
    {"o.l.w": None},
    {"s": {"$regex": "^hel", "$options": "i"}},
    {"s": {"$not": {"$regex": "x"}}},
    {"n": {"$not": {"$gt": 5}}},
    {"$and": [{"n": 5}, {"s": "Hello"}]},
    {"$or": [{"n": 6}, {"s": "Hello"}]},
    {"$nor": [{"n": 6}, {"s": "hello"}]},
]

FAILS: list[dict[str, Any]] = [
    {"n": "5"},
    {"n": True},
    {"yes": 1},
    {"f": True},
    {"s": "hello"},
    {"none": {"$ne": None}},
    {"missing": {"$ne": None}},
    {"missing": {"$gt": 0}},
    {"missing": {"$regex": ""}},
    {"n": {"$gt": "4"}},
    {"s": {"$gt": 1}},
    {"yes": {"$gte": 1}},
    {"tags": ["b", "a", 3]},
    {"tags": {"$ne": "a"}},
    {"tags": {"$nin": ["a"]}},
    {"tags": {"$all": ["a", "z"]}},
    {"tags": {"$all": []}},
    {"tags": {"$size": 2}},
    {"s": {"$size": 5}},
    {"tags": {"$elemMatch": {"$gt": 3}}},
    {"o.x": {"y": 1, "z": 2}},
    {"o.l": {"$elemMatch": {"z": 1, "w": 3}}},
    {"o.l.9": 1},
    {"n": {"$in": []}},
    {"$and": [{"n": 5}, {"s": "x"}]},
]


@pytest.mark.parametrize("source", HOLDS, ids=str)
def test_holds(source: dict[str, Any]) -> None:
    assert matches(source, DOCUMENT)
    assert not matches({"$nor": [source]}, DOCUMENT)


@pytest.mark.parametrize("source", FAILS, ids=str)
def test_fails(source: dict[str, Any]) -> None:
    assert not matches(source, DOCUMENT)
    assert matches({"$nor": [source]}, DOCUMENT)


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ({"a": {"$where": "1"}}, r"a: unknown operator '\$where'"),
        ({"$text": {}}, r"unknown operator '\$text'"),
        ({"$not": {"a": 1}}, r"'\$not'"),
        ({"a": {"$gt": 1, "b": 2}}, "a: .*mixed"),
        ({"a": {"$gt": None}}, r"a: \$gt"),
        ({"a": {"$in": "x"}}, r"a: \$in takes a list"),
        ({"a": {"$exists": 1}}, r"a: \$exists"),
        ({"a": {"$size": -1}}, r"a: \$size"),
        ({"a": {"$regex": "("}}, r"a: \$regex"),
        ({"a": {"$regex": "x", "$options": "q"}}, r"a: \$options"),
        ({"a": {"$options": "i"}}, r"a: unknown operator '\$options'"),
        ({"a": {"$not": 5}}, r"a: \$not"),
        ({"a": {"$elemMatch": 5}}, r"a: \$elemMatch"),
        ({"$or": []}, r"\$or takes a list"),
        ({"$and": {"a": 1}}, r"\$and takes a list"),
        ({"a": float("nan")}, r"a: .*nan"),
        ({"a": {"$eq": {1, 2}}}, "a: .*set"),
        ({1: 2}, "field 1"),
        ([("a", 1)], "dict"),
    ],
    ids=str,
)
def test_what_has_no_meaning_is_named(source: Any, names: str) -> None:
    with pytest.raises(InvalidFilter, match=names):
        matches(source, DOCUMENT)


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        ({"$gt": 1}, False),
        ({"$in": [2, 3]}, False),
        ({"$ne": 2}, True),
        ({"$eq": [1, 2]}, True),
        ({"$size": 2}, True),
        ({"$not": {"$gte": 2}}, True),
        ({"$gte": 1, "$lte": 2}, False),
        ({"$elemMatch": {"$gt": 1}}, True),
    ],
    ids=str,
)
def test_elem_match_does_not_look_into_its_elements(condition: Any, holds: bool) -> None:
    """An array in an array is one element, as in MongoDB."""
    assert matches({"rows": {"$elemMatch": condition}}, {"rows": [[1, 2]]}) is holds


def test_a_models_filter_cannot_hang_or_flood() -> None:
    with pytest.raises(InvalidFilter, match="too long"):
        matches({"s": {"$regex": "(a|aa)+$"}}, {"s": "a" * 5000 + "b"})
    deep: dict[str, Any] = {"a": 1}
    for _ in range(300):
        deep = {"$and": [deep]}
    with pytest.raises(InvalidFilter, match="deeper"):
        matches(deep, DOCUMENT)
    with pytest.raises(InvalidFilter, match="conditions"):
        matches({"$or": [{"a": 1}] * 3000}, DOCUMENT)
    with pytest.raises(InvalidFilter, match="1000 characters"):
        matches({"a": {"$regex": "x" * 2000}}, DOCUMENT)


def test_sort_keys_order_all_values() -> None:
    """By type, then by value; equal values have equal keys."""
    ordered: list[Any] = [
        None,
        *(-(10**400), -(2**64) - 1, -(2.0**64), -(2**64) + 1, -1e308 / 1e300, -1, -0.5, 0, 5e-324),
        *(0.5, 1, 2**53, 2**53 + 1, 2**53 + 2, 1e308, 10**400),
        *("", "\0", "a", "a\0", "aa", "\ud7ff", "\ud800", "\ue000", "😀"),
        *({}, {"a": 1}, {"a": 1, "b": 0}, {"a": 2}),
        *([], [1], [1, 2], [2]),
        *(b"", b"a", False, True),
        *(datetime(1900, 1, 1, tzinfo=UTC), datetime(2024, 1, 1, tzinfo=UTC)),
    ]
    keys = [values.sort_key(value) for value in ordered]
    assert keys == sorted(keys)
    assert len(set(keys)) == len(keys)
    assert values.sort_key(1) == values.sort_key(1.0)
    assert values.sort_key(0.0) == values.sort_key(-0.0)


def test_merge_patch_is_the_rfcs() -> None:
    """RFC 7396, appendix A."""
    cases: list[tuple[Any, Any, Any]] = [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ]
    for target, patch, result in cases:
        assert values.merge_patch(target, patch) == result
