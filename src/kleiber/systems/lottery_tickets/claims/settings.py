"""The settings in which nets learn x^2 and other functions, by name, with widths and seeds.

The paper's optimiser, rate, steps and examples are not known to us, so these are choices: "silu" is
Adam at a constant rate of 1e-3 for 10,000 steps on 64 midpoints of [-2, 2], from torch's initial
weights; "silu annealed" and "relu" start at 1e-2 and drop tenfold at 25, 50 and 75% of 40,000
steps, ReLU on 512 midpoints. Every other setting changes what its name says.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np

from kleiber.claim import Context
from kleiber.errors import nearest
from kleiber.experiment import Experiment

CHECKPOINTS = 40  # evenly spaced in log(step)
LAST = 0.99  # share of the steps after which there are a few more checkpoints
SEED_STRIDE = 100_000  # distance between the first seeds of two checks
WINDOW = (8, 16, 32, 64)  # the widths of the sensitivity table

Seeds: TypeAlias = tuple[tuple[int, int], ...]  # a width and its number of seeds, ascending


def each(count: int, widths: tuple[int, ...] = WINDOW) -> Seeds:
    """Return the same number of seeds for every width."""
    return tuple((width, count) for width in widths)


MANY: Seeds = (
    (2, 1000), (3, 1000), (4, 1000), (6, 500), (8, 500), (12, 256), (16, 256), (24, 128),
    (32, 128), (48, 96), (64, 64), (96, 48), (128, 32), (192, 24), (256, 16), (384, 12),
    (512, 8), (1024, 8),
)  # fmt: skip
LONG: Seeds = (
    (2, 1000), (3, 150), (4, 150), (6, 150), (8, 150), (12, 96), (16, 64), (24, 64), (32, 48),
    (48, 32), (64, 32), (96, 24), (128, 16), (192, 8), (256, 8), (512, 8),
)  # fmt: skip
KINKS: Seeds = (
    (2, 150), (4, 150), (6, 150), (8, 100), (12, 64), (16, 64), (24, 48), (32, 32), (48, 24),
    (64, 24), (96, 12), (128, 12),
)  # fmt: skip
SOME, FEW = each(64), each(16)


@dataclass(frozen=True)
class Setting:
    """The setting of one set of runs, for all widths; the rate is `rate` (8/width)^`slowing`.

    `laptop` and `quick` are the seeds of each width at these scales; at "full" a width has `full`
    (the paper has 1,000), or eight times those of laptop if that is 0.
    """

    activation: str = "silu"
    formula: str = "x**2"
    radius: float = 2.0
    points: int = 64
    sampling: str = "grid"
    n_test: int = 1024
    optimiser: str = "adam"
    rate: float = 1e-3
    slowing: float = 0.0
    beta2: float = 0.999
    schedule: str = "constant"
    steps: int = 10_000
    init: str = "default"
    parameterisation: str = "standard"
    dtype: str = "float32"
    laptop: Seeds = SOME
    quick: Seeds = FEW
    full: int = 0

    def experiment(self, width: int, seeds: tuple[int, ...]) -> Experiment:
        """Return the Experiment of one width."""
        optimiser: dict[str, Any] = {"kind": self.optimiser}
        optimiser["rate"] = self.rate * (8 / width) ** self.slowing
        if self.optimiser == "adam":
            optimiser["beta2"] = self.beta2
        net = {"kind": "mlp", "width": width, "activation": self.activation, "init": self.init}
        return Experiment(
            task={
                "kind": "formula", "formula": self.formula, "low": -self.radius,
                "high": self.radius, "n_data": self.points, "sampling": self.sampling,
                "n_test": self.n_test,
            },
            net=net | {"parameterisation": self.parameterisation},
            optimiser=optimiser,
            schedule={"kind": self.schedule},
            steps=self.steps,
            checkpoints=checkpoint_steps(self.steps),
            seeds=seeds,
            dtype=self.dtype,
        )  # fmt: skip

    def seeds(self, context: Context, width: int) -> int:
        """Return the number of seeds of a width at the context's scale."""
        laptop, quick = dict(self.laptop).get(width, 8), dict(self.quick).get(width, 8)
        return context.choose(quick=quick, laptop=laptop, full=self.full or 8 * laptop)

    def widths(self, context: Context) -> tuple[int, ...]:
        """Return the widths at the context's scale, in ascending order."""
        return tuple(width for width, _ in context.choose(quick=self.quick, laptop=self.laptop))


def checkpoint_steps(steps: int) -> tuple[int, ...]:
    """Return the steps at which losses are measured: even in log(step), and five in the last 1%."""
    spread = np.geomspace(10, steps, CHECKPOINTS)
    last = np.linspace(LAST * steps, steps, 5)
    return tuple(sorted({round(float(step)) for step in (*spread, *last)}))


