"""Claims of papers as data: what a paper says, what we obtain, and the verdict on the two.

A claim states that a number lies in a range: within ``within`` of ``expected``, or on one side of
``expected``. The number obtained comes with an interval, value ± 2 standard errors (or its own low
and high), and the verdict compares the two:

- holds: the whole interval lies in the range;
- fails: no part of it does;
- inconclusive: part of it does, so the error is too large to decide; more runs would;
- error: the number could not be computed (the verdict's `why` says why not);
- skipped: data that it reads, or a library of an extra, are absent (`why` names the command that
  fetches them).

So a claim "within 0.02" needs a standard error well below 0.01 before it can hold or fail.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scipy import special

from kleiber.arguments import check_call, check_number, check_text, check_texts, refuse
from kleiber.errors import nearest, reason, shown
from kleiber.plain import as_plain

SCALES = ("quick", "laptop", "full")  # in CI; the numbers we quote; the papers' own sizes
VERDICTS = ("holds", "fails", "inconclusive")
SKIPPED = "skipped"  # the verdict on a claim whose data or libraries are absent
EXTRAS: Mapping[str, str] = MappingProxyType({"torch": "train", "numba": "fast"})
SOURCES: Mapping[str, str] = MappingProxyType(  # where a claim comes from, as sentences say it
    {
        "abstract": "a statement of the paper's abstract",
        "paper": "a statement of the paper's text",
        "second-hand": "a statement that we know only second-hand",
        "ours": "a claim of our own",
    }
)
SIDES: Mapping[str, str] = MappingProxyType(
    {"both": "equal to", "at_least": "at least", "at_most": "at most"}
)
STANDARD_ERRORS = 2.0  # standard errors on either side of a value that make its interval


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error and its interval.

    A number is NaN where it is unknown; the notes or the reason of the record that holds the
    estimate then say why.

    Attributes
    ----------
    value
        The value, in the unit of what is estimated.
    stderr
        Its standard error, in the same unit.
    low, high
        The ends of its interval, at the level that the record or verb names.

    Examples
    --------
    >>> import kleiber
    >>> gamma = kleiber.Estimate(0.52, stderr=0.01, low=0.50, high=0.54)
    >>> gamma.low < 0.5 + 0.01 < gamma.high
    True
    """

    value: float
    stderr: float
    low: float
    high: float


def estimate(value: float, stderr: float = math.nan) -> Estimate:
    """Make an Estimate with the interval of two standard errors; NaN if there is no standard
    error."""
    value, stderr = float(value), float(stderr)
    return Estimate(
        value, stderr, value - STANDARD_ERRORS * stderr, value + STANDARD_ERRORS * stderr
    )


def student(
    value: float, stderr: float, degrees_of_freedom: float, level: float = 0.95
) -> Estimate:
    """Make an Estimate with Student's interval; its error and ends are NaN below one degree of
    freedom."""
    value, stderr = float(value), float(stderr)
    if degrees_of_freedom < 1 or not math.isfinite(stderr):
        return Estimate(value, math.nan, math.nan, math.nan)
    half = float(special.stdtrit(degrees_of_freedom, 0.5 + level / 2)) * stderr
    return Estimate(value, stderr, value - half, value + half)


@dataclass(frozen=True)
class Context:
    """What a claim is computed with: the seed, the scale, and a folder for unfinished work.

    ``keep`` is None if nothing is kept (at scale "quick"). Results that several claims of one check
    need are computed by the first of them: ``context.share("runs", lambda: simulate(...))``.
    """

    seed: int = 0
    scale: str = "quick"
    keep: Path | None = None
    shared: dict[str, Any] = field(default_factory=dict[str, Any], compare=False, repr=False)

    def choose(self, quick: Any, laptop: Any, full: Any = None) -> Any:
        """Return the value for this scale; ``full`` defaults to ``laptop``."""
        return {"quick": quick, "laptop": laptop}.get(self.scale, laptop if full is None else full)

    def share(self, name: str, make: Callable[[], Any]) -> Any:
        """Return the result of ``make``, computed once for all claims that ask for ``name``."""
        if name not in self.shared:
            self.shared[name] = make()
        return self.shared[name]


