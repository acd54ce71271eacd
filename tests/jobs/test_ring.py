"""A mixed memory goes once around all stores, and comes back as it left."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lc_memory import Memory
from tests.conftest import FILES, SERVERS
from tests.jobs.test_migrate import everything, fill


def test_around_all_stores(
    tmp_path: Path, request: pytest.FixtureRequest, own_database: Any
) -> None:
    urls = [f"sqlite:///{tmp_path}/first.db"]
    urls += [f"{kind}:///{tmp_path}/memory.{kind}" for kind in FILES]
    urls += [own_database(request.getfixturevalue(kind)) for kind in SERVERS]
    urls += ["memory://", f"sqlite:///{tmp_path}/last.db"]
    with ExitStack() as stack:
        ring = [stack.enter_context(Memory(url)) for url in urls]
        fill(ring[0])
        began = everything(ring[0])
        digests = {here.copy_to(there).digest for here, there in pairwise(ring)}
        assert len(digests) == 1
        assert everything(ring[-1]) == began
