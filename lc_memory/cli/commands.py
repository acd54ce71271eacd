"""All commands, in the order in which the help lists them."""

from __future__ import annotations

from lc_memory.cli import documents, finding, saving, talks, trust, whole
from lc_memory.cli.app import app as app

__all__ = ["app", "documents", "finding", "saving", "talks", "trust", "whole"]
