"""What lies between a memory and its store, each part optional: one short class a layer."""

from lc_memory.layers.base import SYSTEM as SYSTEM
from lc_memory.layers.base import Layer as Layer

__all__ = ["SYSTEM", "Layer"]
