"""Lottery tickets (Liu & Tegmark, arXiv:2310.02258): two-layer nets as ensembles of tickets."""

THEORIES = {"tickets": ("theory", "Tickets")}
REDUCTIONS = {
    "ensemble": ("ensemble_table", "ensemble"),
    "width-curve": ("width_exponent", "width_curve"),
    "width-exponent": ("width_exponent", "width_exponent"),
}
