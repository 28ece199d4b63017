"""The objective with gradient and both matrices as one compiled loop over rows (extra ``fast``).

The text of the loop is made from the same Program as the NumPy path and gives the same numbers up
to rounding and the order of sums. It is kept in the user's cache folder, where Numba stores the
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
from pathlib import Path
from types import ModuleType

import numpy as np
from jaxtyping import Float

from kleiber.files import land
from kleiber.fitting.kernel import column_function, residual_program
from kleiber.fitting.noise import Noise
from kleiber.law import Law
from kleiber.maths.graph import Program
from kleiber.maths.levenberg import Local

WORTH = 500_000  # draws x rows past which compiling is cheaper than not
Kernel = Callable[
    [
        Float[np.ndarray, "members params"],
        Float[np.ndarray, "weighted rows"],
        Float[np.ndarray, "members"],
        Float[np.ndarray, "members rows"] | None,
    ],
    Local,
]


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
    run = _load(_source(program, noise, width)).run
    size = float(noise.dof or noise.delta or 0.0)

    none = np.zeros((1, len(target)))

    def kernel(
        u: np.ndarray, weights: np.ndarray, scale: np.ndarray, shift: np.ndarray | None
    ) -> Local:
        members = len(u)
        out = np.empty((members, 1 + width))
        gauss, newton = np.empty((members, width, width)), np.empty((members, width, width))
        run(
            np.ascontiguousarray(u),
            data,
            np.ascontiguousarray(weights),
            none if shift is None else np.ascontiguousarray(shift),
            np.ascontiguousarray(scale),
            size,
            out,
            gauss,
            newton,
        )
        return Local(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    return kernel


PREAMBLE = """
from math import floor, sqrt, tanh
from numba import njit
from numpy import empty, float64, inf, int64, nan

FAST = {"contract", "nsz", "arcp", "reassoc"}
STRICT = {"contract"}  # where the order of operations is the point of them


@njit(fastmath=STRICT, forceinline=True)
def remainder(t, k):  # t - k log(2)
    return t - k * 0.6931471803691238 - k * 1.9082149292705877e-10


@njit(fastmath=STRICT, forceinline=True)
def lost(x, u):  # what rounding took from u = 1 + x
    return x - (u - 1.0)


@njit(inline="always")
def exp(x):  # 2^k times the Taylor series on +-log(2)/2: 2 ulp, and the loop becomes vectors
    t = min(max(x, -708.0), 709.79)
    k = floor(t * 1.4426950408889634 + 0.5)
    r = remainder(t, k)
    p = 1 / 39916800 + r / 479001600
    p = 1 / 40320 + r * (1 / 362880 + r * (1 / 3628800 + r * p))
    p = 1 / 24 + r * (1 / 120 + r * (1 / 720 + r * (1 / 5040 + r * p)))
    p = 1.0 + r * (1.0 + r * (0.5 + r * (1 / 6 + r * p)))
    y = 2.0 * p * int64((int64(k) + 1022) << 52).view(float64)
    y = y if x > -708.0 else 0.0
    return y if x == x else x


@njit(inline="always")
def log(x):  # the exponent's log(2), and 2 atanh((m-1)/(m+1)) of the mantissa: 2 ulp
    bits = float64(x).view(int64)
    e = (bits >> 52) - 1023
    m = int64((bits & 0x000FFFFFFFFFFFFF) | 0x3FF0000000000000).view(float64)
    big = m > 1.4142135623730951
    m = 0.5 * m if big else m
    e = e + 1 if big else e
    s = (m - 1.0) / (m + 1.0)
    z = s * s
    p = 1 / 15 + z * (1 / 17 + z * (1 / 19 + z / 21))
    p = z * (1 / 3 + z * (1 / 5 + z * (1 / 7 + z * (1 / 9 + z * (1 / 11 + z * (1 / 13 + z * p))))))
    y = e * 0.6931471803691238 + (2.0 * s + (2.0 * s * p + e * 1.9082149292705877e-10))
    y = y if x < inf else x
    y = y if x != 0.0 else -inf
    return y if x >= 0.0 else nan


@njit(inline="always")
def log1p(x):
    u = 1.0 + x
    return log(u) + lost(x, u) / u


