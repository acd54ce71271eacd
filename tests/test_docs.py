"""The README's code runs, in order, as a reader would type it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


def test_the_readmes_code_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "README.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    # Servers that are not there in this test; the stores' own tests have them.
    blocks = [re.sub(r"(?m)^Memory\(\"(postgresql|mysql|mongodb).*\n", "", b) for b in blocks]
    assert len(blocks) >= 5
    space: dict[str, Any] = {}
    opened = []
    for block in blocks:
        exec(compile(block, "README.md", "exec"), space)
        opened += [m for m in (space["memory"], space.get("trusted")) if m and m not in opened]
    printed = capsys.readouterr().out
    assert "Ada" in printed
    assert "short" in printed
    assert [item.value for item in space["store"].search(("users",))] == [{"theme": "dark"}]
    for memory in opened:
        memory.close()


def test_its_commands_are_the_makefiles() -> None:
    commands = re.findall(r"\$ make (\w+)", (ROOT / "README.md").read_text())
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.M)
    assert commands == ["demo", "test"]
    assert set(commands) <= set(targets)
    assert "make test" in (ROOT / ".ci" / "run").read_text()
