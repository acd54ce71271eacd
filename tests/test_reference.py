"""Every code block of the library's first document runs, word for word.

``tests/reference.md`` is that document's code; the blocks run in order in one namespace, in a
fresh folder, as a reader would type them.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lc_memory.schemas import Conversation, UserProfile

TEXT = (Path(__file__).parent / "reference.md").read_text()
PYTHON = re.findall(r"```python\n(.*?)```", TEXT, re.S)
JSON = re.findall(r"```json\n(.*?)```", TEXT, re.S)


def test_every_block_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LC_MEMORY_URL", raising=False)
    # What the blocks leave to the reader.
    space: dict[str, Any] = {
        "data": {"topic": "classes"},
        "updated_data": {"done": True},
        "data1": {"a": 1},
        "data2": {"b": 2},
    }
    opened = []
    assert len(PYTHON) == 5
    for block in PYTHON:
        exec(compile(block, "reference.md", "exec"), space)
        if space["agent"] not in opened:
            opened.append(space["agent"])
    printed = {"name": "John", "preferred_language": "Python", "experience_level": "intermediate"}
    assert capsys.readouterr().out.strip() == str(printed)
    assert [c["session_id"] for c in space["recent_conversations"]] == ["abc123"]
    assert space["user_progress"]["progress_percentage"] == 75
    assert space["results"] == []
    agent = opened[-1]
    assert agent.retrieve_memory("key1") == {"a": 1}
    assert agent.retrieve_memory("key") is None  # the block ends by deleting it
    assert (tmp_path / "backup_20240115.json").stat().st_mode & 0o777 == 0o600
    for agent in opened:
        if hasattr(agent, "close"):
            agent.close()


@pytest.mark.parametrize(("text", "model"), [*zip(JSON, (UserProfile, Conversation), strict=True)])
def test_the_schemas_are_the_documents(text: str, model: Any) -> None:
    document = json.loads(text)
    assert model.model_validate(document).to_document() == document
