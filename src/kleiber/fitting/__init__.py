"""A table and a Law in, a Fit out."""
