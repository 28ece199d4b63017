"""Forecasts beyond the data: many laws, averaged, with the error that back-tests show."""
