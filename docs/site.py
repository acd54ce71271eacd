"""What MkDocs does not do by itself (a hook of mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")
_ROLE = re.compile(r":(?:meth|class|func|mod|data|exc|attr):<code>~?([^<]+)</code>")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files of the repository that are not part of the site become their names."""
    return _OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}` in the repository)", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings name things as Sphinx does: ``:meth:`Memory.close```. Show the name."""
    return _ROLE.sub(lambda role: f"<code>{role[1].removeprefix('lc_memory.')}</code>", html)
