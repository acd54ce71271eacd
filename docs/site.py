"""What MkDocs does not do by itself (a hook of mkdocs.yml)."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")
_ROLE = re.compile(r":(?:meth|class|func|mod|data|exc|attr):<code>~?([^<]+)</code>")

#: A docstring's ``>>>`` comes out as three quotations, and a tree that is drawn as a paragraph.
_PROMPT = re.compile(r"(?:<blockquote>\s*){3}<p>(.*?)</p>\s*(?:</blockquote>\s*){3}", re.S)
_DRAWN = re.compile(r"<p>([^<]*├──.*?)</p>", re.S)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links to files of the repository that are not part of the site become their names."""
    return _OUTSIDE.sub(lambda link: f"{link[1]} (`{link[2]}` in the repository)", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Docstrings are plain text for a reader of the code; here they become HTML."""
    html = _ROLE.sub(lambda role: f"<code>{role[1].removeprefix('lc_memory.')}</code>", html)
    html = _PROMPT.sub(r"<pre><code>&gt;&gt;&gt; \1</code></pre>", html)
    return _DRAWN.sub(r"<pre><code>\1</code></pre>", html)
