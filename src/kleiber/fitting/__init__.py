"""Fitting: from a table and a Law to a Fit."""
