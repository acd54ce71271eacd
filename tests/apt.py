"""Debian's packages, for the parts of tests that no wheel brings."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock

_LOCK = Path(tempfile.gettempdir()) / "lc_memory-apt.lock"


def find_or_install(find: Callable[[], str | None], *packages: str) -> tuple[str | None, str]:
    """What ``find`` finds, after installing the packages if it found nothing and we are root;
    and what apt-get said. Tests in several processes install in turn."""
    found, said = find(), ""
    if found is not None or not _can_install():
        return found, said
    with FileLock(_LOCK):
        if (found := find()) is not None:
            return found, said
        for words in (("update",), ("install", "-y", "--no-install-recommends", *packages)):
            done = subprocess.run(  # old lists may do: only the last word counts
                ["apt-get", *words],
                capture_output=True,
                text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
            )
            said = done.stderr[-2000:]
        return find(), said


def _can_install() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0 and shutil.which("apt-get") is not None
