"""Causal operators on discrete time: T x T matrices whose row t depends only on earlier rows.

A system of equations between such operators is solved by one sweep over the rows: each function
here computes the next row of a matrix from those above it.
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
    """Return row t of L C L' up to column t, for the covariance C of a field and an operator L.

    L is causal, so entries of L and C after t are not read.
    """
    end = t + 1
    return left[:end, :end] @ (left[t, :end] @ inner[:end, :end])


def fill(matrix: Matrix, row: Float[np.ndarray, "upto"]) -> None:
    """Write row t of a symmetric matrix up to column t, and column t; the row has length t + 1."""
    end = row.size
    matrix[end - 1, :end] = row
    matrix[:end, end - 1] = row