@dataclass(frozen=True)
class Claim:
    """A statement of a paper as a number that can be computed.

    The claim is that the number lies in ``range``: ``expected`` give or take ``within``, or on one
    side of it. ``kleiber.check`` computes the number and compares its interval with that range.

    Attributes
    ----------
    where
        Its place in the paper, such as ``"section 3.2, figure 4"``.
    says
        The statement in words.
    expected
        The number that the paper states, or a bound on it.
    within
        How far the number may lie from ``expected``, in the same unit, at least 0.
    compute
        A function of a ``Context`` (seed, scale, folder) that returns the number as an
        ``Estimate``.
    known
        The verdict that we know: ``"holds"``, ``"fails"`` or ``"inconclusive"``.
    why
        The reason for ``known``; a claim that does not hold must have one.
    scale
        The smallest scale at which it is computed: ``"quick"``, ``"laptop"`` or ``"full"``.
    side
        ``"both"``, ``"at_least"`` or ``"at_most"``: in the last two ``expected`` is a bound, and
        the number may miss it by ``within``.
    exact
        Why the number has no standard error; empty where it has one.
    needs
        The names of the data sets that it reads.
    source
        Where the statement comes from: ``"abstract"`` (of the paper), ``"paper"`` (its text, which
        we have seen), ``"second-hand"`` (a summary or review of it), or ``"ours"`` (our hypothesis,
        derivation or earlier number; one that fails says nothing against the paper).

    Raises
    ------
    ValueError
        For a claim that is not well formed.

    Examples
    --------
    >>> import kleiber
    >>> def measure(context):
    ...     return kleiber.Estimate(0.97, stderr=0.01, low=0.95, high=0.99)
    >>> claim = kleiber.Claim("section 3", "The loss falls as 1/width.", 1.0, 0.1, measure)
    >>> claim.range
    (0.9, 1.1)
    """

    where: str
    says: str
    expected: float
    within: float
    compute: Callable[[Context], Estimate] = field(repr=False)
    known: str = "holds"
    why: str = ""
    scale: str = "quick"
    side: str = "both"
    exact: str = ""
    needs: tuple[str, ...] = ()
    source: str = "ours"

    def __post_init__(self) -> None:
        for name in ("where", "says", "why", "exact"):
            check_text(name, getattr(self, name))
        for name in ("expected", "within"):
            check_number(name, getattr(self, name), allow_infinite=True)
        check_call("compute", self.compute, "a function of a Context")
        if not isinstance(self.needs, tuple):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise refuse("needs", "a tuple of names of data sets", self.needs)
        check_texts("needs", self.needs, "a tuple of names of data sets")
        for name, known in (
            ("known", VERDICTS),
            ("scale", SCALES),
            ("side", tuple(SIDES)),
            ("source", tuple(SOURCES)),
        ):
            given = getattr(self, name)
            if given not in known:
                raise ValueError(
                    f"The claim {shown(self.says)} has {name}={shown(given)}; it takes "
                    f"{', '.join(known)}."
                    f"{nearest(str(given), known)}"
                )
        if not self.says.strip() or not self.where.strip():
            raise ValueError(
                f"A claim says something and stands somewhere, got says={shown(self.says)} "
                f"and where={shown(self.where)}."
            )
        if self.known != "holds" and not self.why.strip():
            raise ValueError(
                f"The claim {shown(self.says)} is known={shown(self.known)}, so it needs a why."
            )
        if not math.isfinite(self.expected) or not 0 <= self.within < math.inf:
            raise ValueError(
                f"The claim {shown(self.says)} needs a finite expected value and within of at "
                f"least 0, "
                f"got {self.expected} and {self.within}."
            )

    @property
    def range(self) -> tuple[float, float]:
        """The smallest and largest number for which the claim holds."""
        low = -math.inf if self.side == "at_most" else self.expected - self.within
        high = math.inf if self.side == "at_least" else self.expected + self.within
        return low, high


