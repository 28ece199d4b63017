"""Every column name that kleiber knows, with its meaning and unit.

Tables may hold any other columns too; they pass through untouched. `aliases` are names that other
people's tables use for the same thing: they are only ever suggested, never assumed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

FILE_ROW = "file_row"  # added to a table of the command line, so that messages can name the row


@dataclass(frozen=True)
class Column:
    """One column: its name, meaning and unit ("1" is dimensionless, "label" is text)."""

    name: str
    meaning: str
    unit: str
    aliases: tuple[str, ...] = ()


COLUMNS: Mapping[str, Column] = MappingProxyType(
    {
        column.name: column
        for column in (
            Column(
                "n_params",
                "trainable parameters of the model",
                "parameters",
                ("N", "params", "parameters", "model_size", "Model Size"),
            ),
            Column(
                "n_active",
                "parameters that a token uses in a mixture of experts, of all n_params",
                "parameters",
                ("active_params", "n_params_active"),
            ),
            Column(
                "n_tokens",
                "tokens seen in training, repeats included",
                "tokens",
                ("D", "tokens", "training_tokens", "Training Tokens"),
            ),
            Column(
                "n_unique",
                "distinct tokens at hand; n_tokens counts their repeats",
                "tokens",
                ("U", "unique_tokens"),
            ),
            Column(
                "n_data",
                "distinct training examples",
                "examples",
                ("P", "n_examples", "n_train", "Seen Examples", "samples"),
            ),
            Column("width", "units in a hidden layer", "units", ("d_model",)),
            Column("depth", "hidden layers", "layers", ("n_layers", "layers")),
            Column("step", "optimiser steps taken", "steps", ("steps", "iteration")),
            Column("time", "gradient-flow time (never a wall clock)", "1"),
            Column("flops", "floating-point operations of training", "FLOPs", ("C", "compute")),
            Column("batch_size", "examples or tokens in one step", "examples", ("batch",)),
            Column(
                "lr",
                "learning rate, at its peak where a schedule changes it",
                "1",
                ("learning_rate",),
            ),
            Column("seed", "seed of the run", "1"),
            Column("n_seeds", "runs averaged into the row", "1"),
            Column("loss", "loss on held-out data", "nats", ("Loss", "L", "test_loss", "val_loss")),
            Column("train_loss", "loss on the training data", "nats"),
            Column("error", "fraction of held-out examples misjudged", "1", ("test_error",)),
            Column("attempts", "attempts made at a problem", "attempts", ("n", "n_samples")),
            Column("successes", "attempts that succeeded", "attempts", ("c", "n_correct")),
            Column("k", "attempts allowed for one success (pass@k)", "attempts"),
            Column("failure", "probability that all k attempts fail", "1"),
            Column("pass_at_k", "probability that one of k attempts succeeds", "1", ("pass@k",)),
            Column("neg_log_pass", "minus the logarithm of pass@k", "nats"),
            Column("stopped", "whether attempts ended because of their outcome", "1"),
            Column("accuracy", "fraction of held-out examples judged rightly", "1", ("acc",)),
            Column("train_error", "fraction of training examples misjudged", "1"),
            Column("weight_norm", "root of the sum of the squared parameters", "1"),
            Column("diverged", "whether the run ended here in a loss that was not finite", "1"),
            Column("richness", "scale of feature learning (0 is the lazy limit)", "1", ("gamma",)),
            Column("mode", "mode of the kernel, 1 has the largest eigenvalue", "modes"),
            Column("norm", "complexity norm of the trained network", "1"),
            Column("problem", "which problem was attempted", "label"),
            Column("model", "which model or architecture", "label", ("Model",)),
            Column("dataset", "which data set", "label", ("Dataset",)),
            Column("task", "which task", "label", ("Task",)),
            Column("source", "where the row comes from: solve, simulate, train or a file", "label"),
            Column("seconds", "wall-clock time", "seconds", ("wall_time", "runtime")),
            Column("predicted", "what a fitted law predicts for the row", "as the target"),
            Column("low", "lower end of the interval of the prediction", "as the target"),
            Column("high", "upper end of the interval of the prediction", "as the target"),
        )
    }
)
