"""The backends, one file each; :mod:`lc_memory.registry` loads them when they are asked for."""
