"""Plans with attempts under hypothesis: never worse than random splits, under further costs too."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from kleiber.errors import BadPlan
from kleiber.formula import evaluate, parse
from kleiber.planning.allocate import allocate
from kleiber.planning.curve import FailureCurve
from kleiber.planning.pose import Settings, pose_attempts

# A quarter of the profile's: an example is compared with 400,000 random splits.
few = settings(max_examples=settings().max_examples // 4, deadline=None)
exponents = st.floats(0.05, 0.8)
SIDES = {  # a further cost, and what it may come to as a power of ten
    "n_params/n_tokens": (-3, 2),
    "n_tokens/n_params": (-2, 3),
    "k*n_params": (3, 8),
    "k": (0.1, 4),
    "16*n_params": (3, 7),
    "6*n_params*n_tokens": (8, 13),
}
LIMITS = {"n_params": (1.0, 1e12), "n_tokens": (1.0, 1e12), "k": (1.0, 1e12)}


def curve(a: float, b: float, c: float) -> FailureCurve:
    return FailureCurve(
        "made",
        ("n_params", "n_tokens"),
        lambda at, k: 0.3 * (at["n_params"] ** -a + at["n_tokens"] ** -b) * k**-c,
    )


def solve(made: FailureCurve, budget: float | None, reach: float | None, under: Any) -> Any:
    asked = Settings(budget, reach, None, under, LIMITS)
    source, question, _ = pose_attempts(made, asked, "200*n_params", 1.0, 0.0)
    return {name: float(x[0]) for name, x in allocate(question, source.single).items()}


def spent(at: Any) -> Any:
    return 6 * at["n_params"] * at["n_tokens"] + 200 * at["n_params"] * at["k"]


@few
@given(
    st.tuples(exponents, exponents, exponents),
    st.floats(8, 14),
    st.sampled_from([None, *SIDES]),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 2**32 - 1),
)
def test_no_random_split_is_better(
    powers: tuple[float, float, float],
    budget: float,
    side: str | None,
    share: float,
    reaching: bool,
    seed: int,
) -> None:
    low, high = SIDES.get(side or "", (0, 0))
    most = 10 ** (low + share * (high - low))
    made, purse = curve(*powers), 10**budget
    rng = np.random.default_rng(seed)
    n, d = np.exp(rng.uniform(0, math.log(1e9), (2, 400_000)))
    at = {"n_params": n, "n_tokens": d}
    if reaching:
        goal = 10 ** (-4 * share - 0.8)
        k = np.maximum((made.failure(at, np.ones_like(n)) / goal) ** (1 / powers[2]), 1.0)
    else:
        goal = 0.0
        k = (purse - 6 * n * d) / (200 * n)
        if side is not None and side.startswith("k"):
            k = np.minimum(k, most / (n if "n_params" in side else 1.0))
    at["k"] = np.maximum(k, 1.0)
    allowed = (k >= 1) & (k <= 1e12)
    if side is not None:
        allowed &= evaluate(parse(side), at) <= most
    value = spent(at) if reaching else made.failure(at, at["k"])
    try:
        found = solve(
            made,
            None if reaching else purse,
            1 - goal if reaching else None,
            None if side is None else {side: most},
        )
    except BadPlan:
        assume(allowed.any())
        raise
    if not math.isfinite(found["predicted"]):
        assert not allowed.any()
        return
    here = {name: np.array(found[name]) for name in ("n_params", "n_tokens", "k")}
    for name, ends in LIMITS.items():
        assert ends[0] * (1 - 1e-12) <= found[name] <= ends[1] * (1 + 1e-12)
    if side is not None:
        assert float(evaluate(parse(side), here)) <= most * (1 + 1e-9)
    if reaching:
        assert found["predicted"] <= goal * (1 + 1e-9)
        assert found["spent"] == pytest.approx(float(spent(here)), rel=1e-12)
    else:
        assert float(spent(here)) <= purse * (1 + 1e-9)
    if allowed.any():
        mine = found["spent"] if reaching else found["predicted"]
        assert mine <= value[allowed].min() * (1 + 1e-5)
