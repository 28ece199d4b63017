"""Public tables of runs, learning curves, attempts and problems, under kleiber's column names."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from kleiber.data.fetch import fetch, find
from kleiber.data.gsm8k import load_gsm8k
from kleiber.errors import BadTable
from kleiber.table import read_table, require

DROPPED = 5  # runs of highest loss for their tokens that Besiroglu et al. leave out
UNITS = {"M": 1e6, "B": 1e9}


def load_runs(name: str) -> pl.DataFrame:
    """Load a table of the registry: chinchilla_epoch, learning_curves_vision, norms, norm_optima,
    passk, passk_checkpoints, gsm8k.

    Raises BadTable for another name or a file that is not that table, FileNotFoundError where it
    cannot be had.
    """
    find(name, "table")
    if name == "gsm8k":
        return load_gsm8k()
    path = fetch(name)["table"]
    match name:
        case "chinchilla_epoch":
            return _chinchilla(path)
        case "learning_curves_vision":
            return _learning_curves(path)
        case "passk":
            return _attempts(path)
        case "passk_checkpoints":
            return _checkpoints(path)
        case _:
            wanted = ["model", "dataset", "n_data", "n_seeds"]
            wanted += ["norm", "error"] if name == "norms" else ["error_opt"]
            return _with(read_table(path), wanted, path)


def _with(table: pl.DataFrame, columns: list[str], path: Path) -> pl.DataFrame:
    try:
        require(table, columns)
    except BadTable as error:
        raise BadTable(f"{path}: {error}") from None
    return table


def _chinchilla(path: Path) -> pl.DataFrame:
    """Return n_params, n_tokens, flops, loss, epoch_kept.

    In the published file tokens are flops/(6 n_params), and the five runs with the fewest tokens
    per parameter, which Besiroglu et al. leave out, are not marked.
    """
    table = read_table(path)
    if "epoch_kept" not in table.columns:
        named = {"Model Size": "n_params", "Training FLOP": "flops"}
        table = (
            _with(table, [*named, "loss"], path).rename(named).drop_nulls([*named.values(), "loss"])
        )
        tokens = pl.col("flops") / (6 * pl.col("n_params"))
        table = table.with_columns(n_tokens=tokens)
        ratio = pl.col("n_tokens") / pl.col("n_params")
        table = table.with_columns(epoch_kept=ratio.rank("ordinal") > DROPPED)
    else:
        table = _with(table, ["N", "D", "C", "loss"], path)
        table = table.rename({"N": "n_params", "D": "n_tokens", "C": "flops"})
    return table.select("n_params", "n_tokens", "flops", "loss", "epoch_kept")


def _learning_curves(path: Path) -> pl.DataFrame:
    """Return domain, task, model, n_data, error, fitted: the part of each curve to fit, and the
    rest.

    What the file calls a loss is a fraction of images misjudged.
    """
    named = {
        "Domain": "domain",
        "Task": "task",
        "Model": "model",
        "Seen Examples": "n_data",
        "Loss": "error",
        "Training": "fitted",
    }
    table = _with(read_table(path), list(named), path).select(list(named)).rename(named)
    return table.with_columns(pl.col("fitted") == 1)


def _attempts(path: Path) -> pl.DataFrame:
    """Return model, n_params, dataset, problem, attempts, successes: a row for each model and
    problem."""
    published = {
        "Model": "model",
        "Benchmark": "dataset",
        "Problem Idx": "problem",
        "Num. Samples Total": "attempts",
        "Num. Samples Correct": "successes",
    }
    short = {"benchmark": "dataset", "n": "attempts", "c": "successes"}
    table = read_table(path)
    if "Model" in table.columns:
        table = _with(table, [*published, "Scaling Parameter"], path)
        table = table.filter(pl.col("Scaling Parameter") == 1).rename(published)
    else:
        table = _with(table, ["model", "problem", *short], path).rename(short)
    sizes = {name: _size(name, path) for name in table["model"].unique()}
    size = pl.col("model").replace_strict(sizes, return_dtype=pl.Float64)
    return table.select(
        "model", size.alias("n_params"), "dataset", "problem", "attempts", "successes"
    )


def _checkpoints(path: Path) -> pl.DataFrame:
    """Return model, n_params, n_tokens, dataset, problem, attempts, successes, stopped: a row for
    each checkpoint and problem; the attempts depended on what came out."""
    columns = ["model", "n_params", "n_tokens", "problem", "attempts", "successes"]
    table = _with(read_table(path), columns, path).select(columns)
    table = table.with_columns(dataset=pl.lit("MATH"), stopped=True)
    return table.select(*columns[:3], "dataset", *columns[3:], "stopped")


def _size(model: str, path: Path) -> float:
    """Return the number of parameters in a name such as "Pythia 6.9B"."""
    word = model.split()[-1]
    try:
        return float(word[:-1]) * UNITS[word[-1]]
    except (KeyError, ValueError):
        raise BadTable(f"{path}: the model {model!r} does not end with its size.") from None
