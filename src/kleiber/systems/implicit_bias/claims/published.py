"""All nine nets and data sets as published, weight decay, SGD, other norms, and a longer run.

The seed-averaged curves and fitted exponents are those of the authors' repository,
Francill99/deep_norm (data set ``norm_curves``). Their own rule with their windows gives their
gamma_1, gamma_2 and sigma to the digits that they print. What a difference means is judged by its
error: of nine differences one in three is above one sigma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from kleiber.claim import Claim, Context, Estimate, estimate
from kleiber.data.norm_curves import DATA, Published, load_norm_curves
from kleiber.systems.implicit_bias.collapse import measure_collapse
from kleiber.systems.implicit_bias.collapse_record import Collapse

Compute = Callable[[Context], Estimate]
NETS, SETS = ("CNN", "ResNet", "ViT"), ("MNIST", "CIFAR10", "CIFAR100")
NINE = tuple(f"{net}_{data}" for net in NETS for data in SETS)
SGD = ("CNN_CIFAR10_SGD", "CNN_CIFAR100_SGD")
DECAY = tuple(f"{net}_CIFAR10_wd" for net in NETS)
NORMS = tuple(f"{net}_CIFAR10_norms" for net in NETS)
LONG = "ResNet_CIFAR10_long"
EXACT = "it is refitted from the published means by the authors' own rule"
SURE = 0.95


def curves(context: Context, name: str) -> tuple[Published, ...]:
    """Return the published curves of one file, read once."""
    return context.share(f"norm curves {name}", lambda: load_norm_curves(name))


def fitted(context: Context, name: str, rule: str, k: int = 0) -> Collapse:
    """Return the two laws of one set of curves by a rule."""

    def make() -> Collapse:
        item = curves(context, name)[k]
        optima = item.optima if rule == "authors" else None
        return measure_collapse(item.curves, optima, rule, None, None, seed=context.seed)

    return context.share(f"collapse of {name} {k} {rule}", make)


def distance(context: Context, name: str, rule: str, k: int = 0) -> float:
    """Return gamma_1 gamma_2 - gamma_measured in units of sigma."""
    found = fitted(context, name, rule, k)
    values = found.estimates
    gap = values["gamma_predicted"].value - values["gamma_measured"].value
    return gap / found.sigma


def most(count: int) -> float:
    """Return the mean square of so many standard normal differences that 5% exceed."""
    return float(stats.chi2.ppf(SURE, count)) / count


def mean_square(names: Sequence[str], rule: str) -> Compute:
    """Return the mean square of the differences in units of sigma."""

    def compute(context: Context) -> Estimate:
        each = [
            distance(context, name, rule, k)
            for name in names
            for k in range(len(curves(context, name)))
        ]
        return estimate(float(np.mean(np.square(each))))

    return compute


def apart(name: str) -> Compute:
    """Return |gamma_1 gamma_2 - gamma_measured| in units of sigma."""
    return lambda context: estimate(abs(distance(context, name, "authors")))


def product(item: Published) -> tuple[float, float]:
    """Return the product of the authors' exponents, and its standard error."""
    f = item.fitted
    value = f["gamma_1"] * f["gamma_2"]
    relative = np.hypot(f["err_gamma_1"] / f["gamma_1"], f["err_gamma_2"] / f["gamma_2"])
    return value, abs(value) * float(relative)


def scatter(quantity: str) -> Compute:
    """Return the mean square scatter of a quantity over weight decays, in units of its error."""

    def compute(context: Context) -> Estimate:
        squares, freedom = 0.0, 0
        for name in DECAY:
            items = curves(context, name)
            pairs = [
                product(item)
                if quantity == "product"
                else (item.fitted[quantity], item.fitted[f"err_{quantity}"])
                for item in items
            ]
            values, errors = np.array(pairs).T
            mean = np.average(values, weights=errors**-2)
            squares += float(np.sum(((values - mean) / errors) ** 2))
            freedom += len(items) - 1
        return estimate(squares / freedom)

    return compute


