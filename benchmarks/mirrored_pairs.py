"""How often `judge_pairs` calls neurons paired: where none are, and where one pair in ten is.

Neurons have w and b uniform on [-1, 1] and v from light tails to heavy ones, or nets that differ in
the scale of their v. Unpaired: everything is drawn alone. Paired: in one of ten, the neuron of w <
0 is the mirror image of one of w > 0, off by 3% in w, b and v. Prints the share of sets of nets
read "paired" at tolerances 0.05, 0.1, 0.2 and 0.5 by the scale of v that the distance uses: each
net's root mean square ("own rms"), that of all nets ("pooled rms"), and the one of `judge_pairs`,
the |v| that two thirds of each net's neurons do not exceed. Of unpaired sets 2.5% should be.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from kleiber.systems.lottery_tickets.intervals import mean_of
from kleiber.systems.lottery_tickets.nets import Nets, make_nets
from kleiber.systems.lottery_tickets.pairs import judge_pairs

TOLERANCES = (0.05, 0.1, 0.2, 0.5)
PAIRED = 0.1  # of the pairs, in the paired sets
JITTER = 0.03
SCALES = ("own rms", "pooled rms", "two thirds")

Values = Float[np.ndarray, "nets neurons"]
Shape = tuple[int, int]


def _sign(rng: np.random.Generator, shape: Shape) -> Values:
    return np.where(rng.random(shape) < 0.5, -1.0, 1.0)


V: dict[str, Callable[[np.random.Generator, Shape], Values]] = {
    "one size": _sign,
    "uniform": lambda rng, shape: rng.uniform(-1, 1, shape),
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "Student, 2": lambda rng, shape: rng.standard_t(2, shape),
    "log-normal": lambda rng, shape: np.exp(1.5 * rng.standard_normal(shape)) * _sign(rng, shape),
    "Pareto, 1.5": lambda rng, shape: (1 + rng.pareto(1.5, shape)) * _sign(rng, shape),
    "Cauchy": lambda rng, shape: rng.standard_cauchy(shape),
    "nets differ": lambda rng, shape: (
        rng.standard_normal(shape) * np.exp(0.3 * rng.standard_normal((shape[0], 1)))
    ),
}


def draw(kind: str, shape: Shape, rng: np.random.Generator, paired: float) -> Nets:
    """Nets of which a share of the left neurons mirror a right one."""
    half = (shape[0], shape[1] // 2)
    right = [rng.uniform(0, 1, half), rng.uniform(-1, 1, half)]
    left = [rng.uniform(0, 1, half), rng.uniform(-1, 1, half)]
    v = V[kind](rng, shape)
    right.append(v[:, : half[1]])
    left.append(v[:, half[1] :])
    mirrored = rng.random(half) < paired
    left = [
        np.where(mirrored, a * (1 + JITTER * rng.standard_normal(half)), b)
        for a, b in zip(right, left, strict=True)
    ]
    w, b, v = (np.concatenate(both, 1) for both in zip(right, left, strict=True))
    w[:, half[1] :] *= -1
    return make_nets(w, b, v)


def read(nets: Nets, scale: str) -> list[bool]:
    """Whether they read "paired", by tolerance."""
    if scale == "two thirds":
        return [word == "paired" for word in judge_pairs(nets, tolerances=TOLERANCES).reading]
    axis = None if scale == "pooled rms" else 1
    size = np.sqrt((nets.v**2).mean(axis, keepdims=True))
    points = np.stack([np.abs(nets.w), nets.b, nets.v / size], -1)
    sides = [(own[w < 0], own[w >= 0]) for own, w in zip(points, nets.w, strict=True)]
    n = len(sides)
    shares = np.array(
        [[_share(sides[k][0], sides[(k + s) % n][1]) for s in range(5)] for k in range(n)]
    )
    crossed = shares[:, 1:].mean(1)
    turned = np.mean([np.roll(shares[:, s], s, axis=0) for s in range(1, 5)], axis=0)
    excess = shares[:, 0] - crossed - turned + crossed.mean(0)
    return [mean_of(column).low > 0 for column in excess.T]


def _share(left: Values, right: Values) -> Float[np.ndarray, "tolerances"]:
    """The share of neurons in a pair closer than each tolerance."""
    distance = cdist(left, right)
    matched = distance[linear_sum_assignment(distance)]
    return 2 * (matched[:, None] < np.array(TOLERANCES)).sum(0) / (len(left) + len(right))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=200)
    parser.add_argument("--only", choices=V, nargs="*", default=list(V))
    given = parser.parse_args()
    sets = given.sets
    start = time.process_time()
    print(f"{sets} sets a row; per cent read paired at {', '.join(map(str, TOLERANCES))}\n")
    print(f"{'nets':>9s} {'v':12s}{'':10s}" + "".join(f"{name:>22s}" for name in SCALES))
    for shape in ((8, 48), (24, 128)):
        for kind in given.only:
            for share, name in ((0.0, "unpaired"), (PAIRED, "paired")):
                rng = np.random.default_rng(0)
                some = sets if share == 0 else sets // 4
                drawn = [draw(kind, shape, rng, share) for _ in range(some)]
                cells = [np.mean([read(nets, scale) for nets in drawn], axis=0) for scale in SCALES]
                words = [" ".join(f"{100 * c:4.0f}" for c in cell) for cell in cells]
                head = f"{shape[0]:3d} x {shape[1]:3d} {kind:12s}{name:10s}"
                print(head + "".join(f"{word:>22s}" for word in words), flush=True)
    print(f"\n{time.process_time() - start:.0f} s of CPU")


if __name__ == "__main__":
    main()
