"""Cheap runs for the tests of sweeps, in a module that worker processes can import."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import polars as pl

LOG = "KLEIBER_TEST_LOG"  # names the file in which runs sign in when they begin
MENDED = "KLEIBER_TEST_MENDED"  # set when runs that fail shall no longer do so


@dataclass(frozen=True)
class Fake:
    """A spec: draw numbers by `n_data`, for so long; `do` says how the run behaves."""

    n_data: int
    do: str = "finish"
    seconds: float = 0.0

    def key(self) -> str:
        return f"fake-{self.do}-{self.n_data:04d}"

    def model_dump_json(self) -> str:
        number = float("nan") if self.do == "nan" else self.n_data
        return json.dumps({"task": {**asdict(self), "n_data": number}, "seeds": [0, 1]})


class Stopped(Exception):
    """A run's error that knows its step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"stopped at {step}")
        self.step = step


def fake_run(spec: Fake) -> pl.DataFrame:
    """Two seeds at three steps, the same numbers whenever and wherever they are drawn."""
    if LOG in os.environ:
        with Path(os.environ[LOG]).open("a") as log:
            log.write(f"{spec.key()} {time.time_ns()} {os.getpid()}\n")
    time.sleep(spec.seconds)
    if spec.do == "fail" and MENDED not in os.environ:
        raise Stopped(7)
    if spec.do == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if spec.do == "exit":
        raise SystemExit(0)
    if spec.do == "panic":
        raise pl.exceptions.PanicException("it panicked")
    if spec.do == "objects":
        return pl.DataFrame({"loss": [object()]}, schema={"loss": pl.Object})
    if spec.do == "unkept":
        return pl.DataFrame({"_file_": [1.0]})
    if spec.do == "nothing":
        return None  # pyright: ignore[reportReturnType]
    if spec.do == "print":
        os.write(1, b"noise\n")
    rng = np.random.default_rng(spec.n_data)
    frame = {"seed": [0, 0, 0, 1, 1, 1], "step": [1, 10, 100] * 2, "loss": rng.random(6)}
    if spec.do == "threads":
        names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        return pl.DataFrame({"threads": [" ".join(os.environ[name] for name in names)]})
    if spec.do == "diverge":
        frame["diverged"] = [None, None, None, 10, 10, 10]
    return pl.DataFrame(frame)


def starts(log: Path) -> list[str]:
    """The key of a run for every time that one was begun, in order."""
    lines = log.read_text().splitlines() if log.exists() else []
    return [line.split()[0] for line in lines]


def sweep_fakes(store: str, count: int, workers: int, seconds: float) -> None:
    """A sweep of `count` fakes, as a script of its own would make it."""
    from kleiber.sweeps.run import sweep

    specs = [Fake(n, seconds=seconds) for n in range(count)]
    table = sweep(specs, store, run=fake_run, workers=workers or None)
    sys.stdout.write(f"rows {table.height}\n")
