"""The objective and the descent of draws, compiled (extra ``fast``).

The text (``source.py``) is made from the same Program as the NumPy path and gives the same numbers
up to rounding and the order of sums. It is kept in the user's cache folder, where Numba stores the
machine code beside it, so a law is compiled once per machine; where that folder cannot be written,
once per process.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from kleiber.files import land
from kleiber.fitting.kernel import column_function, residual_program
from kleiber.fitting.noise import Noise
from kleiber.fitting.source import kernel_text
from kleiber.law import Law
from kleiber.maths.levenberg import Local

WORTH = 3_000_000  # draws x rows past which compiling (seconds, once a machine) is cheaper than not
LIMIT = 60  # steps of one draw's compiled descent


class Ends(NamedTuple):
    """Where the compiled descent left each member, and whether it had converged there."""

    point: Float[np.ndarray, "members params"]
    objective: Float[np.ndarray, "members"]
    settled: Bool[np.ndarray, "members"]


@dataclass(frozen=True)
class Kernel:
    """A law's compiled objective on one table, and the descent of members that start close."""

    run: Callable[..., None]
    descent: Callable[..., None]
    data: Float[np.ndarray, "stored rows"]
    size: float

    def look(
        self,
        u: Float[np.ndarray, "members params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "members"],
        shift: Float[np.ndarray, "members rows"] | None,
    ) -> Local:
        """The objective with its gradient and both matrices."""
        members, width = u.shape
        out = np.empty((members, 1 + width))
        gauss, newton = np.empty((members, width, width)), np.empty((members, width, width))
        given = self._given(weights, scale, shift)
        self.run(np.ascontiguousarray(u), self.data, *given, self.size, out, gauss, newton)
        return Local(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    def polish(
        self,
        start: Float[np.ndarray, "members params"],
        weights: Float[np.ndarray, "weighted rows"],
        scale: Float[np.ndarray, "members"],
        shift: Float[np.ndarray, "members rows"] | None,
        floor: Float[np.ndarray, "params"],
        tolerance: float,
    ) -> Ends:
        """Newton's descent of each member from a start that is close; not all need settle."""
        point = np.array(start, order="C")
        best, settled = np.full(len(start), np.inf), np.zeros(len(start), dtype=np.bool_)
        given = self._given(weights, scale, shift)
        self.descent(point, self.data, *given, self.size, floor, tolerance, LIMIT, best, settled)
        return Ends(point, best, settled)

    def _given(
        self, weights: np.ndarray, scale: np.ndarray, shift: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ahead = np.zeros((1, self.data.shape[1])) if shift is None else np.ascontiguousarray(shift)
        return np.ascontiguousarray(weights), ahead, np.ascontiguousarray(scale)


def worth_compiling(law: Law, draws: int, rows: int) -> bool:
    """Whether ``draws`` refits of ``rows`` rows repay compiling, and Numba is there to do it."""
    if law.expr is None or draws * rows < WORTH:
        return False
    try:
        importlib.import_module("numba")
    except ImportError:  # not there, or too old for this NumPy
        return False
    return True


def compile_kernel(
    law: Law,
    noise: Noise,
    columns: dict[str, Float[np.ndarray, "rows"]],
    target: Float[np.ndarray, "rows"],
) -> Kernel:
    """The compiled objective of a traced law on a table; ``target`` is on the noise's scale."""
    program, names = residual_program(law, noise.scale, second=True)
    width = len(law.params)
    with np.errstate(all="ignore"):
        stored = column_function(program, len(names))(*(columns.get(n, target) for n in names))
    data = np.empty((len(stored), len(target)))
    for k, item in enumerate(stored):
        data[k] = item
    module = _load(kernel_text(program, noise, width))
    return Kernel(module.run, module.polish, data, float(noise.dof or noise.delta or 0.0))


def cache_folder() -> Path:
    """Where kernels are kept: $KLEIBER_CACHE, else kleiber/ in the user's cache folder."""
    given = os.environ.get("KLEIBER_CACHE")
    if given:
        return Path(given).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kleiber"


def _load(source: str) -> ModuleType:
    """The text as a module, from the cache folder where that can be written."""
    name = f"kleiber_kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    if name not in sys.modules:
        try:
            sys.modules[name] = _kept(name, source)
        except (OSError, RuntimeError):  # no such folder, or none where Numba may write
            sys.modules[name] = _passing(name, source)
    return sys.modules[name]


def _kept(name: str, source: str) -> ModuleType:
    """Import the text from the cache folder, writing it there first."""
    path = cache_folder() / "kernels" / f"{name}.py"
    if not path.is_file() or path.read_bytes() != source.encode():
        path.parent.mkdir(parents=True, exist_ok=True)
        with land(path) as temporary:
            Path(temporary).write_bytes(source.encode())
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba finds its stored machine code through the module's name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _passing(name: str, source: str) -> ModuleType:
    """The text as a module of this process alone."""
    module = ModuleType(name)
    exec(compile(source.replace("cache=True", "cache=False"), f"<{name}>", "exec"), vars(module))
    return module
