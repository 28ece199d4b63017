"""Messages name the nearest thing there is; NotConverged survives a process boundary."""

from __future__ import annotations

import pickle

import pytest

from kleiber.errors import BadTable, NotConverged, listed, nearest, reason, shown

KNOWN = ["n_params", "n_tokens", "loss", "Model Size"]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("n_param", " Did you mean 'n_params'?"),
        ("N_PARAMS", " Did you mean 'n_params'?"),
        ("model_size", " Did you mean 'Model Size'?"),
        ("los", " Did you mean 'loss'?"),
        ("temperature", ""),
        ("", ""),
    ],
)
def test_nearest(name: str, hint: str) -> None:
    assert nearest(name, KNOWN) == hint


def test_nearest_of_nothing() -> None:
    assert nearest("loss", []) == ""


def test_not_converged_carries_its_numbers() -> None:
    error = pickle.loads(pickle.dumps(NotConverged("The ridge did not settle", 1.5e-3, 40)))
    assert isinstance(error, NotConverged)
    assert issubclass(NotConverged, RuntimeError)
    assert (error.residual, error.iterations) == (1.5e-3, 40)
    assert str(error) == "The ridge did not settle (residual 0.0015 after 40 iterations)"


def test_bad_table_is_a_value_error() -> None:
    assert issubclass(BadTable, ValueError)


def test_listed_stops() -> None:
    assert listed(["a", "b"]) == "a, b"
    assert listed("abcde", limit=3) == "a, b, c and 2 more"


def test_shown_is_short_and_on_one_line() -> None:
    assert shown("a\nb") == r"'a\nb'"
    assert len(shown("x" * 100)) == 40


def test_reason_is_one_line() -> None:
    assert reason(ValueError("first.\nsecond")) == "first"
    assert reason(ValueError()) == "ValueError"
