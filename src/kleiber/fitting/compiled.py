"""The objective with gradient and both matrices as one compiled loop over rows (extra ``fast``).

The text of the loop is made from the same Program as the NumPy path and gives the same numbers up
to the order of sums. It is kept in the user's cache folder, where Numba stores the machine code
beside it, so a law is compiled once per machine.
"""

from __future__ import annotations

import hashlib
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
    ],
    Local,
]


def worth_compiling(law: Law, draws: int, rows: int) -> bool:
    """Whether ``draws`` refits of ``rows`` rows repay compiling, and Numba is there to do it."""
    if law.expr is None or draws * rows < WORTH:
        return False
    return importlib.util.find_spec("numba") is not None


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
    run = _load(_source(program, width)).run
    kind = 2 if noise.dof is not None else 0 if noise.delta is None else 1
    size = float(noise.dof or noise.delta or 0.0)

    def kernel(u: np.ndarray, weights: np.ndarray, scale: np.ndarray) -> Local:
        members = len(u)
        out = np.empty((members, 1 + width))
        gauss, newton = np.empty((members, width, width)), np.empty((members, width, width))
        run(
            np.ascontiguousarray(u),
            data,
            np.ascontiguousarray(weights),
            np.ascontiguousarray(scale),
            kind,
            size,
            out,
            gauss,
            newton,
        )
        return Local(out[:, 0].copy(), out[:, 1:].copy(), gauss, newton)

    return kernel


CHARGE = """
            if kind == 0:
                rho, psi, weight, curve = 0.5 * r * r, r, 1.0, 1.0
            elif kind == 1:
                if abs(r) <= size:
                    rho, psi, weight, curve = 0.5 * r * r, r, 1.0, 1.0
                else:
                    weight = size / abs(r)
                    rho, psi, curve = size * (abs(r) - 0.5 * size), weight * r, 0.0
            else:
                s2 = size * scale[m] * scale[m]
                base = s2 + r * r
                weight = (size + 1.0) / base
                rho = 0.5 * (size + 1.0) * log1p(r * r / s2) + log(scale[m])
                psi, curve = weight * r, weight * (s2 - r * r) / base
            rho, psi, weight, curve = w * rho, w * psi, w * weight, w * curve
"""


def _source(program: Program, width: int) -> str:
    """The text of the loop."""
    pairs = [(i, j) for i in range(width) for j in range(i + 1)]
    result = program.outputs
    slope, bend = result[1 : 1 + width], result[1 + width :]
    flat, straight = program.zero[1 : 1 + width], program.zero[1 + width :]
    lines = [
        "from math import exp, log, sqrt, log1p, tanh",
        "from numba import njit",
        "",
        "@njit(inline='always')",
        "def step(x):",
        "    return 1.0 if x > 0.0 else 0.0",
        "",
        "@njit(cache=True, error_model='numpy', fastmath={'contract', 'nsz', 'arcp'})",
        "def run(theta, data, weights, scale, kind, size, out, gauss, newton):",
        "    for m in range(theta.shape[0]):",
        "        part = m if weights.shape[0] > 1 else 0",
        *(f"        t_{k} = theta[m, {k}]" for k in range(width)),
        *(f"        {name} = {text}" for name, text in program.vector),
        "        total = 0.0",
        *(f"        g{k} = 0.0" for k in range(width)),
        *(f"        a{i}_{j} = 0.0" for i, j in pairs),
        *(f"        b{i}_{j} = 0.0" for i, j in pairs),
        "        for i in range(data.shape[1]):",
        "            w = weights[part, i]",
        "            if w == 0.0:",
        "                continue",
        *(f"            {name} = data[{k}, i]" for k, name in enumerate(program.stored)),
        *(f"            {name} = {text}" for name, text in program.mixed),
        f"            r = {result[0]}",
        CHARGE.strip("\n"),
        "            total += rho",
        *(f"            g{k} += psi * {slope[k]}" for k in range(width) if not flat[k]),
    ]
    for k, (i, j) in enumerate(pairs):
        if not (flat[i] or flat[j]):
            lines.append(f"            c = {slope[i]} * {slope[j]}")
            lines.append(f"            a{i}_{j} += weight * c")
            bent = "" if straight[k] else f" + psi * {bend[k]}"
            lines.append(f"            b{i}_{j} += curve * c{bent}")
        elif not straight[k]:
            lines.append(f"            b{i}_{j} += psi * {bend[k]}")
    lines.append("        out[m, 0] = total")
    lines += [f"        out[m, {k + 1}] = g{k}" for k in range(width)]
    for i, j in pairs:
        lines.append(f"        gauss[m, {i}, {j}] = gauss[m, {j}, {i}] = a{i}_{j}")
        lines.append(f"        newton[m, {i}, {j}] = newton[m, {j}, {i}] = b{i}_{j}")
    return "\n".join(lines) + "\n"


def cache_folder() -> Path:
    """Where kernels are kept: $KLEIBER_CACHE, else kleiber/ in the user's cache folder."""
    given = os.environ.get("KLEIBER_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kleiber"


def _load(source: str) -> ModuleType:
    """Import the text as a module from the cache folder."""
    name = f"kleiber_kernel_{hashlib.sha256(source.encode()).hexdigest()[:24]}"
    if name in sys.modules:
        return sys.modules[name]
    path = cache_folder() / "kernels" / f"{name}.py"
    if not path.is_file() or path.read_text(encoding="utf-8") != source:
        path.parent.mkdir(parents=True, exist_ok=True)
        with land(path) as temporary:
            Path(temporary).write_text(source, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # Numba finds its stored machine code through the module's name
    spec.loader.exec_module(module)
    return module