@dataclass(frozen=True)
class Verdict:
    """What became of a claim when it was computed.

    Attributes
    ----------
    paper
        The name of the paper, such as ``"hard_tail"``.
    where, says, source, expected, within, known, side
        As in the ``Claim``.
    obtained
        The number that was computed; NaN where it could not be.
    stderr
        Its standard error; NaN where it has none, and then ``why`` says so.
    verdict
        ``"holds"`` (the whole interval of the number lies in the claim's range), ``"fails"`` (none
        of it does), ``"inconclusive"`` (part of it does), ``"error"`` (it could not be computed) or
        ``"skipped"`` (data that it reads or an extra are absent).
    why
        The reason for what is known, the sentence of the error, or what fetches the data.
    seconds
        How long the computation took.
    kept
        Whether the number was read from the folder of finished claims.
    low, high
        The ends of the interval that was compared with the claim's range: two standard errors on
        either side, or an interval of the number's own; NaN where it has none.

    Examples
    --------
    >>> import kleiber
    >>> verdict = kleiber.Verdict(
    ...     "own", "section 3", "The loss falls as 1/width.", expected=1.0, within=0.1,
    ...     obtained=0.97, stderr=0.01, verdict="holds", known="holds", why="", seconds=0.2,
    ... )
    >>> verdict.as_known
    True
    """

    paper: str
    where: str
    says: str
    source: str = field(default="ours", kw_only=True)
    expected: float
    within: float
    obtained: float
    stderr: float
    verdict: str
    known: str
    why: str
    seconds: float
    side: str = "both"
    kept: bool = False
    low: float = math.nan
    high: float = math.nan

    @property
    def as_known(self) -> bool:
        """Whether the verdict is the one we know, or the claim was skipped for want of data."""
        return self.verdict in (self.known, SKIPPED)


def judge(claim: Claim, obtained: Estimate) -> str:
    """Return the verdict on a claim for the number obtained, by the rule in this module's
    docstring.

    Raises ValueError for a number that is not finite, and for one without a standard error whose
    claim does not say why it has none.
    """
    if not math.isfinite(obtained.value):
        raise ValueError(f"The number obtained is {obtained.value}, but it must be finite.")
    no_error = not math.isfinite(obtained.stderr)
    if no_error and not claim.exact:
        raise ValueError(
            "The number obtained has no standard error, and the claim does not say why."
        )
    low, high = interval_of(obtained)
    lower, upper = claim.range
    if lower <= low and high <= upper:
        return "holds"
    return "fails" if high < lower or low > upper else "inconclusive"


def interval_of(obtained: Estimate) -> tuple[float, float]:
    """Return the interval of a number: its own, else two standard errors on either side, if any."""
    if math.isfinite(obtained.low) and math.isfinite(obtained.high):
        return obtained.low, obtained.high
    spread = STANDARD_ERRORS * obtained.stderr if math.isfinite(obtained.stderr) else 0.0
    return obtained.value - spread, obtained.value + spread


def decide(paper: str, claim: Claim, obtained: Estimate, seconds: float) -> Verdict:
    """Make the Verdict on a claim from a number obtained in so many seconds; errors as for
    `judge`."""
    verdict = judge(claim, obtained)
    no_error = f"No standard error: {claim.exact}." if not math.isfinite(obtained.stderr) else ""
    low, high = interval_of(obtained)
    if no_error and low == high:
        low = high = math.nan
    return Verdict(
        paper,
        claim.where,
        claim.says,
        claim.expected,
        claim.within,
        obtained.value,
        obtained.stderr,
        verdict,
        claim.known,
        " ".join(filter(None, (claim.why, no_error))),
        seconds,
        claim.side,
        source=claim.source,
        low=low,
        high=high,
    )


def examine(paper: str, claim: Claim, context: Context) -> tuple[Verdict, Estimate | None]:
    """Compute a claim and judge it; a claim that raises gets the verdict "error" and no estimate,
    one that needs a library of an extra that is not installed "skipped"."""
    start = time.perf_counter()
    try:
        obtained = claim.compute(context)
        return decide(paper, claim, obtained, time.perf_counter() - start), obtained
    except ImportError as error:
        if error.name is None or error.name not in EXTRAS:
            return without_number(paper, claim, "error", reason(error)), None
        extra = EXTRAS[error.name]
        sentence = f"{error.name} is not installed; pip install 'kleiber[{extra}]' installs it."
        return without_number(paper, claim, SKIPPED, sentence), None
    except Exception as error:
        kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
        sentence = f"{kind}{reason(error)}"
    return without_number(paper, claim, "error", sentence, time.perf_counter() - start), None


def without_number(
    paper: str, claim: Claim, verdict: str, why: str, seconds: float = 0.0
) -> Verdict:
    """Make the Verdict "error" or "skipped" on a claim of which no number is known."""
    return Verdict(
        paper, claim.where, claim.says, claim.expected, claim.within, math.nan, math.nan,
        verdict, claim.known, why, seconds, claim.side, source=claim.source,
    )  # fmt: skip


def describe_verdict(verdict: Verdict) -> dict[str, Any]:
    """Return a verdict as ``check --json`` prints it; null where a number is unknown."""
    return as_plain(verdict)
