"""Costs made of other costs: their sum, device hours, and money."""

from __future__ import annotations

from kleiber.errors import BadPlan
from kleiber.formula import number
from kleiber.planning.amounts import check_positive, is_real
from kleiber.planning.call import write_call
from kleiber.planning.cost import FLOPS, GPU_HOURS, MONEY, OTHER, Cost, find_cost

SLOWEST = 1e6  # FLOP/s of a device: fewer are TFLOP/s or GFLOP/s


def total(*costs: Cost | str) -> Cost:
    """Return the sum of costs of one unit; formulas of columns take the unit of the others."""
    parts = [find_cost(item) for item in costs]
    if not parts:
        raise BadPlan("A total needs at least one cost, e.g. total(6nd, serve(tokens=1e12)).")
    units = {part.unit for part in parts} - {OTHER} or {OTHER}
    if len(units) > 1:
        what = ", ".join(f"{part.name} in {part.unit}" for part in parts)
        raise BadPlan(f"A total adds costs of one unit, got {what}.")
    whole = parts[0].expr
    for part in parts[1:]:
        whole = whole + part.expr
    says = "; plus ".join(part.convention for part in parts if part.convention)
    return Cost(write_call(total, [part.name for part in parts], {}), str(whole), units.pop(), says)


def gpu_hours(cost: Cost | str, *, flops_per_second: float, utilisation: float) -> Cost:
    """Return the device hours of a cost in FLOPs: C / (flops_per_second utilisation 3600).

    ``flops_per_second`` is the peak of one device; ``utilisation`` is the share of it that the
    FLOPs *of this cost's convention* reach (measured as such, or the time is wrong).
    """
    base = find_cost(cost)
    if base.unit not in (FLOPS, OTHER):
        raise BadPlan(
            f"The verb gpu_hours needs a cost in FLOPs, but {base.name} is in {base.unit}."
        )
    rate = {"flops_per_second": flops_per_second, "utilisation": utilisation}
    check_positive(**rate)
    if not is_real(flops_per_second * 3600 * utilisation):
        raise BadPlan(
            f"A flops_per_second of {flops_per_second:g} and a utilisation of {utilisation:g} are "
            "too large."
        )
    if flops_per_second < SLOWEST:
        raise BadPlan(
            f"The flops_per_second of {flops_per_second:g} are slower than any device: they are "
            f"single FLOPs, so write {flops_per_second:g}e12 for {flops_per_second:g} TFLOP/s."
        )
    if utilisation > 1:
        raise BadPlan(f"The utilisation is a share between 0 and 1, got {utilisation:g}.")
    at = f"{flops_per_second:g} peak FLOP/s a device, {utilisation:.3g} of it used"
    return Cost(
        write_call(gpu_hours, [base.name], rate),
        str(base.expr * number(1 / (flops_per_second * 3600 * utilisation))),
        GPU_HOURS,
        f"{base.convention or 'FLOPs'}; device hours at {at}",
    )


def money(
    cost: Cost | str,
    *,
    price: float,
    flops_per_second: float | None = None,
    utilisation: float | None = None,
) -> Cost:
    """Return the price of a cost: device hours times ``price`` per device and hour.

    A cost in FLOPs needs the peak and the utilisation of ``gpu_hours``; a cost in GPU-hours none.
    """
    base = hours = find_cost(cost)
    check_positive(price=price)
    if base.unit == GPU_HOURS:
        if flops_per_second is not None or utilisation is not None:
            raise BadPlan(f"The cost {base.name} is in GPU-hours already; give the price alone.")
    elif flops_per_second is None or utilisation is None:
        raise BadPlan(f"The money for {base.name} needs flops_per_second and utilisation.")
    else:
        hours = gpu_hours(base, flops_per_second=flops_per_second, utilisation=utilisation)
    options = {"price": price, "flops_per_second": flops_per_second, "utilisation": utilisation}
    return Cost(
        write_call(money, [base.name], options),
        str(hours.expr * number(price)),
        MONEY,
        f"{hours.convention}; {price:g} per device and hour",
    )
