"""A Fit and a cost in, a Plan out."""
