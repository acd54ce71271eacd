"""Each notebook runs from top to bottom, its exercises' solutions too, and what is kept of its
outputs is fit to be read by others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests import notebooks

NOTEBOOKS = notebooks.paths()

#: What must not be kept: places on a machine, complaints, keys.
LEAKS = {
    "a path": re.compile(r"(?<![\w.:/])/(?:home|root|tmp|Users|work|var|private|opt)/"),
    "a warning": re.compile(r"\w*Warning\b|warnings\.warn"),
    "a key": re.compile(r"\bsk-\w{8}|(?<![\w+/-])[\w+/-]{43}=(?![\w=])"),
    "an address": re.compile(r"<[\w.]+ object at 0x"),
}


def shapes(cell: Any) -> list[str]:
    """What kinds of output a cell has: text, pictures, tables."""
    found = [f"{o.output_type} {sorted(o.get('data', ()))}" for o in cell.get("outputs", ())]
    return [kind for i, kind in enumerate(found) if i == 0 or found[i - 1] != kind]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_shows_what_it_has_kept(path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    run = notebooks.run(path, with_solutions=True)
    for before, after in zip(kept.cells, run.cells, strict=False):
        assert shapes(before) == shapes(after), before.source


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_kept_outputs_tell_nothing_of_a_machine_and_no_secrets(path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    nbformat.validate(kept)
    assert notebooks.clean(nbformat.read(path, as_version=4)) == kept, "python tests/notebooks.py"
    counts = [c.execution_count for c in kept.cells if c.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1)), "run all its cells, in order"
    for cell in kept.cells:
        for output in cell.get("outputs", ()):
            assert output.output_type != "error"
            assert output.get("name") != "stderr", output.text
            texts = [output.get("text", "")]
            texts += [t for kind, t in output.get("data", {}).items() if kind != "image/png"]
            for what, leak in LEAKS.items():
                assert not leak.search("\n".join(texts)), (what, texts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_asks_first_and_ends_with_exercises_and_their_solutions(path: Path) -> None:
    kept = nbformat.read(path, as_version=4)
    assert kept.cells[0].source.startswith("# ")
    assert "?" in kept.cells[0].source
    assert "## Exercises" in kept.cells[-1].source
    assert len(list(notebooks.solutions(kept))) >= 2


def test_what_must_not_be_kept_is_recognised() -> None:
    for text in ("/root/x", "at /home/ada", "UserWarning: no", "sk-abcdefgh123", "A" * 43 + "="):
        assert any(leak.search(text) for leak in LEAKS.values()), text
