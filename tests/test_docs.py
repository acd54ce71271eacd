"""The README's code and that of every page runs, in order, as a reader would type it; and the site
can be built."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(page for page in DOCS.rglob("*.md") if "```python" in page.read_text())

#: A block of code, and the comment before it that says why it cannot run here.
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<reason>.+?) -->\n\s*)?^(?P<margin> *)```python\n(?P<code>.*?)^ *```$",
    re.S | re.M,
)

#: What a browser would fetch from elsewhere.
_LOADS = re.compile(r"<(?:script|link|img|iframe)[^>]*?(?:src|href)=\"?(?:https?:)?//[^>]+")


def blocks(text: str) -> list[str]:
    """The code of a page that can run here."""
    return [
        re.sub(rf"(?m)^{block['margin']}", "", block["code"])
        for block in _BLOCK.finditer(text)
        if not block["reason"]
    ]


def run(code: list[str], name: str) -> dict[str, Any]:
    """Run blocks in one namespace; the memories that they opened are closed afterwards."""
    space: dict[str, Any] = {"__name__": "docs"}
    opened: list[Memory] = []
    try:
        for block in code:
            exec(compile(block, name, "exec", dont_inherit=True), space)
            opened += [m for m in space.values() if isinstance(m, Memory) and m not in opened]
    finally:
        for memory in opened:
            memory.close()
    return space


def test_the_readmes_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code = blocks((ROOT / "README.md").read_text())
    # Servers that are not there in this test; the stores' own tests have them.
    code = [re.sub(r"(?m)^Memory\(\"(postgresql|mysql|mongodb).*\n", "", b) for b in code]
    assert len(code) >= 5
    looks = "found = [item.value for item in store.search(('users',))]"
    space = run([*code, looks], "README.md")
    printed = capsys.readouterr().out
    assert "Ada" in printed
    assert "short" in printed
    assert space["found"] == [{"theme": "dark"}]


@pytest.mark.parametrize(
    "page",
    [p for p in PAGES if p.name != "backups.md"],
    ids=lambda page: str(page.relative_to(DOCS)),
)
def test_a_pages_code_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LC_MEMORY_URL", raising=False)
    run(blocks(page.read_text()), page.name)


def test_what_cannot_run_says_why_and_what_can_is_run() -> None:
    text = "```python\n1\n```\n<!-- not run: no server -->\n```python\n2\n```\n"
    text += "    ```python\n    3\n    ```\n"
    assert blocks(text) == ["1\n", "3\n"]
    for page in PAGES:
        assert len(_BLOCK.findall(page.read_text())) == page.read_text().count("```python"), page


@pytest.mark.timeout(300)
def test_the_site_is_built_without_a_warning_and_fetches_nothing(tmp_path: Path) -> None:
    site = tmp_path / "site"
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", site],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'agents'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    for page in site.rglob("*.html"):
        html = page.read_text()
        loads = _LOADS.findall(html)
        assert not loads, (page.name, loads)
        assert not re.search(r":(?:meth|class|func|mod):", html), page.name


def test_its_commands_are_the_makefiles() -> None:
    commands = re.findall(r"\$ make (\w+)", (ROOT / "README.md").read_text())
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert commands[:2] == ["demo", "test"]
    assert set(commands) <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
