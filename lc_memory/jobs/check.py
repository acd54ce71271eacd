"""Is what is stored what was meant? Every record is held against its schema, every link against
its ends."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from lc_memory import values
from lc_memory.errors import Conflict, CorruptStore, InvalidDocument, NewerFormat
from lc_memory.layers.base import SYSTEM
from lc_memory.layers.reading import UNREADABLE, held, readable
from lc_memory.records import Delete, Id, Namespace, Query, Record, Restore, in_scope
from lc_memory.relations import Stored, is_link
from lc_memory.store import Store
from lc_memory.validation import Cover, Schemas

_PAGE: Final = 500
#: How many problems are described; the others are counted.
MOST: Final = 1000
_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a record; ``path`` is the JSON path in its value."""

    namespace: Namespace
    key: str
    path: str
    reason: str

    def __str__(self) -> str:
        return f"{'/'.join((*self.namespace, self.key))} {self.path}: {self.reason}"


@dataclass(slots=True)
class Report:
    """What a check has found: how much there is, and what is wrong.

    ``found`` counts the problems; the first 1000 are in ``problems``. ``old`` are documents of an
    earlier schema version (which reading upgrades), ``repaired`` the dangling links removed.
    """

    records: int = 0
    documents: int = 0  # those that have a schema
    old: int = 0
    links: int = 0
    found: int = 0
    repaired: int = 0
    problems: list[Problem] = field(default_factory=list)

    def add(self, record: Record, path: str, reason: str) -> None:
        self.found += 1
        if len(self.problems) < MOST:
            self.problems.append(Problem(record.namespace, record.key, path, reason))

    def __bool__(self) -> bool:
        """Whether all is well."""
        return self.found == self.repaired

    def __str__(self) -> str:
        state = "all is well" if self else f"{self.found - self.repaired} problems"
        lines = [
            f"{self.records} records, {self.documents} with a schema ({self.old} of an earlier "
            f"version), {self.links} links: {state}"
        ]
        if self.repaired:
            lines.append(f"{self.repaired} dangling links were removed")
        return "\n".join([*lines, *map(str, self.problems)])


@dataclass(frozen=True, slots=True)
class Upgraded:
    """How many documents were brought to the present version, and which could not be."""

    upgraded: int
    problems: list[Problem]


def check(
    store: Store, raw: Store, schemas: Schemas, scope: Namespace = (), *, repair: bool = False
) -> Report:
    """Check everything under the scope, page by page. Only ``repair`` changes anything: it
    removes links that hold no more. ``raw`` gives documents as they are stored. A record that
    cannot be read is told, and does not end the check."""
    report = Report()
    for page in _pages(_opened(raw, scope, report)):
        report.records += len(page)
        for record in page:
            cover = schemas.covering(record.namespace)
            if cover is not None:
                _check_document(report, record, cover)
        _check_links(report, raw, page, scope)
    if repair and report.found:
        _repair(report, store, raw, scope)
    return report


def _check_document(report: Report, record: Record, cover: Cover) -> None:
    report.documents += 1
    try:
        report.old += cover.is_old(record.value)
        cover.check(record.value)
    except InvalidDocument as error:
        for path, reason in error.problems:
            report.add(record, path, reason)
    except NewerFormat as error:
        report.add(record, f"$.{cover.field}", str(error))


def _check_links(report: Report, store: Store, page: Sequence[Record], scope: Namespace) -> None:
    report.links += sum(1 for record in page if _side(record.namespace) == "out")
    for record, _, reason in dangling(store, page, scope):
        report.add(record, "$", reason)


def dangling(
    store: Store, page: Sequence[Record], scope: Namespace
) -> Iterator[tuple[Record, list[Id], str]]:
    """The links on a page that hold no more, each once: one of their records, the ids of both,
    and why. What is there but is no link comes without ids."""
    links: list[tuple[Record, Stored]] = []
    for record in page:
        if is_link(record.namespace):
            try:
                links.append((record, Stored.of(record)))
            except CorruptStore as error:
                yield record, [], str(error)
    if not links:
        return
    ids = {id: None for _, link in links for id in (link.source, link.target, *link.ids)}
    there = {record.id: record for record, _ in held(store, list(ids))}
    suspect = [
        (record, link)
        for record, link in links
        if not link.holds(there) or any(id not in there for id in link.ids)
    ]
    # Was it just being removed, with its end? Then it is gone by now.
    still = {r.id: r.version for r, _ in held(store, [record.id for record, _ in suspect])}
    for record, link in suspect:
        first = link.ids[0]
        twin = record.id != first and first[0][: len(scope)] == scope and first in there
        if still.get(record.id) == record.version and not twin:
            yield record, list(link.ids), _reason(link, there)


