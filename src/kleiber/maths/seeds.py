"""Independent random streams from one seed, keyed by purpose.

A new purpose never changes the numbers that another purpose draws.
"""

from __future__ import annotations

import zlib

import numpy as np


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator of ``purpose`` under ``seed``. Raises ValueError for a negative seed."""
    if isinstance(seed, bool) or int(seed) != seed or seed < 0:
        raise ValueError(f"seed must be a whole number from 0, got {seed!r}")
    return np.random.Generator(np.random.PCG64([int(seed), zlib.crc32(purpose.encode())]))
