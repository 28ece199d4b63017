"""Public data sets: where their originals are, and how each is read."""
