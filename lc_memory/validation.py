"""Schemas of collections: pydantic models, their versions, and the way up from old versions.

A document says which version of its collection's schema it was written for in the field
``schema_version`` (MongoDB's schema versioning pattern); without the field it is version 1.
Documents are stored as they are given: a model is asked whether they are right, and neither its
defaults nor its conversions are written into them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from lc_memory import values
from lc_memory.errors import InvalidDocument, InvalidKey, InvalidValue, NewerFormat
from lc_memory.records import Namespace, Record, Value, in_scope

if TYPE_CHECKING:  # pydantic takes longer to import than all the rest
    from pydantic import BaseModel, ValidationError

#: Takes a document of one version to the next.
Upgrade: TypeAlias = Callable[[Value], Value]

FIELD: Final = "schema_version"


@dataclass(frozen=True, slots=True)
class Schema:
    """What the documents of one collection look like."""

    name: str
    model: type[BaseModel]
    version: int
    upgrades: Mapping[int, Upgrade]

    def admitted(self, document: Value) -> Value:
        """The document as it is to be stored. Raises InvalidDocument for one that is not right.

        One that names no version was written for the present one.
        """
        if FIELD in document and self.version_of(document) < self.version:
            document = self.upgraded(document)
        self.check(document)
        return document if self.version == 1 else {**document, FIELD: self.version}

    def check(self, document: Value) -> None:
        """Raise InvalidDocument, naming the JSON path, unless the model takes the document."""
        if FIELD in document:
            version = self.version_of(document)
            if version > self.version:
                raise InvalidDocument(
                    f"$.{FIELD}", f"{version}, and {self.name!r} is registered as {self.version}"
                )
            if FIELD not in self.model.model_fields:
                document = {name: part for name, part in document.items() if name != FIELD}
        from pydantic import ValidationError

        try:
            # A copy: a validator may change what it is given.
            self.model.model_validate(values.decode(values.encode(document)))
        except ValidationError as error:
            # A strict model refuses a date or an enum as text, unless it is read as JSON.
            try:
                self.model.model_validate_json(orjson.dumps(document))
            except ValidationError as in_json:
                raise refused(in_json, self.name) from None
            except TypeError:  # bytes and the like have no JSON
                raise refused(error, self.name) from None

    def version_of(self, document: Value) -> int:
        """Which version the document was written for. Raises InvalidDocument."""
        version = document.get(FIELD, 1)
        if type(version) is not int or version < 1:
            raise InvalidDocument(f"$.{FIELD}", f"{version!r} is not a whole number from 1 up")
        return version

    def upgraded(self, document: Value) -> Value:
        """The document in the form of the present version.

        Raises NewerFormat for one of a newer version, and InvalidDocument if an upgrade fails.
        """
        version = self.version_of(document)
        if version > self.version:
            raise NewerFormat(
                f"a document of {self.name!r} has schema version {version}, and this program "
                f"registers {self.version}; use the newer program"
            )
        if version == self.version:
            return document
        for step in range(version, self.version):
            try:
                document = self.upgrades[step](document)
                if not isinstance(document, dict):
                    raise TypeError(f"it gave a {type(document).__name__}, not a dict")
            except Exception as error:
                raise InvalidDocument(
                    "$",
                    f"the upgrade of {self.name!r} from version {step} failed: "
                    f"{type(error).__name__}: {error}",
                ) from error
        return values.decode(values.encode({**document, FIELD: self.version}))


def refused(error: ValidationError, name: str) -> InvalidDocument:
    """What the model of a schema has against a document."""
    problems = [(values.json_path(e["loc"]), e["msg"]) for e in error.errors(include_input=False)]
    (path, reason), *others = problems
    more = f" (and {len(others)} more)" if others else ""
    return InvalidDocument(path, f"{reason}, says the schema {name!r}{more}", problems)


@dataclass(frozen=True, slots=True)
class Cover:
    """A schema, and where the document of a record lies that it is for: LangGraph's items are
    within an envelope."""

    schema: Schema
    enveloped: bool

    @property
    def field(self) -> str:
        return f"value.{FIELD}" if self.enveloped else FIELD

    def document(self, value: Value) -> Value:
        if not self.enveloped:
            return value
        document = value.get("value")
        if not isinstance(document, dict):
            raise InvalidDocument("$", "not there, and an item's value belongs there")
        return document

    def within(self, value: Value, document: Value) -> Value:
        return {**value, "value": document} if self.enveloped else document

    def admitted(self, value: Mapping[str, Any]) -> Value:
        """The value of a record to be stored. Raises InvalidDocument."""
        plain = values.decode(values.encode(value))
        try:
            return self.within(plain, self.schema.admitted(self.document(plain)))
        except InvalidDocument as error:
            raise self._placed(error) from error.__cause__

    def check(self, value: Value) -> None:
        """Raise InvalidDocument unless the stored value, in its present form, is right."""
        try:
            document = self.document(values.decode(values.encode(value)))
            if self.schema.version_of(document) < self.schema.version:
                document = self.schema.upgraded(document)
            self.schema.check(document)
        except InvalidDocument as error:
            raise self._placed(error) from error.__cause__

    def is_old(self, value: Value) -> bool:
        return self.schema.version_of(self.document(value)) < self.schema.version

    def upgraded(self, record: Record) -> Record:
        """The record in the form of the present version; itself, if it has it."""
        try:
            old = self.document(record.value)
            new = self.schema.upgraded(old)
        except (InvalidDocument, NewerFormat) as error:
            where = f" (in {'/'.join(record.namespace)!r}, {record.key!r})"
            if isinstance(error, NewerFormat):
                raise NewerFormat(f"{error}{where}") from None
            raise self._placed(error, where) from error.__cause__
        return record if new is old else replace(record, value=self.within(record.value, new))

    def _placed(self, error: InvalidDocument, where: str = "") -> InvalidDocument:
        """The error with paths from the record's value on."""
        start = "$.value" if self.enveloped else "$"
        problems = [(start + path.removeprefix("$"), reason) for path, reason in error.problems]
        path = start + error.path.removeprefix("$")
        return InvalidDocument(path, error.reason + where, problems)


