"""The papers whose claims are checked, from the ``claims`` of each system.

A system that is added is found by `kleiber check`, the tests and the lists without further changes.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from kleiber.arguments import check_choice, check_path, check_record, check_whole
from kleiber.claim import SCALES, Claim, Context, Verdict, decide, examine
from kleiber.errors import nearest, shown
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
        sentence in ``why``, and the others are computed all the same.

    Raises
    ------
    ValueError
        For an unknown paper or scale, or a negative seed.

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
    return list(each_verdict(*papers, scale=scale, seed=seed, keep=keep, progress=progress))


def each_verdict(
    *papers: str | Paper,
    scale: str = "quick",
    seed: int = 0,
    keep: str | Path | None = None,
    progress: Progress | None = None,
) -> Iterator[Verdict]:
    """Yield the verdicts of ``check`` one by one, each as soon as it is known."""
    check_choice("scale", scale, SCALES)
    seed, report = check_whole("seed", seed), check_progress(progress)
    if keep is not None:
        check_path("keep", keep, "the path of a folder or None")
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
    todo = [
        (paper, claim)
        for paper in dict.fromkeys(chosen)
        for claim in paper.claims
        if SCALES.index(claim.scale) <= SCALES.index(scale)
    ]
    digests = {paper: source_digest(paper.module) for paper, _ in todo if folder is not None}
    for k, (paper, claim) in enumerate(todo):
        report(k, len(todo), claim.says)
        yield _check_claim(paper, claim, context, digests.get(paper, ""))


def _make_folder(folder: Path) -> Path:
    """Return the folder, created if necessary, after checking that it is writable."""
    folder.mkdir(parents=True, exist_ok=True)
    resolve_target(folder / "claim.json")
    return folder


def _check_claim(paper: Paper, claim: Claim, context: Context, digest: str) -> Verdict:
    if context.keep is None:
        return examine(paper.name, claim, context)[0]
    file, identity = kept_file(context.keep, paper.name, claim, context.scale, context.seed, digest)
    if (known := read_finished(file, identity)) is not None:
        return replace(decide(paper.name, claim, *known), kept=True)
    verdict, obtained = examine(paper.name, claim, context)
    if obtained is not None and verdict.verdict != "error":
        save_finished(file, identity, obtained, verdict.seconds)
    return verdict


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
