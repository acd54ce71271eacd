"""The code in the documentation of schemas, relations and privacy runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", ["validation", "relations", "privacy"])
def test_the_code_runs_in_order(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / f"{name}.md").read_text(), re.S)
    assert blocks
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, f"{name}.md", "exec", dont_inherit=True), space)
    space["memory"].close()
    if name == "validation":
        printed = capsys.readouterr().out
        assert printed.startswith("$.profile.age: Input should be a valid integer, unable to parse")
        assert "upgraded=1" in printed