class Schemas:
    """The schemas that were registered with a memory, by the collection's name."""

    def __init__(self) -> None:
        self._schemas: dict[str, Schema] = {}

    def register(
        self,
        name: str,
        model: type[BaseModel],
        version: int = 1,
        upgrades: Mapping[int, Upgrade] | None = None,
    ) -> Schema:
        from pydantic import BaseModel

        if not isinstance(name, str) or not name:
            raise InvalidKey(f"memory name: {name!r} is not a string with something in it")
        if not (isinstance(model, type) and issubclass(model, BaseModel)) or model is BaseModel:
            raise InvalidValue("model", f"{model!r} is not a pydantic model (a class)")
        if type(version) is not int or version < 1:
            raise InvalidValue("version", f"{version!r} is not a whole number from 1 up")
        upgrades = dict(upgrades or {})
        for step in range(1, version):
            if not callable(upgrades.get(step)):
                raise InvalidValue(
                    "upgrades", f"no function leads from version {step} to {step + 1}"
                )
        if extra := [step for step in upgrades if step not in range(1, version)]:
            raise InvalidValue(
                "upgrades", f"one from version {extra[0]!r}, and the newest is {version}"
            )
        schema = Schema(name, model, version, upgrades)
        self._schemas = {**self._schemas, name: schema}
        return schema

    def __bool__(self) -> bool:
        return bool(self._schemas)

    def __getitem__(self, name: str) -> Schema:
        return self._schemas[name]

    def __contains__(self, name: object) -> bool:
        return name in self._schemas

    def covering(self, namespace: Namespace) -> Cover | None:
        """The schema for the records of a namespace: a collection's documents, or LangGraph's
        items where it is the last label."""
        below = in_scope(namespace)[1]
        if len(below) < 2 or below[-1] not in self._schemas:
            return None
        if below[0] == "documents" and len(below) == 2:
            return Cover(self._schemas[below[-1]], enveloped=False)
        return Cover(self._schemas[below[-1]], enveloped=True) if below[0] == "store" else None

    def may_cover(self, prefix: Namespace) -> bool:
        """Whether records under the prefix may have a schema."""
        below = in_scope(prefix)[1]
        if not below or below[0] == "store":
            return bool(self._schemas)
        if below[0] != "documents" or len(below) > 2:
            return False
        return len(below) == 1 or below[1] in self._schemas

    @property
    def upgrade(self) -> bool:
        """Whether there are old versions that reading takes to the present one."""
        return any(schema.version > 1 for schema in self._schemas.values())
