"""Finished claims saved in a folder, so that a long check can be interrupted and resumed.

There is one JSON file per claim, written atomically. It is valid only for the same paper, claim,
scale, seed, version of kleiber and sources: a change in any module that the paper's module depends
on invalidates it.
"""

from __future__ import annotations

import ast
import hashlib
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kleiber.claim import Claim, Estimate
from kleiber.files import write_atomically
from kleiber.version import __version__

SOURCE = Path(__file__).parents[1]
PACKAGE = SOURCE.name
NUMBERS = ("value", "stderr", "low", "high", "seconds")


def keep_folder() -> Path:
    """Return the default folder of finished claims: $KLEIBER_KEEP, else the user's cache folder."""
    import pooch  # pyright: ignore[reportMissingTypeStubs]  # here: it is slow to import

    given = os.environ.get("KLEIBER_KEEP")
    return Path(given) if given else Path(pooch.os_cache(PACKAGE)) / "claims"


def source_digest(module: str) -> str:
    """Return the SHA-256 of the sources of a module and of all modules of kleiber it depends on."""
    done: dict[str, bytes] = {}
    pending = [module]
    while pending:
        name = pending.pop()
        file = source_of(name)
        if file is None or name in done:
            continue
        done[name] = file.read_bytes()
        pending += imported(ast.parse(done[name]))
    total = hashlib.sha256(__version__.encode())
    for name in sorted(done):
        total.update(f"\n{name} {len(done[name])}\n".encode() + done[name])
    return total.hexdigest()


def source_of(module: str) -> Path | None:
    """Return the file of a module of this package, None for any other name."""
    package, *rest = module.split(".")
    if package != PACKAGE or not rest:
        return None  # another package; and the façade, which nobody inside imports
    base = SOURCE.joinpath(*rest)
    files = (base.with_suffix(".py"), base / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def imported(tree: ast.Module) -> Iterator[str]:
    """Yield every dotted name that the absolute imports of a module may refer to."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def kept_file(
    folder: Path, paper: str, claim: Claim, scale: str, seed: int, digest: str
) -> tuple[Path, dict[str, Any]]:
    """Return the file of a finished claim, and the entries that identify the claim in it."""
    identity: dict[str, Any] = {
        "paper": paper,
        "where": claim.where,
        "says": claim.says,
        "scale": scale,
        "seed": seed,
        "version": __version__,
        "digest": digest,
    }
    key = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:16]
    return folder / f"{paper}-{scale}-{key}.json", identity


def read_finished(file: Path, identity: dict[str, Any]) -> tuple[Estimate, float] | None:
    """Read a finished claim's estimate and seconds; None if it is missing or does not match."""
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
        if {name: given[name] for name in identity} != identity:
            return None
        values = [math.nan if given[name] is None else float(given[name]) for name in NUMBERS]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Estimate(*values[:4]), values[4]


def save_finished(file: Path, identity: dict[str, Any], obtained: Estimate, seconds: float) -> None:
    """Save the estimate of a finished claim. Raises OSError if it cannot be written."""
    values = (obtained.value, obtained.stderr, obtained.low, obtained.high, seconds)
    plain = [value if math.isfinite(value) else None for value in values]
    file.parent.mkdir(parents=True, exist_ok=True)
    with write_atomically(file) as temporary:
        document = identity | dict(zip(NUMBERS, plain, strict=True))
        temporary.write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
