"""The papers whose claims are checked, from the ``claims`` of each system.

A system that is added is found by `kleiber check`, the tests and the lists without further changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from kleiber.arguments import check_choice, check_path, check_record, check_text, check_whole
from kleiber.claim import (
    SCALES,
    SKIPPED,
    Claim,
    Context,
    Estimate,
    Verdict,
    decide,
    examine,
    without_number,
)
from kleiber.data.fetch import fetch
from kleiber.errors import BadTable, nearest, shown
from kleiber.files import resolve_target
from kleiber.progress import Progress, check_progress
from kleiber.systems import names
from kleiber.systems.keeping import (
    keep_folder,
    kept_file,
    read_finished,
    save_finished,
    source_digest,
)

PACKAGE = __name__.rpartition(".")[0]


@dataclass(frozen=True)
class Paper:
    """A paper: its name on the command line, title, citation and claims.

    ``module`` is the module of the claims, "" for a paper that is not part of kleiber.
    """

    name: str
    title: str
    citation: str
    claims: tuple[Claim, ...]
    module: str = ""


def catalogue() -> dict[str, Paper]:
    """Return the paper of every system by its name, sorted."""
    found: dict[str, Paper] = {}
    for name in names():
        module = importlib.import_module(f"{PACKAGE}.{name}.claims")
        parts = module.TITLE, module.CITATION, tuple(module.CLAIMS)
        found[name] = Paper(name, *parts, module=module.__name__)
    return found


def find(name: str) -> Paper:
    """Return the paper of that name. Raises ValueError with the nearest name for any other."""
    known = catalogue()
    normalised = name.strip().casefold().replace("-", "_")
    if normalised not in known:
        raise ValueError(
            f"No paper is called {shown(name)}.{nearest(normalised, known)} "
            f"There are: {', '.join(known) or 'none'}."
        )
    return known[normalised]


def check(
    *papers: str | Paper,
    scale: str = "quick",
    seed: int = 0,
    only: str = "",
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> list[Verdict]:
    """Compute the claims of papers and say which of them hold.

    A claim is that a number lies in a range. It holds where the whole interval of the number
    obtained (2 standard errors either way, or its own) lies in the range, fails where none of it
    does, and is inconclusive otherwise.

    Parameters
    ----------
    papers
        Names of papers, such as ``"hard_tail"`` (``kleiber list papers``), or ``Paper`` records;
        all papers if none is given.
    scale
        ``"quick"`` (as in CI, minutes), ``"laptop"`` (the numbers that we quote) or ``"full"`` (the
        papers' own sizes).
    seed
        The seed of everything that is drawn, a whole number from 0.
    only
        Compute only the claims whose place or sentence contains this text, in any case.
    keep
        The folder that keeps finished claims at the scales ``"laptop"`` and ``"full"``, so that
        they are not computed again. By default $KLEIBER_KEEP, else the user's cache folder. Nothing
        is kept at ``"quick"``.
    progress
        Called with (claims done, claims in all, what the claim says) when a claim is begun.

    Returns
    -------
    list of Verdict
        One for each claim. A claim that cannot be computed has the verdict ``"error"`` with its
        sentence in ``why``, and the others are computed all the same. One whose data are neither
        here nor to be downloaded is ``"skipped"``, and ``why`` names the command that fetches them.

    Raises
    ------
    ValueError
        For an unknown paper or scale, a negative seed, or an ``only`` that no claim contains.

    Examples
    --------
    >>> import kleiber
    >>> from kleiber.systems.papers import Paper
    >>> def measure(context):
    ...     return kleiber.Estimate(0.97, stderr=0.01, low=0.95, high=0.99)
    >>> claim = kleiber.Claim("section 3", "The loss falls as 1/width.", 1.0, 0.1, measure)
    >>> paper = Paper("own", "A paper", "Somebody 2026", (claim,))
    >>> [(item.obtained, item.verdict) for item in kleiber.check(paper)]
    [(0.97, 'holds')]
    """
    return list(
        each_verdict(*papers, scale=scale, seed=seed, only=only, keep=keep, progress=progress)
    )


def each_verdict(
    *papers: str | Paper,
    scale: str = "quick",
    seed: int = 0,
    only: str = "",
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Verdict]:
    """Yield the verdicts of ``check`` one by one, each as soon as it is known."""
    check_choice("scale", scale, SCALES)
    seed, report = check_whole("seed", seed), check_progress(progress)
    if keep is not None:
        check_path("keep", keep, "the path of a folder or None")
    check_text("only", only)
    chosen = [
        find(item)
        if isinstance(item, str)
        else check_record("papers", item, Paper, "names of papers or Papers")
        for item in papers
    ]
    if not papers:
        chosen = list(catalogue().values())
    folder = None if scale == "quick" else _make_folder(Path(keep) if keep else keep_folder())
    context = Context(seed, scale, folder)
    todo = _select(list(dict.fromkeys(chosen)), scale, only)
    absent: dict[str, str] = {}
    digests = {paper: source_digest(paper.module) for paper, _ in todo if folder is not None}
    for k, (paper, claim) in enumerate(todo):
        report(k, len(todo), claim.says)
        yield _check_claim(paper, claim, context, digests.get(paper, ""), absent)


def _select(papers: Sequence[Paper], scale: str, only: str) -> list[tuple[Paper, Claim]]:
    """Return the claims up to a scale that contain a text. Raises ValueError if none does."""
    found = [
        (paper, claim)
        for paper in papers
        for claim in paper.claims
        if SCALES.index(claim.scale) <= SCALES.index(scale)
        and only.casefold() in f"{claim.where}: {claim.says}".casefold()
    ]
    if only and not found:
        names = ", ".join(paper.name for paper in papers)
        raise ValueError(f"No claim of {names} up to scale {scale} contains {shown(only)}.")
    return found


def _missing(claim: Claim, absent: dict[str, str]) -> str:
    """Return why the data of a claim cannot be had, "" if they are here; each is tried once."""
    for name in claim.needs:
        if name not in absent:
            absent[name] = _why_absent(name)
    return next((absent[name] for name in claim.needs if absent[name]), "")


def _why_absent(name: str) -> str:
    try:
        fetch(name)
    except BadTable:  # no data set of ours: the claim reads it in its own way
        return ""
    except FileNotFoundError:
        return (
            f"The data set {name} is absent; `kleiber data fetch {name}` fetches it or says where "
            "to put it."
        )
    return ""


def _make_folder(folder: Path) -> Path:
    """Return the folder, created if necessary, after checking that it is writable."""
    folder.mkdir(parents=True, exist_ok=True)
    resolve_target(folder / "claim.json")
    return folder


def _check_claim(
    paper: Paper, claim: Claim, context: Context, digest: str, absent: dict[str, str]
) -> Verdict:
    if context.keep is None:
        return _compute(paper, claim, context, absent)[0]
    file, identity = kept_file(context.keep, paper.name, claim, context.scale, context.seed, digest)
    if (known := read_finished(file, identity)) is not None:
        return replace(decide(paper.name, claim, *known), kept=True)
    verdict, obtained = _compute(paper, claim, context, absent)
    if obtained is not None and verdict.verdict != "error":
        save_finished(file, identity, obtained, verdict.seconds)
    return verdict


def _compute(
    paper: Paper, claim: Claim, context: Context, absent: dict[str, str]
) -> tuple[Verdict, Estimate | None]:
    """Compute and judge a claim; one whose data are absent is skipped, without an estimate."""
    if why := _missing(claim, absent):
        return without_number(paper.name, claim, SKIPPED, why), None
    return examine(paper.name, claim, context)


def list_papers() -> list[dict[str, str]]:
    """List every paper with its title, number of claims, and citation."""
    return [
        {
            "name": paper.name,
            "title": paper.title,
            "claims": str(len(paper.claims)),
            "citation": paper.citation,
        }
        for paper in catalogue().values()
    ]
