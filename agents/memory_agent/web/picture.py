"""Learning progress as a picture: what rests on what, how well each topic sits, how far it goes.

Pictures are SVG made of numbers only; names are put beside them as text, by the page.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import pi
from typing import Any, Final

#: The height of a topic's row in pixels; the page's rows are as high.
ROW: Final = 52
_RADIUS: Final = 11
_STEP: Final = 13


def donut(percentage: float) -> str:
    """How far the course is done, as a ring."""
    return (
        '<svg viewBox="0 0 72 72" width="72" height="72" class="ring" role="img" '
        f'aria-label="{percentage:g} percent of the course">'
        + _ring(36, 36, 29, percentage / 100, width=8)
        + f'<text x="36" y="41" text-anchor="middle" class="ring-text">{percentage:.0f}%</text>'
        "</svg>"
    )


def graph(topics: Sequence[Mapping[str, Any]]) -> tuple[str, int]:
    """The topics of :meth:`Learner.overview` as a graph, a row each, and the picture's width.

    A line leads from a topic to those that rest on it; its ring is filled by its mastery.
    """
    place = {topic["topic"]: row for row, topic in enumerate(topics)}
    depth = _depths(topics)
    width = 2 * _RADIUS + 10 + _STEP * min(max(depth.values(), default=0), 4)
    lines, rings = [], []
    for topic in topics:
        x, y = _at(place, depth, topic["topic"])
        for needed in topic["prerequisites"]:
            if needed in place:
                a, b = _at(place, depth, needed)
                lines.append(f'<path class="edge" d="M{a} {b} C{a} {y} {a} {y} {x} {y}"/>')
        rings.append(_ring(x, y, _RADIUS, topic["mastery"], width=4, kind=topic["state"]))
        if topic["state"] == "done":
            rings.append(f'<path class="tick" d="M{x - 4} {y} l3 3 l5 -6"/>')
        elif topic["state"] == "current":
            rings.append(f'<circle class="now" cx="{x}" cy="{y}" r="4"/>')
        if topic.get("due"):
            rings.append(f'<circle class="due" cx="{x + 9}" cy="{y - 9}" r="4.5"/>')
    height = ROW * len(topics)
    picture = (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'aria-hidden="true">{"".join(lines)}{"".join(rings)}</svg>'
    )
    return picture, width


def _at(place: Mapping[str, int], depth: Mapping[str, int], name: str) -> tuple[int, int]:
    return 5 + _RADIUS + _STEP * min(depth[name], 4), ROW * place[name] + ROW // 2


def _depths(topics: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How far to the right each topic stands: past all that it rests on."""
    needs = {topic["topic"]: topic["prerequisites"] for topic in topics}
    depth = dict.fromkeys(needs, 0)
    for _ in needs:  # as many rounds as the longest chain can ask for
        for name, needed in needs.items():
            depth[name] = max([0, *(min(depth[n] + 1, len(needs)) for n in needed if n in depth)])
    return depth


def _ring(x: int, y: int, radius: int, share: float, *, width: int, kind: str = "done") -> str:
    length = 2 * pi * radius
    filled = max(0.0, min(1.0, share)) * length
    circle = f'cx="{x}" cy="{y}" r="{radius}" stroke-width="{width}"'
    return (
        f'<circle class="rest {kind}" {circle}/>'
        f'<circle class="filled" {circle} stroke-dasharray="{filled:.1f} {length:.1f}" '
        f'transform="rotate(-90 {x} {y})"/>'
    )
