"""A picture of a memory: what it holds, and how that belongs together."""

from __future__ import annotations

import html
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from lc_memory.errors import CorruptStore
from lc_memory.records import Id, Namespace, Query, Record, in_scope
from lc_memory.relations import LINKS, MayRead, Stored, present
from lc_memory.store import Store

#: The fields that say best, to a person, what a document is: the first one present.
_TITLES: Final = ("title", "name", "text", "topic", "content")
_LONGEST: Final = 40
_WIDTH, _HEIGHT, _GAP = 190, 34, 90


@dataclass(frozen=True, slots=True)
class Edge:
    source: int
    target: int
    label: str


@dataclass(slots=True)
class Graph:
    """Nodes by their titles, and edges between their places; the first node is the root.

    As text it is :meth:`mermaid` or :meth:`dot` (Graphviz); in a notebook it is drawn, with
    nothing fetched from anywhere.
    """

    nodes: list[str] = field(default_factory=list)
    edges: list[Edge] = field(default_factory=list)
    _places: dict[object, int] = field(default_factory=dict)

    def add(self, name: object, title: str) -> int:
        """The place of the node of that name, which is added if it is not there."""
        if name not in self._places:
            self._places[name] = len(self.nodes)
            self.nodes.append(_plain(title))
        return self._places[name]

    def connect(self, source: int, target: int, label: str = "") -> None:
        edge = Edge(source, target, _plain(label))
        if edge not in self.edges:
            self.edges.append(edge)

    def mermaid(self) -> str:
        """The graph for Mermaid (GitHub, GitLab, Obsidian, JupyterLab and others draw it)."""
        lines = ["graph LR"]
        lines += [f'    n{i}["{_mermaid(title)}"]' for i, title in enumerate(self.nodes)]
        for edge in self.edges:
            label = f'|"{_mermaid(edge.label)}"|' if edge.label else ""
            lines.append(f"    n{edge.source} -->{label} n{edge.target}")
        return "\n".join(lines) + "\n"

    def dot(self) -> str:
        """The graph for Graphviz."""
        lines = ["digraph memory {", "    rankdir=LR;", "    node [shape=box];"]
        lines += [f'    n{i} [label="{_dot(title)}"];' for i, title in enumerate(self.nodes)]
        for edge in self.edges:
            label = f' [label="{_dot(edge.label)}"]' if edge.label else ""
            lines.append(f"    n{edge.source} -> n{edge.target}{label};")
        return "\n".join([*lines, "}"]) + "\n"

    def svg(self) -> str:
        """The graph drawn: the root on the left, and what it leads to in columns."""
        spots = self._spots()
        around = any(spots[edge.target][0] <= spots[edge.source][0] for edge in self.edges)
        margin = 130 if around else 20  # arrows around the right side, and their labels
        right = max((x for x, _ in spots.values()), default=0) + _WIDTH + margin
        low = max((y for _, y in spots.values()), default=0) + _HEIGHT + 20
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{right}" height="{low}" '
            f'viewBox="0 0 {right} {low}" font-family="sans-serif" font-size="12">',
            '<defs><marker id="lc-end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z" fill="#789"/></marker></defs>',
        ]
        for edge in self.edges:
            parts += _arrow(spots[edge.source], spots[edge.target], edge.label)
        for i, title in enumerate(self.nodes):
            x, y = spots[i]
            parts.append(
                f'<rect x="{x}" y="{y}" width="{_WIDTH}" height="{_HEIGHT}" rx="6" '
                f'fill="{"#dbeafe" if i else "#fde68a"}" stroke="#789"/>'
                f'<text x="{x + 8}" y="{y + 21}" fill="#123">{html.escape(_short(title, 28))}'
                f"<title>{html.escape(title)}</title></text>"
            )
        return "".join([*parts, "</svg>"])

    def _spots(self) -> dict[int, tuple[int, int]]:
        """Where the nodes stand: in the column of their distance from the root."""
        column = {0: 0} if self.nodes else {}
        for start in range(len(self.nodes)):
            if start and start in column:
                continue
            column.setdefault(start, 1)  # nothing leads there
            queue = [start]
            while queue:
                place = queue.pop(0)
                for edge in self.edges:
                    if edge.source == place and edge.target not in column:
                        column[edge.target] = column[place] + 1
                        queue.append(edge.target)
        rows: dict[int, int] = {}
        spots: dict[int, tuple[int, int]] = {}
        for place in range(len(self.nodes)):
            at = column[place]
            rows[at] = rows.get(at, 0) + 1
            spots[place] = (10 + at * (_WIDTH + _GAP), 10 + (rows[at] - 1) * (_HEIGHT + 14))
        return spots

    def __str__(self) -> str:
        return self.mermaid()

    def _repr_html_(self) -> str:
        return self.svg()

    def _repr_markdown_(self) -> str:
        return f"```mermaid\n{self.mermaid()}```\n"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:
        return {
            "text/html": self._repr_html_(),
            "text/vnd.mermaid": self.mermaid(),
            "text/plain": self.mermaid(),
        }


