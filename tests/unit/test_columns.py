"""The column names are those of the contract, each with a meaning and a unit."""

from __future__ import annotations

import dataclasses

import pytest

from kleiber.columns import COLUMNS, Column

CONTRACT = (
    "n_params n_tokens n_data width depth step time flops batch_size seed n_seeds loss train_loss "
    "error attempts successes k failure richness norm problem model dataset task source seconds"
)
# beyond the contract
OURS = (
    "mode n_unique pass_at_k neg_log_pass stopped train_error weight_norm diverged n_active lr "
    "accuracy"
)
PREDICTIONS = "predicted low high"


def test_names_are_those_of_the_contract() -> None:
    assert [name for name in COLUMNS if name not in OURS.split()] == [
        *CONTRACT.split(),
        *PREDICTIONS.split(),
    ]
    assert set(OURS.split()) <= set(COLUMNS)


@pytest.mark.parametrize("name", COLUMNS)
def test_every_column_says_what_it_is(name: str) -> None:
    column = COLUMNS[name]
    assert column.name == name
    assert column.meaning
    assert column.unit


def test_units_of_the_contract() -> None:
    units = {name: COLUMNS[name].unit for name in ("n_params", "n_tokens", "n_data", "step")}
    assert units == {
        "n_params": "parameters",
        "n_tokens": "tokens",
        "n_data": "examples",
        "step": "steps",
    }
    assert (COLUMNS["flops"].unit, COLUMNS["loss"].unit) == ("FLOPs", "nats")
    assert (COLUMNS["seconds"].unit, COLUMNS["time"].unit) == ("seconds", "1")


def test_aliases_mean_one_column_each() -> None:
    aliases = [alias for column in COLUMNS.values() for alias in column.aliases]
    assert len(aliases) == len(set(aliases))
    assert not set(aliases) & set(COLUMNS)


def test_columns_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        COLUMNS["loss"].unit = "bits"  # pyright: ignore[reportAttributeAccessIssue]
    with pytest.raises(TypeError):
        COLUMNS["loss"] = Column("loss", "", "")  # pyright: ignore[reportIndexIssue]