def _reason(link: Stored, there: dict[Id, Record]) -> str:
    for name, end, since in zip(
        ("source", "target"), (link.source, link.target), link.since, strict=True
    ):
        place = "/".join((*end[0], end[1]))
        if end not in there:
            return f"its {name} {place!r} is not there"
        if values.micros(there[end].created_at) != since:
            return f"its {name} {place!r} was made anew since"
    return "only one of its two halves is there"


def _repair(report: Report, store: Store, raw: Store, scope: Namespace) -> None:
    for page in _pages(_opened(raw, scope)):
        for record, ids, _ in dangling(raw, page, scope):
            if not ids:
                continue
            try:
                ops = [Delete(*record.id, replacing=record)]
                ops += [Delete(*id) for id in ids if id != record.id]
                for batch in [ops] if store.capabilities.atomic else [[op] for op in ops]:
                    store.write(batch)
            except (Conflict, *UNREADABLE):  # linked anew, this moment, or nobody can tell
                continue
            report.repaired += 1


def upgrade(
    store: Store, raw: Store, schemas: Schemas, scope: Namespace = (), name: str | None = None
) -> Upgraded:
    """Store every document under the scope in the form of its schema's present version.

    Versions and times of the records stay. It may be interrupted at any time: what is done is
    done, and the next call goes on with the rest. Raises KeyError for a name without a schema.
    """
    wanted = None if name is None else schemas[name]
    count = 0
    problems: list[Problem] = []
    for namespace in raw.namespaces(scope):
        cover = schemas.covering(namespace)
        if cover is None or cover.schema.version == 1 or wanted not in (None, cover.schema):
            continue
        old = Query(namespace, {cover.field: {"$ne": cover.schema.version}}, exact=True)
        for page in _pages(raw.records(old, _PAGE)):
            done, wrong = _upgrade_page(store, raw, cover, page)
            count += done
            problems += wrong[: MOST - len(problems)]
    return Upgraded(count, problems)


def _upgrade_page(
    store: Store, raw: Store, cover: Cover, page: Sequence[Record]
) -> tuple[int, list[Problem]]:
    problems: list[Problem] = []
    done = 0
    left = list(page)
    for _ in range(_TRIES):
        batches: list[tuple[Record, list[Restore]]] = []
        for record in left:
            try:
                if cover.is_old(record.value):
                    batches.append((record, [Restore(cover.upgraded(record), replacing=record)]))
            except (InvalidDocument, NewerFormat) as error:
                path = error.path if isinstance(error, InvalidDocument) else f"$.{cover.field}"
                problems.append(Problem(record.namespace, record.key, path, str(error)))
        overtaken: list[Id] = []
        outcomes = store.write_many([ops for _, ops in batches])
        for (record, _), outcome in zip(batches, outcomes, strict=True):
            if isinstance(outcome, Conflict):
                overtaken.append(record.id)
            elif isinstance(outcome, InvalidDocument):
                problem = Problem(record.namespace, record.key, outcome.path, outcome.reason)
                problems.append(problem)
            elif isinstance(outcome, Exception):
                raise outcome
            else:
                done += 1
        left = [record for record in raw.read(overtaken) if record] if overtaken else []
        if not left:
            break
    return done, problems


def _side(namespace: Namespace) -> str:
    """Which half of a link the namespace holds: ``"out"``, ``"in"`` or none."""
    return "".join(in_scope(namespace)[1][1:2]) if is_link(namespace) else ""


def _opened(store: Store, scope: Namespace, report: Report | None = None) -> Iterator[Record]:
    """The records under the scope that can be read; the others are reported."""
    for record, error in readable(store, Query(scope), _PAGE):
        if error is None:
            yield record
        elif report is not None and record.namespace[:1] != SYSTEM:
            report.records += 1
            report.add(record, "$", str(error))


def _pages(records: Iterable[Record]) -> Iterator[list[Record]]:
    page: list[Record] = []
    for record in records:
        if record.namespace[:1] == SYSTEM:
            continue
        page.append(record)
        if len(page) == _PAGE:
            yield page
            page = []
    if page:
        yield page