def graph(store: Store, scope: Namespace, root: str, most: int, may_read: MayRead) -> Graph:
    """The picture of what lies under a scope, with at most so many records in it.

    Every collection, session and namespace is a node with the number of its records. Linked
    records come first, then the others, collection by collection.
    """
    drawn = Graph()
    drawn.add((), root)
    spaces: dict[Namespace, int] = {}
    for namespace in store.namespaces(scope):
        kind = in_scope(namespace)[1][:1]
        if namespace[: len(scope)] != scope or kind in ((), (LINKS,), ("lc_memory",)):
            continue
        spaces[namespace] = store.count(Query(namespace, exact=True))
    if not scope:  # users are drawn when they are asked for
        users = {namespace[1] for namespace in spaces if namespace[:1] == ("users",)}
        spaces = {space: n for space, n in spaces.items() if space[:1] != ("users",)}
        if users:
            drawn.connect(0, drawn.add("users", f"users ({len(users)})"))
    left = _draw_links(drawn, store, scope, spaces, most, may_read)
    for namespace, count in spaces.items():
        place = _space(drawn, namespace, count)
        if namespace[len(scope) : len(scope) + 1] != ("documents",):
            continue  # messages and the like are too many, and each says little
        for record in store.find(Query(namespace, exact=True, limit=left)).records:
            if record.id not in drawn._places:
                left -= 1
            drawn.connect(place, drawn.add(record.id, _title(record)))
    return drawn


def _draw_links(
    drawn: Graph,
    store: Store,
    scope: Namespace,
    spaces: dict[Namespace, int],
    most: int,
    may_read: MayRead,
) -> int:
    """Draw the linked records; how many more may be drawn."""
    page: list[Stored] = []
    for record in store.records(Query((*scope, LINKS, "out"))):
        with suppress(CorruptStore):  # it links nothing; a check tells
            page.append(Stored.of(record))
        if len(page) >= most:
            break
    there = present(store, page, may_read)
    for link in page:
        if link.holds(there):
            ends = [_linked(drawn, there[id], spaces) for id in (link.source, link.target)]
            drawn.connect(ends[0], ends[1], link.relation)
    known: Iterator[Id] = (id for id in there if id in drawn._places)
    return max(most - sum(1 for _ in known), 0)


def _linked(drawn: Graph, record: Record, spaces: dict[Namespace, int]) -> int:
    fresh = record.id not in drawn._places
    place = drawn.add(record.id, _title(record))
    if fresh and record.namespace in spaces:
        drawn.connect(_space(drawn, record.namespace, spaces[record.namespace]), place)
    return place


def _space(drawn: Graph, namespace: Namespace, count: int) -> int:
    below = in_scope(namespace)[1]
    named = below[1:] if below[0] == "documents" else below
    place = drawn.add(("space", namespace), f"{'/'.join(named)} ({count})")
    drawn.connect(0, place)
    return place


def _title(record: Record) -> str:
    for name in _TITLES:
        text = record.value.get(name)
        if isinstance(text, str) and text.strip():
            return text
    return record.key


def _plain(text: str) -> str:
    """One short line, without control characters and halves of surrogate pairs."""
    text = "".join(c if c.isprintable() else " " for c in text[: 4 * _LONGEST])
    return _short(" ".join(text.split()), _LONGEST)


def _short(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"


def _mermaid(text: str) -> str:
    """With all that could end the quotation, or mean something to Mermaid or HTML, as codes."""
    return "".join(c if c.isalnum() or c in " ._-/()…" else f"#{ord(c)};" for c in text)


def _dot(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _arrow(start: tuple[int, int], end: tuple[int, int], label: str) -> list[str]:
    x1, y1 = start[0] + _WIDTH, start[1] + _HEIGHT // 2
    x2, y2 = end[0], end[1] + _HEIGHT // 2
    if x2 <= start[0]:  # back, or within the column: around the right side
        x2 = end[0] + _WIDTH
        reach = 20 + min(abs(y1 - y2) // 2, 90)  # the farther apart, the wider
        bend = f"M{x1} {y1}C{x1 + reach} {y1},{x2 + reach} {y2},{x2} {y2}"
        place = f'x="{x1 + 14}" y="{y1 + (-4 if y2 < y1 else 12)}"'  # where it leaves
    else:
        bend = f"M{x1} {y1}C{x1 + 45} {y1},{x2 - 45} {y2},{x2} {y2}"
        place = f'x="{(x1 + x2) // 2}" y="{(y1 + y2) // 2 - 4}" text-anchor="middle"'
    parts = [f'<path d="{bend}" fill="none" stroke="#789" marker-end="url(#lc-end)"/>']
    if label:
        parts.append(
            f'<text {place} fill="#456" font-size="10" stroke="#fff" stroke-width="3" '
            f'paint-order="stroke">{html.escape(_short(label, 20))}</text>'
        )
    return parts