def ended(name: str) -> Compute:
    """Return the share of n_data whose error is smallest at the end of training."""
    return lambda context: estimate(float(fitted(context, name, "robust").at_end.mean()))


def _apart(name: str, known: str = "holds", why: str = "") -> Claim:
    net, data = name.split("_")
    return Claim(
        f"main table, {net} on {data}",
        "gamma_1 gamma_2 agrees with gamma_measured: they differ by at most 2 sigma, by the "
        "authors' rule and window.",
        expected=2.0,
        within=0.0,
        compute=apart(name),
        known=known,
        why=why,
        side="at_most",
        exact=EXACT,
        needs=(DATA,),
        source="abstract",
    )


def _together(
    where: str, says: str, names: Sequence[str], count: int, rule: str, source: str,
    side: str = "at_most", known: str = "holds", why: str = "",
) -> Claim:  # fmt: skip
    return Claim(
        where,
        says,
        expected=most(count),
        within=0.0,
        compute=mean_square(names, rule),
        known=known,
        why=why,
        side=side,
        exact=EXACT if rule == "authors" else "the published means have no errors of their own",
        needs=(DATA,),
        source=source,
    )


STATEMENTS: tuple[Claim, ...] = (
    *(_apart(name) for name in NINE if not name.endswith("CIFAR10") and name != "ViT_MNIST"),
    _apart(
        "ViT_MNIST",
        "fails",
        "They differ by 2.1 sigma; of nine such differences one above 2 is expected in one paper "
        "of three, so this is no evidence against the law.",
    ),
    _together(
        "abstract, all nine",
        "The law is consistent across CNN, ResNet and ViT on MNIST, CIFAR-10 and CIFAR-100: the "
        "mean square of gamma_1 gamma_2 - gamma_measured, in units of sigma, is what nine errors "
        "make in 95% of cases.",
        NINE,
        9,
        "authors",
        "abstract",
    ),
    _together(
        "main table, all nine, by our rule",
        "The agreement does not depend on the windows that were chosen: with the same n_data in "
        "all fits and a window found by a rule, it is what nine errors make in 95% of cases.",
        NINE,
        9,
        "robust",
        "ours",
        known="fails",
        why="The mean square is 7.5, from CNN and ResNet on CIFAR-100 (5.8 and 4.6 sigma): there "
        "the product is well below the measured exponent unless the smallest n_data are left out.",
    ),
    _together(
        "appendix, SGD in place of Adam",
        "With SGD gamma_1 gamma_2 still agrees with gamma_measured, for the CNN on CIFAR-10 and "
        "CIFAR-100.",
        SGD,
        2,
        "authors",
        "second-hand",
    ),
    Claim(
        "appendix, weight decay",
        "Moderate weight decay does not change the product gamma_1 gamma_2: its scatter over three "
        "weight decays, of three nets, is what its errors make in 95% of cases.",
        expected=most(6),
        within=0.0,
        compute=scatter("product"),
        side="at_most",
        exact="both exponents and their errors are the published ones",
        needs=(DATA,),
        source="second-hand",
    ),
    Claim(
        "appendix, weight decay",
        "Moderate weight decay changes gamma_1: its scatter over three weight decays is more than "
        "its errors make.",
        expected=most(6),
        within=0.0,
        compute=scatter("gamma_1"),
        side="at_least",
        exact="the exponents and their errors are the published ones",
        needs=(DATA,),
        source="second-hand",
    ),
    _together(
        "appendix, four other norms",
        "Four other norms give inconsistent products: gamma_1 gamma_2 differs from gamma_measured "
        "by more than errors make.",
        NORMS,
        12,
        "authors",
        "second-hand",
        side="at_least",
    ),
    Claim(
        "longer ResNet run on CIFAR-10",
        "With longer training the smallest error lies inside the run: for no n_data is it the last "
        "one logged.",
        expected=0.0,
        within=0.0,
        compute=ended(LONG),
        known="fails",
        why="It is still the last one at eight of nine n_data, although the error falls to .071 "
        "(.079 in the published run): gamma_2 describes how long the nets were trained.",
        exact="it is read off the published means",
        needs=(DATA,),
        source="ours",
    ),
)
