"""What docs/backups.md says runs, in order, and its table of the format is the format."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory

TEXT = (Path(__file__).parents[2] / "docs" / "backups.md").read_text()


def test_the_code_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", TEXT, re.S)
    assert len(blocks) == 4
    with Memory(f"sqlite:///{tmp_path}/m.db") as memory:
        memory.as_user("ada").store_memory("notes", {"id": "1"})
        space: dict[str, Any] = {"memory": memory, "path": "backup.jsonl.gz", "key": b"k" * 32}
        for block in blocks:
            code = block.replace("s3://bucket", "memory://bucket")
            code = code.replace("postgresql://user@host/db", f"sqlite:///{tmp_path}/moved.db")
            exec(compile(code, "backups.md", "exec"), space)
    with Memory(f"sqlite:///{tmp_path}/moved.db") as moved:
        assert moved.as_user("ada").search_memory("notes") == [{"id": "1"}]


def test_the_format_is_as_described(tmp_path: Path) -> None:
    (told,) = re.findall(r"```\n(\{\"format\".*?)```", TEXT, re.S)
    with Memory("memory://") as memory:
        memory.store_memory("notes", {"id": "1"})
        memory.backup_data(tmp_path / "b.jsonl")
    lines = (tmp_path / "b.jsonl").read_text().splitlines()
    for described, line in zip(told.splitlines(), lines, strict=True):
        described = described.replace("{…}", "{}")
        assert json.loads(described).keys() == json.loads(line).keys()
        assert list(json.loads(described)) == list(json.loads(line))
