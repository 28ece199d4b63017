"""What measuring norms along training costs, and how near the largest singular values come.

    python benchmarks/norms.py [STEPS]

trains the CNN of arXiv 2505.13230 at a quarter of its widths and at its widths on MNIST of 14 x 14
pixels (batch 128, Adam, one thread; the data set must be at hand) and measures at 12 checkpoints:
CPU time of a step and of the norms, with iterations that start from the last vectors, with cold
ones, and with a full SVD; each as its share of training for 20 epochs of 6,000 examples measured
at 50 checkpoints; and the largest relative deviation from the full SVD.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from kleiber.experiment import CNN, Experiment
from kleiber.networks.loop import train_nets
from kleiber.networks.net_stack import NetStack
from kleiber.networks.norms import measure_norms
from kleiber.networks.singular import spectral_norm
from kleiber.networks.weights import find_weights

SHAPE = (1, 14, 14)
MARKS = 12
STEPS = 20 * 6000 / 128  # of the training that the shares are of
SPECTRAL = (
    "log_spectral_complexity", "log_tail_complexity", "log_fc_complexity", "log_spectral_product",
    "log_21", "log_l1", "log_frobenius",
)  # fmt: skip
NETS = {
    "a quarter of the widths": CNN(channels=(8, 16, 32), hidden=(128,)),
    "the paper's widths": CNN(),
}


def timed(work: Callable[[], Any]) -> float:
    """CPU seconds of one call."""
    start = time.process_time()
    work()
    return time.process_time() - start


def study(name: str, net: CNN, steps: int) -> None:
    """Train one net and print what its norms cost."""
    spent = dict.fromkeys(("matrix norms", "and operators", "cold", "full SVD"), 0.0)
    worst, warm, warm_too = [0.0], dict[str, Any](), dict[str, Any]()

    def look(step: int, stack: NetStack) -> None:
        (module,) = stack.modules()
        every = (*SPECTRAL, "log_operator_product")
        spent["matrix norms"] += timed(lambda: measure_norms(module, names=SPECTRAL, warm=warm))
        spent["and operators"] += timed(
            lambda: measure_norms(module, shape=SHAPE, names=every, warm=warm_too)
        )
        spent["cold"] += timed(lambda: measure_norms(module, shape=SHAPE, names=every))
        for weight in find_weights(module):
            start = time.process_time()
            exact = float(torch.linalg.svdvals(weight.matrix.double())[0])
            spent["full SVD"] += time.process_time() - start
            got = spectral_norm(weight.matrix, warm, weight.name)
            worst.append(abs(got / exact - 1))

    spec = Experiment(
        task={"kind": "images", "dataset": "mnist", "shrink": 2, "n_data": 6000, "n_test": 10},
        net=net,
        batch=128,
        steps=steps,
        checkpoints=tuple(sorted({round(k) for k in np.geomspace(1, steps, MARKS)})),
        measures=("error",),
    )
    total = timed(lambda: train_nets(spec, watch=look))
    marks, step = len(spec.measured_steps()), (total - sum(spent.values())) / steps
    print(f"{name}: {1e3 * step:.1f} ms of CPU a step")
    for kind, seconds in spent.items():
        share = 50 * seconds / marks / (STEPS * step)
        print(f"  {kind:14s} {1e3 * seconds / marks:8.1f} ms each {share:8.2%}")
    print(f"  largest deviation from the full SVD: {max(worst):.1e}")


def main(words: list[str]) -> None:
    steps = int(words[0]) if words else 240
    torch.set_num_threads(1)
    study(*next(iter(NETS.items())), steps)
    study(*list(NETS.items())[1], max(MARKS, steps // 4))


if __name__ == "__main__":
    main(sys.argv[1:])
