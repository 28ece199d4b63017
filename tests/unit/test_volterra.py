"""Rows of causal operators against whole matrices."""

from __future__ import annotations

import numpy as np

from kleiber.systems.feature_learning.volterra import fill, next_congruence, next_resolvent


def test_rows_make_the_inverse() -> None:
    rng = np.random.default_rng(0)
    operator = np.tril(rng.standard_normal((30, 30)) / 5, -1)
    inverse = np.zeros((30, 30))
    for t in range(30):
        next_resolvent(inverse, operator[t, :t])
    np.testing.assert_allclose(inverse, np.linalg.inv(np.eye(30) + operator), atol=1e-12)


def test_rows_make_the_covariance_and_read_nothing_later() -> None:
    rng = np.random.default_rng(1)
    left = np.tril(rng.standard_normal((25, 25)))
    root = rng.standard_normal((25, 25))
    covariance = root @ root.T
    found, left_so_far, inner = np.zeros((3, 25, 25))
    for t in range(25):
        left_so_far[t] = left[t]
        fill(inner, covariance[t, : t + 1])
        fill(found, next_congruence(left_so_far, inner, t))
    np.testing.assert_allclose(found, left @ covariance @ left.T, rtol=1e-12)
