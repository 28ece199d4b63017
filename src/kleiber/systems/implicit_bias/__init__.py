"""Implicit bias (D'Amico, Bocchi & Negri, arXiv:2505.13230): two laws in a norm of the weights."""

THEORIES = {"perceptron": ("perceptron", "Perceptron")}
REDUCTIONS = {"collapse": ("collapse_table", "collapse")}
PUBLIC = {"dynamical_exponents": ("collapse", "dynamical_exponents")}