def sine(periods: str = "3.141592653589793*x", last: int = 33) -> str:
    """Return the Taylor polynomial of sin(pi x) up to x^33 (error 2e-11 at x = 2) as a formula."""
    terms = [
        f"{(-1) ** (k // 2) / math.factorial(k)!r}*({periods})**{k}" for k in range(1, last + 1, 2)
    ]
    return " + ".join(terms)


SILU = Setting(laptop=MANY, quick=((2, 1000), *each(32)), full=1000)
ANNEALED = replace(SILU, rate=1e-2, schedule="step", steps=40_000, laptop=LONG, quick=((2, 200),))
KINKED = replace(ANNEALED, activation="relu", points=512, laptop=KINKS, quick=((2, 75), (4, 75)))
VARIANT = Setting()
BOX = replace(VARIANT, rate=1e-2, schedule="step", steps=20_000, points=512, laptop=each(8))
SQUARE = replace(BOX, formula="x**2 + y**2", points=4096, n_test=8192)
CUBE = replace(BOX, laptop=each(6), formula="x**2 + y**2 + z**2", points=8000, n_test=19_683)
_BASIC = {"x^3": "x**3", "x^4/4": "x**4/4", "exp x": "exp(x)", "sin(pi x)": sine()}
TARGETS = _BASIC | {"|x|": "sqrt(x**2)"}

SETTINGS: Mapping[str, Setting] = MappingProxyType(
    {
        "silu": SILU,
        "silu annealed": ANNEALED,
        "relu": KINKED,
        "leaky_relu": replace(KINKED, activation="leaky_relu", laptop=each(24, (4, 8, 16, 32, 64))),
        "tanh": replace(VARIANT, activation="tanh"),
        "relu constant": replace(VARIANT, activation="relu", points=512),
        # training time and rate
        "100,000 steps": replace(VARIANT, steps=100_000, laptop=each(32)),
        "20,000 steps": replace(VARIANT, steps=20_000, laptop=each(128)),
        "30,000 steps": replace(VARIANT, steps=30_000),
        "rate 3e-4": replace(VARIANT, rate=3e-4),
        "rate 3e-3": replace(VARIANT, rate=3e-3),
        "rate 1e-2": replace(VARIANT, rate=1e-2),
        "cosine from 1e-3": replace(VARIANT, schedule="cosine"),
        "cosine from 3e-3": replace(VARIANT, rate=3e-3, schedule="cosine"),
        "steps from 1e-2": replace(VARIANT, rate=1e-2, schedule="step"),
        # the optimiser
        "beta2 .99": replace(VARIANT, beta2=0.99),
        "beta2 .95": replace(VARIANT, beta2=0.95),
        "gradient descent": replace(VARIANT, optimiser="sgd", rate=0.02),
        # the rate against the width (T5)
        "rate 8e-3/N": replace(VARIANT, slowing=1.0),
        "rate 3.2e-2/N": replace(VARIANT, rate=4e-3, slowing=1.0),
        "rate ~ N^-1/2": replace(VARIANT, slowing=0.5, laptop=each(160)),
        # examples, weights, precision, domain
        "float64": replace(VARIANT, dtype="float64"),
        "128 points": replace(VARIANT, points=128),
        "random x": replace(VARIANT, sampling="uniform"),
        "[-1, 1]": replace(VARIANT, radius=1.0),
        "mean-field": replace(VARIANT, parameterisation="mean_field"),
        "Kaiming": replace(VARIANT, init="kaiming"),
        "unit normal": replace(VARIANT, init="normal"),
        # other functions, and more inputs (the rival law)
        **{name: replace(VARIANT, formula=formula) for name, formula in TARGETS.items()},
        "relu d=1": replace(BOX, activation="relu"),
        "relu d=2": replace(SQUARE, activation="relu"),
        "relu d=3": replace(CUBE, activation="relu"),
        "silu d=1": BOX,
        "silu d=2": SQUARE,
        "silu d=3": CUBE,
    }
)


def find(name: str) -> Setting:
    """Return the setting of that name. Raises ValueError with the nearest name for any other."""
    if name not in SETTINGS:
        raise ValueError(
            f"No setting is called {name!r}.{nearest(name, SETTINGS)} "
            f"There are: {', '.join(SETTINGS)}."
        )
    return SETTINGS[name]


def experiment_of(
    context: Context, name: str, width: int, *, seeds: int | None = None
) -> Experiment:
    """Return the Experiment of a setting at one width, with `seeds` or the scale's own number."""
    setting = find(name)
    first = context.seed * SEED_STRIDE
    count = setting.seeds(context, width) if seeds is None else seeds
    return setting.experiment(width, tuple(range(first, first + count)))
