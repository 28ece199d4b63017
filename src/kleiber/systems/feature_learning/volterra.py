"""Causal operators on discrete time: T x T matrices whose row t needs the rows before t alone.

A system of equations between such operators is solved by one sweep over the rows: each function
here gives the next row of a matrix from those above it.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

Matrix = Float[np.ndarray, "times times"]


def next_resolvent(inverse: Matrix, row: Float[np.ndarray, "earlier"]) -> None:
    """Write row t of (I + X)^-1, X strictly lower triangular, given X[t, :t]; t is its length.

    (I + X)^-1 = I - X (I + X)^-1, whose row t is -X[t, :t] times the rows above, and 1 at t.
    """
    t = row.size
    inverse[t, :t] = -row @ inverse[:t, :t]
    inverse[t, t] = 1.0


def next_congruence(left: Matrix, inner: Matrix, t: int) -> Float[np.ndarray, "upto"]:
    """Row t of L C L', up to column t: the covariance C of a field carried through the operator L.

    L is causal, so that nothing of L and C after t is read.
    """
    end = t + 1
    return left[:end, :end] @ (left[t, :end] @ inner[:end, :end])


def fill(matrix: Matrix, row: Float[np.ndarray, "upto"]) -> None:
    """Write row t of a symmetric matrix up to column t, and with it column t; t + 1 is its
    length."""
    end = row.size
    matrix[end - 1, :end] = row
    matrix[:end, end - 1] = row
