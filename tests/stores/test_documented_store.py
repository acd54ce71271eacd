"""The store that the documentation builds passes the contract, as it says."""

import re
from pathlib import Path
from typing import Any

_TEXT = (Path(__file__).parents[2] / "docs" / "stores.md").read_text()
_BLOCKS = [b for b in re.findall(r"```python\n(.*?)```", _TEXT, re.S) if "class " in b]
assert len(_BLOCKS) == 2

_space: dict[str, Any] = {"__name__": __name__}
for _block in _BLOCKS:
    exec(compile(_block, "stores.md", "exec"), _space)

TestTextStore = _space["TestTextStore"]
