"""Answers as HTML: Markdown in, and no HTML of anyone else's out."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt

from lc_memory.printable import whole


@lru_cache(maxsize=1)
def _markdown() -> Any:
    # No HTML passes, what was escaped stays so, links to scripts are no links, and no picture is
    # fetched from anywhere.
    plain = MarkdownIt("commonmark", {"html": False, "breaks": True})
    return plain.enable("table").disable(["image", "entity"])


def as_html(text: str) -> str:
    """A text of a model or a user, safe to show: its tags are shown as text."""
    html: str = _markdown().render(whole(text))
    return html.replace("<a href=", '<a rel="noopener noreferrer" target="_blank" href=')
