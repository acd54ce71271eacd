"""Running notebooks, and keeping their outputs clean.

python tests/notebooks.py                 run all of them and keep the outputs in the files
python tests/notebooks.py 01 07           those only
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
#: A cell of a notebook may take so many seconds; the whole of it must stay under five minutes.
SECONDS = 240

_FOLDED = re.compile(r"<details>(.*?)</details>", re.S)
_CODE = re.compile(r"```python\n(.*?)```", re.S)


def paths() -> list[Path]:
    return sorted(FOLDER.glob("[0-9]*.ipynb"))


def solutions(notebook: Any) -> Iterator[str]:
    """The code of the exercises' solutions, which stand in folded Markdown."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for folded in _FOLDED.findall(cell.source):
                yield from _CODE.findall(folded)


def run(path: Path, *, with_solutions: bool) -> Any:
    """The notebook, run in a temporary folder by a kernel of this Python. Raises on any error."""
    notebook = nbformat.read(path, as_version=4)
    if with_solutions:
        notebook.cells += [nbformat.v4.new_code_cell(code) for code in solutions(notebook)]
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), str(ROOT / "agents")])
    try:
        with tempfile.TemporaryDirectory() as folder:
            NotebookClient(
                notebook,
                timeout=SECONDS,
                kernel_name="python3",
                coalesce_streams=True,  # how a cell's text was cut into pieces is chance
                resources={"metadata": {"path": folder}},
            ).execute()
    finally:
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
    return notebook


def clean(notebook: Any) -> Any:
    """Leave out what tells of a machine or a moment: times, kernels, joined streams."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for number, cell in enumerate(notebook.cells, 1):
        cell.id = f"cell-{number:02}"
        cell.metadata = {}
    return notebook


def main(arguments: list[str]) -> None:
    for path in paths():
        if not arguments or path.name.startswith(tuple(arguments)):
            nbformat.write(clean(run(path, with_solutions=False)), path)


if __name__ == "__main__":
    main(sys.argv[1:])
