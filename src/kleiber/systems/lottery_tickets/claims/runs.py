"""The trained nets of the lottery tickets, saved with their parameters and shared by all claims.

At the scales "laptop" and "full" the runs are saved in the folder of finished claims: tables in
tickets/ (a sweep's store) and parameters in tickets/nets/KEY.npz, both named by the Experiment's
key, so that a check that was interrupted continues where it stopped.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from kleiber.claim import Context
from kleiber.experiment import Experiment, FormulaTask
from kleiber.files import write_atomically
from kleiber.sweeps.run import sweep
from kleiber.systems.lottery_tickets.claims.settings import experiment_of, find

POINTS = 1024  # common inputs: midpoints of the interval, or a grid in several dimensions
STORE = "tickets"
BLOCK = 1 << 22  # numbers of a hidden layer that are computed at once


@dataclass(frozen=True, eq=False)
class Nets:
    """Trained nets f(x) = sum_i v_i phi(w_i . x + b_i) + c of one width, one per seed.

    `table` has a row for each seed and checkpoint; `losses` are those of the last step on the test
    set. Seeds that diverged are left out: there are `diverged` of them.
    """

    experiment: Experiment
    table: pl.DataFrame
    seeds: Int[np.ndarray, "seeds"]
    weights: Float[np.ndarray, "seeds width inputs"]
    b: Float[np.ndarray, "seeds width"]
    v: Float[np.ndarray, "seeds width"]
    c: Float[np.ndarray, "seeds"]
    losses: Float[np.ndarray, "seeds"]
    diverged: int

    @property
    def width(self) -> int:
        """The number of hidden units N."""
        return self.b.shape[1]

    @property
    def w(self) -> Float[np.ndarray, "seeds width"]:
        """The weights of a net of one input. Raises ValueError for more inputs."""
        if self.weights.shape[2] != 1:
            raise ValueError(
                f"A net of {self.weights.shape[2]} inputs has no single weight w per neuron; use "
                "weights."
            )
        return self.weights[:, :, 0]

    @property
    def x(self) -> Float[np.ndarray, "points inputs"]:
        """The common inputs: midpoints of a grid of about 1,024 cells."""
        from kleiber.networks.task import grid  # here: the module reads data sets

        task = cast(FormulaTask, self.experiment.task)
        return grid(task.low, task.high, round(POINTS ** (1 / task.inputs)), task.inputs)

    @property
    def target(self) -> Float[np.ndarray, "points"]:
        """The target at the common inputs."""
        from kleiber.formula import evaluate, parse

        task = cast(FormulaTask, self.experiment.task)
        named = {name: self.x[:, k] for k, name in enumerate("xyz"[: task.inputs])}
        return np.asarray(evaluate(parse(task.formula), named), float)

    @property
    def predictions(self) -> Float[np.ndarray, "seeds points"]:
        """The outputs of every net at the common inputs, in float64."""
        return self.predict(self.x)

    def predict(self, x: Float[np.ndarray, "points inputs"]) -> Float[np.ndarray, "seeds points"]:
        """Return the outputs of every net at the given inputs, in float64."""
        from kleiber.networks.task import ACTIVATIONS

        net = cast(Any, self.experiment.net)
        activation = ACTIVATIONS[net.activation]
        stride = max(1, BLOCK // (self.width * len(x)))
        parts = [
            self.c[k : k + stride, None]
            + np.einsum(
                "sn,spn->sp",
                self.v[k : k + stride],
                activation(
                    np.einsum("snd,pd->spn", self.weights[k : k + stride], x)
                    + self.b[k : k + stride, None]
                ),
            )
            for k in range(0, len(self.seeds), stride)
        ]
        return np.concatenate(parts)


def nets(context: Context, setting: str, width: int, *, seeds: int | None = None) -> Nets:
    """Return the trained nets of a named setting at one width (SETTINGS has the names).

    `seeds` is by default the number that the setting has at the context's scale. Raises ValueError
    for an unknown name.
    """
    experiment = experiment_of(context, setting, width, seeds=seeds)
    key = experiment.key()
    if context.keep is None:
        return context.share(f"nets {key}", lambda: _in_memory(experiment))
    return context.share(f"nets {key}", lambda: _load_or_train(context, experiment))


def losses(
    context: Context,
    setting: str,
    widths: Iterable[int] | None = None,
    *,
    seeds: int | None = None,
) -> pl.DataFrame:
    """Return every loss of a setting: setting, width, n_params, seed, step, loss and train_loss.

    `widths` are by default those of the setting at the context's scale. Seeds that diverged are
    left out.
    """
    chosen = find(setting).widths(context) if widths is None else tuple(widths)
    columns = ["width", "n_params", "seed", "step", "loss", "train_loss"]
    parts = [nets(context, setting, n, seeds=seeds).table.select(columns) for n in chosen]
    return pl.concat(parts).with_columns(setting=pl.lit(setting))


def final(table: pl.DataFrame) -> pl.DataFrame:
    """Return one row per seed: the median loss over the checkpoints in the last 1% of the steps."""
    last = table.filter(pl.col("step") >= 0.99 * pl.col("step").max())
    keys = [name for name in ("setting", "width", "n_params", "seed") if name in table.columns]
    return (
        last.group_by(keys, maintain_order=True)
        .agg(pl.col("loss", "train_loss").median(), pl.col("step").max())
        .sort("width", "seed")
    )


def at_step(table: pl.DataFrame, step: int) -> pl.DataFrame:
    """Return the rows of the checkpoint that is nearest to a step, in log(step)."""
    known = table["step"].unique().to_numpy()
    nearest = int(known[np.argmin(np.abs(np.log(known / step)))])
    return table.filter(pl.col("step") == nearest)


def _in_memory(experiment: Experiment) -> Nets:
    """Train the nets without saving them."""
    from kleiber.networks.loop import train_nets  # here: torch takes seconds to import

    trained = train_nets(experiment)
    return _collect(experiment, trained.table, _arrays(trained.params))


def _load_or_train(context: Context, experiment: Experiment) -> Nets:
    """Load the runs from the folder, training those that it does not have."""
    assert context.keep is not None
    folder = (context.keep / STORE).resolve()
    file = _file(folder, experiment)
    if not file.is_file():  # a table without its nets is trained again
        (folder / f"{experiment.key()}.parquet").unlink(missing_ok=True)
    run = partial(train_and_land, folder=folder)
    table = sweep([experiment], folder, run=run, retry_failed=True)
    with np.load(file) as arrays:
        return _collect(experiment, table, dict(arrays))


def train_and_land(experiment: Experiment, folder: Path) -> pl.DataFrame:
    """Train, save the parameters in folder/nets, and return the table, which the sweep saves."""
    from kleiber.networks.loop import train_nets

    (folder / "nets").mkdir(parents=True, exist_ok=True)
    trained = train_nets(experiment)
    with write_atomically(_file(folder, experiment)) as temporary:
        np.savez_compressed(temporary, **cast(Any, _arrays(trained.params)))
    return trained.table


def _file(folder: Path, experiment: Experiment) -> Path:
    return folder / "nets" / f"{experiment.key()}.npz"


def _arrays(params: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the parameters by the names of the formula."""
    names = {"weights": "0.weight", "b": "0.bias", "v": "1.weight", "c": "1.bias"}
    return {name: np.asarray(params[key]) for name, key in names.items()}


def _collect(experiment: Experiment, table: pl.DataFrame, arrays: dict[str, np.ndarray]) -> Nets:
    """Make the record of all runs, in the order of the seeds, without those that diverged."""
    diverged = set(table.filter(pl.col("diverged"))["seed"].to_list())
    stable = np.array([seed not in diverged for seed in experiment.seeds])
    kept = table.filter(~pl.col("seed").is_in(list(diverged)))
    last = kept.filter(pl.col("step") == experiment.steps).sort("seed")
    return Nets(
        experiment,
        kept,
        np.array(experiment.seeds)[stable],
        arrays["weights"][stable].astype(float),
        arrays["b"][stable].astype(float),
        arrays["v"][stable][:, 0].astype(float),
        arrays["c"][stable][:, 0].astype(float),
        last["loss"].to_numpy(),
        len(diverged),
    )
