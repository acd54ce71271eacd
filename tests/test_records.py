"""Records, and what orjson would write that is no JSON of the caller's."""

import copy
import enum
import pickle
import uuid
from dataclasses import replace
from typing import Any

import pytest

from lc_memory import values
from lc_memory.errors import CorruptStore, InvalidValue
from lc_memory.records import Append, Put, Record
from lc_memory.rows import Row
from lc_memory.stores.memory import MemoryStore


def _row(text: str = '{"a":[1]}') -> Row:
    return Row(("n",), "k", text, 2, 1_000_000, 2_000_000, 3_000_000, "ada")


def test_a_record_told_by_a_row_is_a_record_like_any_other() -> None:
    row = _row()
    moments = [values.from_micros(n) for n in (1_000_000, 2_000_000, 3_000_000)]
    made = Record(("n",), "k", {"a": [1]}, 2, *moments, "ada")
    assert Record.told_by(row) == made
    assert Record.told_by(row, {"a": [1]}) == made
    assert repr(Record.told_by(row)) == repr(made)
    for twin in (copy.deepcopy, lambda r: pickle.loads(pickle.dumps(r))):
        assert twin(Record.told_by(row)) == made
        assert twin(made) == made
    assert replace(Record.told_by(row), key="l") == replace(made, key="l")
    assert Record.told_by(row).state == row.state
    with pytest.raises(AttributeError, match="colour"):
        made.colour  # type: ignore[attr-defined]  # noqa: B018 - it is the access that counts
    with pytest.raises(AttributeError):
        Record.told_by(row).key = "l"  # type: ignore[misc]


def test_its_value_is_read_once_and_belongs_to_the_caller() -> None:
    record = Record.told_by(_row())
    record.value["a"].append(2)
    assert record.value == {"a": [1, 2]}
    with pytest.raises(CorruptStore):
        Record.told_by(_row("{")).value  # noqa: B018 - it is the access that counts


def test_only_long_values_are_decoded_before_they_are_asked_for() -> None:
    Record.told_by(_row("{")).decode_long()
    with pytest.raises(CorruptStore):
        Record.told_by(_row("{" * 5_000)).decode_long()
    made = Record(("n",), "k", {}, 1, *[values.from_micros(1)] * 2)
    made.decode_long()
    assert made.value == {}


def test_what_a_write_gives_back_shares_nothing_with_what_was_given() -> None:
    store = MemoryStore()
    given: dict[str, Any] = {"list": [1], "pair": (1, 2), "data": b"\0", "none": None}
    put, appended = store.write([Put(("n",), "k", given), Append(("log",), given)])
    given["list"].append(2)
    for record in (put, appended):
        assert record is not None
        assert record.value == {"list": [1], "pair": [1, 2], "data": b"\0", "none": None}
        record.value["list"].append(3)
    held = store.get(("n",), "k")
    assert held is not None
    assert held.value["list"] == [1]


class _Colour(enum.Enum):
    RED = "red"


@pytest.mark.parametrize(
    "item", [uuid.UUID(int=1), _Colour.RED, float("nan"), float("inf"), {1}, 1 + 2j, ..., object()]
)
def test_what_only_looks_like_json_is_refused_at_its_place(item: object) -> None:
    for value, place in (
        ({"a": item}, r"\$\.a"),
        ({"none": None, "a": [0, item]}, r"\$\.a\[1\]"),
        ({"a": {"b": (item,)}}, r"\$\.a\.b\[0\]"),
    ):
        with pytest.raises(InvalidValue, match=place):
            values.encode(value)


def test_how_deep_a_value_may_be() -> None:
    for wrap in (lambda inner: {"a": inner}, lambda inner: {"a": inner, "when": b"1"}):
        deep: dict[str, Any] = {}
        for _ in range(values.MAX_DEPTH - 1):
            deep = wrap(deep)
        assert values.decode(values.encode(deep)) == deep
        with pytest.raises(InvalidValue, match="deeper"):
            values.encode({"a": deep})
