"""Schemas: what is stored is what was meant, on every way in, in the newest form on the way out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from lc_memory import (
    InvalidDocument,
    InvalidKey,
    InvalidValue,
    Memory,
    NewerFormat,
    Put,
    Query,
    Record,
)


class Profile(BaseModel):
    age: int = Field(ge=0, le=150)
    tags: list[str] = []
    email: str | None = None


class User(BaseModel):
    user_id: str
    profile: Profile
    plan: Literal["free", "paid"] = "free"


GOOD: dict[str, Any] = {"user_id": "u1", "profile": {"age": 30, "note": [1, {"x": None}]}}
BAD: dict[str, Any] = {"user_id": "u1", "profile": {"age": "thirty", "tags": ["a", 5]}}


@pytest.fixture
def strict(memory: Memory) -> Memory:
    """A memory with a schema for ``people``."""
    memory.register("people", User)
    return memory


def _store(memory: Memory, value: Any) -> None:
    memory.store_memory("people", value)


def _batch(memory: Memory, value: Any) -> None:
    memory.batch_store([("people", {**GOOD, "user_id": "u0"}), ("people", value)])


def _update(memory: Memory, value: Any) -> None:
    memory.store_memory("people", GOOD)
    memory.update_memory("people", value)


def _waist(memory: Memory, value: Any) -> None:
    put = Put(memory.collection("people"), "k", value)
    memory.backend.write([Put(("elsewhere",), "k", {}), put])


def _as_user(memory: Memory, value: Any) -> None:
    memory.as_user("ada").store_memory("people", value)


def _langgraph(memory: Memory, value: Any) -> None:
    memory.store().put(("org", "people"), "k", value)


def _langgraph_of_a_user(memory: Memory, value: Any) -> None:
    memory.as_user("ada").store().put(("people",), "k", value)


def _async(memory: Memory, value: Any) -> None:
    asyncio.run(memory.astore_memory("people", value))


def _async_batch(memory: Memory, value: Any) -> None:
    asyncio.run(memory.abatch_store([("people", value)]))


def _async_langgraph(memory: Memory, value: Any) -> None:
    asyncio.run(memory.store().aput(("people",), "k", value))


WAYS = [
    _store, _batch, _update, _waist, _as_user, _langgraph, _langgraph_of_a_user,
    _async, _async_batch, _async_langgraph,
]  # fmt: skip


def stored(memory: Memory) -> list[Record]:
    return memory.backend.find(Query()).records


@pytest.mark.parametrize("way", WAYS)
def test_every_way_in_is_checked(strict: Memory, way: Callable[[Memory, Any], None]) -> None:
    if way is _update:
        strict.store_memory("people", GOOD)
    before = stored(strict)
    with pytest.raises(InvalidDocument) as raised:
        way(strict, BAD)
    assert raised.value.path == "$.profile.age"
    assert str(raised.value).startswith("$.profile.age: Input should be a valid integer")
    assert "thirty" not in str(raised.value)
    if way is not _update:
        assert stored(strict) == before
    else:
        assert strict.search_memory("people") == [GOOD]
    way(strict, GOOD)
    assert len(stored(strict)) >= 1


def test_all_problems_are_told(strict: Memory) -> None:
    with pytest.raises(InvalidDocument, match=r"\(and 1 more\)") as raised:
        strict.store_memory("people", BAD)
    assert [path for path, _ in raised.value.problems] == ["$.profile.age", "$.profile.tags[1]"]


def test_other_collections_take_anything(strict: Memory) -> None:
    strict.store_memory("other", BAD)
    strict.store().put(("people", "x"), "k", BAD)
    strict.backend.put(("people",), "k", BAD)
    strict.chat_history("people").add_messages([])
    assert strict.check().documents == 0


def test_documents_are_stored_as_they_are_given(strict: Memory) -> None:
    """No default is filled in, nothing is converted, and nothing is left out."""
    given = {**GOOD, "profile": {"age": "30", "extra": "kept"}}
    assert strict.store_memory("people", given).value == given
    assert strict.retrieve_memory("people") == given


def test_a_validator_that_changes_its_input_changes_nothing_stored(memory: Memory) -> None:
    class Meddling(BaseModel):
        name: str

        @model_validator(mode="before")
        @classmethod
        def meddle(cls, value: Any) -> Any:
            value["name"] = "meddled"
            return value

    memory.register("x", Meddling)
    document = {"name": "mine"}
    memory.store_memory("x", document)
    assert memory.retrieve_memory("x") == document == {"name": "mine"}


def test_strict_models_take_what_json_can_say(memory: Memory) -> None:
    class Level(Enum):
        LOW = "low"

    class Strict(BaseModel):
        model_config = ConfigDict(strict=True, extra="forbid")
        at: datetime
        level: Level

    memory.register("x", Strict, version=2, upgrades={1: lambda value: value})
    memory.store_memory("x", {"at": "2026-01-01T00:00:00Z", "level": "low"})
    with pytest.raises(InvalidDocument, match=r"^\$\.more: Extra inputs"):
        memory.store_memory("x", {"at": "2026-01-01T00:00:00Z", "level": "low", "more": 1})


def test_what_cannot_be_registered_is_refused(memory: Memory) -> None:
    with pytest.raises(InvalidKey):
        memory.register("", User)
    with pytest.raises(InvalidValue, match=r"^model: "):
        memory.register("x", dict)  # type: ignore[arg-type]  # on purpose
    with pytest.raises(InvalidValue, match=r"^version: "):
        memory.register("x", User, version=0)
    with pytest.raises(InvalidValue, match="no function leads from version 2 to 3"):
        memory.register("x", User, version=3, upgrades={1: dict})
    with pytest.raises(InvalidValue, match="from version 5"):
        memory.register("x", User, version=2, upgrades={1: dict, 5: dict})
    memory.store_memory("x", BAD)


def test_schemas_may_be_given_when_a_memory_is_opened(memory_url: str) -> None:
    with Memory(memory_url, schemas={"people": User}) as memory:
        with pytest.raises(InvalidDocument):
            memory.store_memory("people", BAD)
        handle = memory.as_user("ada")
        memory.register("more", User)  # a handle made before has it too
        with pytest.raises(InvalidDocument):
            handle.store_memory("more", BAD)


def test_restore_and_migration_are_checked(memory: Memory, tmp_path: Path) -> None:
    memory.store_memory("people", BAD)
    memory.backup_data(tmp_path / "b.json")
    before = stored(memory)
    memory.register("people", User)
    with pytest.raises(InvalidDocument, match=r"^\$\.profile\.age: "):
        memory.restore_data(tmp_path / "b.json")
    assert stored(memory) == before
    with Memory("memory://", schemas={"people": User}) as other:
        with pytest.raises(InvalidDocument):
            memory.copy_to(other)
        assert other.search_memory("people") == []
    memory.delete_memory("people")
    memory.store_memory("people", GOOD)
    kept = stored(memory)
    memory.backup_data(tmp_path / "c.json")
    memory.restore_data(tmp_path / "c.json")
    assert stored(memory) == kept


# -- versions ------------------------------------------------------------------------------


class Old(BaseModel):
    name: str


class First(BaseModel):
    first: str


class New(BaseModel):
    model_config = ConfigDict(extra="forbid")
    first: str
    last: str
    year: int = 0

    @field_validator("first")
    @classmethod
    def known(cls, value: str) -> str:
        if not value:
            raise ValueError("empty")
        return value


def split(value: dict[str, Any]) -> dict[str, Any]:
    first, _, last = value.pop("name").partition(" ")
    return {**value, "first": first, "last": last}


def add_year(value: dict[str, Any]) -> dict[str, Any]:
    return {**value, "year": 1900}


UPGRADES = {1: split, 2: add_year}
ADA = {"first": "Ada", "last": "Lovelace", "year": 1900, "schema_version": 3}


@pytest.fixture
def aged(memory: Memory) -> Memory:
    """A memory with documents of all versions, and the newest schema."""
    memory.store_memory("people", {"name": "Ada Lovelace"}, id="1")
    memory.store_memory("people", {"first": "Bob", "last": "Brown", "schema_version": 2}, id="2")
    memory.store().put(("org", "people"), "1", {"name": "Cem Cinar"})
    memory.register("people", New, version=3, upgrades=UPGRADES)
    memory.store_memory("people", {"first": "Dan", "last": "Doe", "year": 1999}, id="4")
    return memory


def test_a_version_is_kept_in_the_document(memory: Memory) -> None:
    memory.register("people", New, version=3, upgrades=UPGRADES)
    record = memory.store_memory("people", {"first": "Ada", "last": "L"}, id="1")
    assert record.value == {"first": "Ada", "last": "L", "schema_version": 3}
    assert memory.store_memory("people", record.value, id="1").value == record.value
    upgraded = memory.store_memory("people", {"name": "Ada Lovelace", "schema_version": 1}, id="2")
    assert upgraded.value == ADA


def test_old_documents_are_read_in_the_newest_form(aged: Memory) -> None:
    raw = aged._layers.store
    assert raw.get(aged.collection("people"), "1").value == {"name": "Ada Lovelace"}  # type: ignore[union-attr]  # it is there
    assert aged.retrieve_memory("people", id="1") == ADA
    assert aged.backend.get(aged.collection("people"), "1").value == ADA  # type: ignore[union-attr]  # it is there
    assert [d["first"] for d in aged.search_memory("people")] == ["Dan", "Bob", "Ada"]
    (item,) = aged.store().search(("org",))
    assert item.value == {"first": "Cem", "last": "Cinar", "year": 1900, "schema_version": 3}


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ({"last": "Lovelace"}, ["Ada"]),
        ({"year": {"$gte": 1950}}, ["Dan"]),
        ({"year": 1900}, ["Bob", "Ada"]),
        ({"name": {"$exists": True}}, []),
        ({"name": "Ada Lovelace"}, []),
        ({"schema_version": 3}, ["Dan", "Bob", "Ada"]),
        ({"schema_version": {"$lt": 3}}, []),
        ({"$nor": [{"first": "Ada"}]}, ["Dan", "Bob"]),
    ],
)
def test_filters_speak_of_the_newest_form(
    aged: Memory, filter: dict[str, Any], names: list[str]
) -> None:
    assert [d["first"] for d in aged.search_memory("people", filter)] == names
    in_pages = [d["first"] for d in aged.search_memory("people", filter, limit=2)]
    assert in_pages == names[:2]
    by_field = aged.search_memory("people", filter, order_by="first")
    assert [d["first"] for d in by_field] == sorted(names)
    query = Query(aged.collection("people"), filter, exact=True)
    assert aged.backend.count(query) == len(names)
    everywhere = Query(("documents",), filter, limit=1)
    assert len(list(aged.backend.records(everywhere))) == min(len(names), 1)


def test_langgraphs_filters_speak_of_the_newest_form(aged: Memory) -> None:
    assert [i.key for i in aged.store().search(("org",), filter={"last": "Cinar"})] == ["1"]
    assert aged.store().search(("org",), filter={"name": "Cem Cinar"}) == []


def test_changing_and_deleting_old_documents(aged: Memory) -> None:
    record = aged.update_memory("people", {"year": 1815}, {"last": "Lovelace"})
    assert record.value == {**ADA, "year": 1815}
    assert record.version == 2
    assert aged.delete_memory("people", {"first": "Bob"}) == 1
    assert aged.delete_memory("people", {"name": {"$exists": True}}) == 0


def test_the_job_stores_the_newest_form_and_keeps_times(aged: Memory) -> None:
    raw = aged._layers.store
    before = {r.id: r for r in raw.find(Query()).records}
    seen = {r.id: r for r in stored(aged)}
    report = aged.check()
    assert (report.documents, report.old, report.found) == (4, 3, 0)
    assert raw.find(Query()).records == list(before.values())
    done = aged.upgrade_documents()
    assert (done.upgraded, done.problems) == (3, [])
    for record in raw.find(Query()).records:
        assert record == seen[record.id]
        old = before[record.id]
        assert (record.version, record.created_at, record.updated_at) == (
            old.version, old.created_at, old.updated_at,
        )  # fmt: skip
    assert aged.upgrade_documents("people").upgraded == 0
    assert aged.check().old == 0
    with pytest.raises(KeyError):
        aged.upgrade_documents("unknown")


def test_an_interrupted_job_goes_on(memory: Memory) -> None:
    memory.batch_store(("people", {"id": str(i), "name": f"N{i} x"}) for i in range(1200))
    calls = 0

    def failing(value: dict[str, Any]) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls == 800:
            raise KeyboardInterrupt
        return split(value)

    memory.register("people", First, version=2, upgrades={1: failing})
    with pytest.raises(KeyboardInterrupt):
        memory.upgrade_documents()
    done = memory._layers.store.count(Query(filter={"schema_version": 2}))
    assert done == 500
    assert memory.upgrade_documents().upgraded == 700
    assert memory.check().old == 0


def test_a_document_that_cannot_be_upgraded_is_told_and_kept(memory: Memory) -> None:
    memory.store_memory("people", {"nom": "Zoe"}, id="1")
    memory.store_memory("people", {"name": " nobody"}, id="2")
    memory.store_memory("people", {"name": "Ada Lovelace"}, id="3")
    memory.register("people", New, version=3, upgrades=UPGRADES)
    with pytest.raises(InvalidDocument, match="the upgrade of 'people' from version 1 failed: Key"):
        memory.retrieve_memory("people", id="1")
    done = memory.upgrade_documents()
    assert done.upgraded == 1
    assert {(p.key, p.path) for p in done.problems} == {("1", "$"), ("2", "$.first")}
    raw = memory._layers.store.get(memory.collection("people"), "1")
    assert raw is not None
    assert raw.value == {"nom": "Zoe"}
    report = memory.check()
    assert {(p.key, p.path) for p in report.problems} == {("1", "$"), ("2", "$.first")}
    memory.store_memory("people", {"first": "Zoe", "last": ""}, id="1")
    assert memory.delete_memory("people", id="2") == 1
    assert memory.check()


def test_an_older_program_does_not_touch_newer_documents(memory: Memory) -> None:
    memory.store_memory("people", ADA, id="1")
    memory.store_memory("people", {"name": "x"}, id="2")
    memory.register("people", Old)
    for read in (
        lambda: memory.retrieve_memory("people", id="1"),
        lambda: memory.search_memory("people"),
        lambda: memory.search_memory("people", {"first": "Ada"}),
        lambda: memory.update_memory("people", {"name": "y"}, id="1"),
    ):
        with pytest.raises(NewerFormat, match="schema version 3, and this program registers 1"):
            read()
    with pytest.raises(InvalidDocument, match=r"^\$\.schema_version: 3"):
        memory.store_memory("people", {"name": "x", "schema_version": 3})
    for wrong in (0, "1", True, None):
        with pytest.raises(InvalidDocument, match=r"^\$\.schema_version: "):
            memory.store_memory("people", {"name": "x", "schema_version": wrong})
    assert [p.path for p in memory.check().problems] == ["$.schema_version"]
    assert memory.retrieve_memory("people", id="2") == {"name": "x"}


def test_restoring_an_old_backup_keeps_it_as_it_is(memory: Memory, tmp_path: Path) -> None:
    """A document without a version is of the first one, also when it is restored."""
    memory.store_memory("people", {"name": "Ada Lovelace"}, id="1")
    memory.backup_data(tmp_path / "b.json")
    raw = memory._layers.store
    before = raw.find(Query()).records
    memory.register("people", New, version=3, upgrades=UPGRADES)
    memory.restore_data(tmp_path / "b.json")
    assert raw.find(Query()).records == before
    assert memory.retrieve_memory("people") == ADA


def test_a_check_reads_page_by_page_and_tells_every_place(memory: Memory) -> None:
    memory.batch_store(("people", {"user_id": str(i), "profile": {"age": i}}) for i in range(600))
    memory.as_user("ada").store_memory("people", {"user_id": "x"})
    memory.store().put(("a", "people"), "k", {"user_id": "y", "profile": {}})
    memory.register("people", User)
    before = stored(memory)
    report = memory.check()
    assert report.documents == 602
    assert report.found == 451 == len(report.problems)
    paths = {(p.namespace, p.key): p.path for p in report.problems}
    assert paths[memory.collection("people"), "151"] == "$.profile.age"
    assert paths[("users", "ada", "documents", "people"), "x"] == "$.profile"
    assert paths[("store", "a", "people"), "k"] == "$.value.profile.age"
    assert stored(memory) == before
    assert "451 problems" in str(report)
    assert asyncio.run(memory.acheck()).found == 451


def test_without_schemas_there_is_no_layer_to_pay_for(memory: Memory) -> None:
    assert memory.backend.inner is memory._layers.store
