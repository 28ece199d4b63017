"""The catalogue of laws, and how a law is found by name, file or formula.

Examples
--------
>>> import kleiber
>>> kleiber.laws.chinchilla.formula
'E + A*n_params**-alpha + B*n_tokens**-beta'
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Collection
from typing import Any

from kleiber.arguments import check_record, check_text, check_texts
from kleiber.errors import BadLaw, nearest, shown
from kleiber.law import Law, law_from_file, law_from_formula
from kleiber.laws.bottleneck import bottleneck as bottleneck
from kleiber.laws.bottleneck import bottleneck_batch_easy as bottleneck_batch_easy
from kleiber.laws.bottleneck import bottleneck_batch_lazy as bottleneck_batch_lazy
from kleiber.laws.bottleneck import bottleneck_batch_rich as bottleneck_batch_rich
from kleiber.laws.bottleneck import bottleneck_data_easy as bottleneck_data_easy
from kleiber.laws.bottleneck import bottleneck_data_lazy as bottleneck_data_lazy
from kleiber.laws.bottleneck import bottleneck_data_rich as bottleneck_data_rich
from kleiber.laws.bottleneck import bottleneck_easy as bottleneck_easy
from kleiber.laws.bottleneck import bottleneck_exponents as bottleneck_exponents
from kleiber.laws.bottleneck import bottleneck_lazy as bottleneck_lazy
from kleiber.laws.bottleneck import bottleneck_rich as bottleneck_rich
from kleiber.laws.curves import broken as broken
from kleiber.laws.curves import broken_1 as broken_1
from kleiber.laws.curves import broken_2 as broken_2
from kleiber.laws.curves import broken_3 as broken_3
from kleiber.laws.curves import m2 as m2
from kleiber.laws.curves import m3 as m3
from kleiber.laws.curves import m4 as m4
from kleiber.laws.curves import power_law as power_law
from kleiber.laws.curves import power_law_floor as power_law_floor
from kleiber.laws.inference import exponent_saturating as exponent_saturating
from kleiber.laws.inference import failure_gamma as failure_gamma
from kleiber.laws.inference import failure_power as failure_power
from kleiber.laws.inference import failure_two_tails as failure_two_tails
from kleiber.laws.inference import neg_log_pass_power as neg_log_pass_power
from kleiber.laws.time import early_norm as early_norm
from kleiber.laws.time import optimal_norm as optimal_norm
from kleiber.laws.time import steps_and_size as steps_and_size
from kleiber.laws.time import three_regimes as three_regimes
from kleiber.laws.training import chinchilla as chinchilla
from kleiber.laws.training import chinchilla_tied as chinchilla_tied
from kleiber.laws.training import data_constrained as data_constrained
from kleiber.laws.training import kaplan as kaplan
from kleiber.laws.training import over_training as over_training
from kleiber.laws.width import width_crossover as width_crossover


def catalogue() -> dict[str, Law]:
    """Load every law that a module of this package defines.

    Returns
    -------
    dict of Law
        The laws by name, sorted.

    Examples
    --------
    >>> import kleiber
    >>> "chinchilla" in kleiber.laws.catalogue()
    True
    """
    found: dict[str, Law] = {}
    for item in pkgutil.iter_modules(__path__, f"{__name__}."):
        module = importlib.import_module(item.name)
        found |= {law.name: law for law in vars(module).values() if isinstance(law, Law)}
    return dict(sorted(found.items()))


def find_law(given: Any, columns: Collection[str]) -> Law:
    """A Law as it is, or the one that a text means (``find``)."""
    if isinstance(given, str):
        return find(given, columns)
    return check_record(
        "law", given, Law, "a kleiber.Law, the name of one, a formula, or file.py:name"
    )


def find(spec: str, columns: Collection[str]) -> Law:
    """Find the law that a text means: a name of the catalogue, ``file.py:name``, or a formula.

    Parameters
    ----------
    spec
        The text. A file is run as Python.
    columns
        The names of the columns that a formula may use; its other symbols are parameters.

    Returns
    -------
    Law
        The law.

    Raises
    ------
    BadLaw
        For an unknown name or an unusable file.
    BadFormula
        For text that is no formula.

    Examples
    --------
    >>> import kleiber
    >>> kleiber.laws.find("A/width**alpha", ["width"]).params
    ('A', 'alpha')
    """
    spec = check_text("spec", spec, "the name of a law, a formula, or file.py:name").strip()
    columns = check_texts("columns", columns, "a list of column names")
    known = catalogue()
    if spec in known:
        return known[spec]
    if spec.endswith(".py"):
        raise BadLaw(
            f"{shown(spec)} is a file; say which of its laws is meant, as {spec[:60]}:name."
        )
    if ":" in spec:
        return law_from_file(spec)
    if spec.isidentifier():
        raise BadLaw(
            f"No law is called {shown(spec)}.{nearest(spec, known)} See: kleiber list laws "
            "(or give a formula, or file.py:name)."
        )
    return law_from_formula(spec, columns)