@njit(inline="always")
def step(x):
    return 1.0 if x > 0.0 else 0.0

"""

SQUARES = """
            rho, psi, weight, curve = 0.5 * r * r, r, 1.0, 1.0
"""
HUBER = """
            far = abs(r)
            near = min(far, size)
            weight = near / far if far > 0.0 else 1.0
            rho, psi, curve = near * (far - 0.5 * near), weight * r, 1.0 if far <= size else 0.0
"""
STUDENT = """
            s2 = size * scale[m] * scale[m]
            base = s2 + r * r
            weight = (size + 1.0) / base
            rho = 0.5 * (size + 1.0) * log1p(r * r / s2) + log(scale[m])
            psi, curve = weight * r, weight * (s2 - r * r) / base
"""


def _source(program: Program, noise: Noise, width: int) -> str:
    """The text of the loop: for each member its rows of positive weight are gathered, then one
    pass without branches sums the objective, gradient and both matrices."""
    charge = STUDENT if noise.dof is not None else SQUARES if noise.delta is None else HUBER
    pairs = [(i, j) for i in range(width) for j in range(i + 1)]
    size = len(program.stored)
    lines = [
        "@njit(cache=True, error_model='numpy', fastmath=FAST)",
        "def run(theta, data, weights, shift, scale, size, out, gauss, newton):",
        "    rows = data.shape[1]",
        f"    part = empty(({size + 2}, rows))",
        *(f"    p{k} = part[{k}]" for k in range(size + 2)),
        "    for m in range(theta.shape[0]):",
        "        w_m = weights[m if weights.shape[0] > 1 else 0]",
        "        s_m = shift[m if shift.shape[0] > 1 else 0]",
        "        kept = 0",
        "        for i in range(rows):",
        "            if w_m[i] != 0.0:",
        f"                p{size}[kept] = w_m[i]",
        f"                p{size + 1}[kept] = s_m[i]",
        *(f"                p{k}[kept] = data[{k}, i]" for k in range(size)),
        "                kept += 1",
        *(f"        t_{k} = theta[m, {k}]" for k in range(width)),
        *(f"        {name} = {text}" for name, text in program.vector),
        "        total = 0.0",
        *(f"        g{k} = 0.0" for k in range(width)),
        *(f"        a{i}_{j} = b{i}_{j} = 0.0" for i, j in pairs),
        "        for i in range(kept):",
        *(f"            {name} = p{k}[i]" for k, name in enumerate(program.stored)),
        *(f"            {name} = {text}" for name, text in program.mixed),
        f"            r = {program.outputs[0]} - p{size + 1}[i]",
        charge.strip("\n"),
        f"            w = p{size}[i]",
        "            total += w * rho",
        "            psi, weight, curve = w * psi, w * weight, w * curve",
        *_sums(program, width, pairs),
        "        out[m, 0] = total",
        *(f"        out[m, {k + 1}] = g{k}" for k in range(width)),
    ]
    for i, j in pairs:
        lines.append(f"        gauss[m, {i}, {j}] = gauss[m, {j}, {i}] = a{i}_{j}")
        lines.append(f"        newton[m, {i}, {j}] = newton[m, {j}, {i}] = b{i}_{j}")
    return PREAMBLE + "\n".join(lines) + "\n"


def _sums(program: Program, width: int, pairs: list[tuple[int, int]]) -> list[str]:
    """One row's part of the gradient and of both matrices, known zeros left out."""
    slope, bend = program.outputs[1 : 1 + width], program.outputs[1 + width :]
    flat, straight = program.zero[1 : 1 + width], program.zero[1 + width :]
    lines = [f"            g{k} += psi * {slope[k]}" for k in range(width) if not flat[k]]
    for k, (i, j) in enumerate(pairs):
        bent = "" if straight[k] else f"psi * {bend[k]}"
        if not (flat[i] or flat[j]):
            lines.append(f"            c = {slope[i]} * {slope[j]}")
            lines.append(f"            a{i}_{j} += weight * c")
            bent = "curve * c" + (f" + {bent}" if bent else "")
        if bent:
            lines.append(f"            b{i}_{j} += {bent}")
    return lines


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
