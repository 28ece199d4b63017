"""Independent random streams from one seed, keyed by purpose.

A new purpose never changes the numbers that another purpose draws.
"""

from __future__ import annotations

import zlib

import numpy as np

from kleiber.arguments import check_whole


def stream(seed: int, purpose: str) -> np.random.Generator:
    """Return the random generator of ``purpose`` under ``seed``. Raises ValueError for a negative
    seed."""
    seed = check_whole("seed", seed)
    return np.random.Generator(np.random.PCG64([seed, zlib.crc32(purpose.encode())]))
