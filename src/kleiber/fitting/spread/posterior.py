"""Posterior of a fit by an affine-invariant sampler (extra ``posterior``: emcee).

The likelihood of a residual is exp(-rho(r)/tau)/Z(tau) with rho the loss of the noise model: normal
for least squares (tau the variance), and for a Huber width d

    Z = sqrt(2 pi tau) erf(d/sqrt(2 tau)) + (2 tau/d) exp(-d^2/(2 tau)),

normal in the middle with exponential tails. tau is sampled too (for Student-t noise its scale s).
Priors are flat in the coordinates in which parameters are fitted: in log(theta) for a positive
parameter, in theta for an exponent, and flat in log(tau).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import special

from kleiber.arguments import check_memory, check_text, check_whole
from kleiber.errors import BadLaw, BadTable, NotConverged, nearest
from kleiber.fitting.engine.noise import evaluate_loss
from kleiber.fitting.engine.problem import Problem
from kleiber.fitting.record import Fit, check_fit
from kleiber.fitting.spread.intervals import check_level
from kleiber.fitting.table_problem import pose_rows, read_measurements
from kleiber.maths.seeds import stream
from kleiber.table import as_frame, digest

WALKERS_PER_PARAM = 8
MIN_AUTOCORRELATION_TIMES = 50.0  # autocorrelation times that a chain must last
MIN_STEPS = 100  # steps, from which an autocorrelation time can be told at all


@dataclass(frozen=True)
class Posterior:
    """Samples of the posterior of a fit, with how well the chain mixed.

    Attributes
    ----------
    samples
        The samples of every free parameter by name, arrays of one length, and of ``"tau"``, the
        dispersion of the noise (of ``"s"``, its scale, for Student-t noise).
    autocorrelation
        The longest autocorrelation time of the chain, in steps.
    acceptance
        The share of proposed moves that were accepted.
    """

    samples: Mapping[str, Float[np.ndarray, "samples"]]
    autocorrelation: float
    acceptance: float

    def interval(self, name: str, level: float = 0.95) -> tuple[float, float]:
        """Give the equal-tailed interval of a sampled parameter.

        Parameters
        ----------
        name
            The name of a free parameter, or ``"tau"`` (``"s"``).
        level
            The level of the interval, between 0 and 1.

        Returns
        -------
        tuple of float
            The ends, low and high.

        Raises
        ------
        BadLaw
            For a name that was not sampled.
        """
        level = check_level(level)
        check_text("name", name, "the name of a parameter")
        if name not in self.samples:
            known = list(self.samples)
            raise BadLaw(
                f"No samples of {name!r}; sampled are {', '.join(known)}.{nearest(name, known)}"
            )
        low, high = np.quantile(self.samples[name], [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def sample_posterior(fit: Fit, table: Any, *, steps: int = 8000, seed: int = 0) -> Posterior:
    """Sample the posterior of a fit's free parameters, with the extra ``posterior`` (emcee).

    The likelihood of a residual r is exp(-rho(r)/tau)/Z(tau), with rho the loss function of the fit
    and tau its dispersion, which is sampled too. Priors are flat in the coordinates in which
    parameters are fitted: in the logarithm of a positive parameter, in an exponent itself, and in
    log(tau). The sampler is affine-invariant (Goodman & Weare 2010). Rows count as independent.

    Parameters
    ----------
    fit
        A usable fit without priors and groups, with no parameter at its bound.
    table
        The table that it was fitted to.
    steps
        The number of steps of the chain, at least 100; too short a chain is refused.
    seed
        The seed of the walkers and their moves.

    Returns
    -------
    Posterior
        ``samples`` of every free parameter, ``interval(name, level)``, and how well the chain
        mixed: ``autocorrelation`` (in steps) and ``acceptance``.

    Raises
    ------
    BadLaw
        For a fit that has no such posterior.
    BadTable
        For another table.
    ValueError
        For fewer than 100 steps.
    ImportError
        Without emcee.
    NotConverged
        When the chain is shorter than 50 autocorrelation times.

    Examples
    --------
    >>> import kleiber
    >>> sizes = [1e6, 3e6, 1e7, 3e7, 1e8, 3e8]
    >>> noise = [1.001, 0.999, 1.0, 1.001, 0.999, 1.0]
    >>> runs = {"n_params": sizes, "loss": [u * 90 / n**0.2 for u, n in zip(noise, sizes)]}
    >>> ask = kleiber.Options(fixed={"alpha": 0.2}, noise=kleiber.Noise("log"), draws=0)
    >>> found = kleiber.fit("A/n_params**alpha", runs, ask)
    >>> low, high = kleiber.sample_posterior(found, runs, steps=1600).interval("A")
    >>> low < 90 < high
    True
    """
    try:
        emcee: Any = importlib.import_module("emcee")
    except ModuleNotFoundError:
        raise ImportError("A posterior needs emcee: pip install 'kleiber[posterior]'.") from None
    fit, steps = check_fit(fit), check_whole("steps", steps, low=MIN_STEPS)
    _check_fit(fit)
    width = len(fit.free) + 1
    size = 8 * steps * WALKERS_PER_PARAM * width * (width + 1)
    check_memory(f"a chain of {steps:,} steps", size, "ask for fewer steps")
    frame = as_frame(table)
    if digest(frame) != fit.digest:
        raise BadTable("This is not the table of the fit: give the one it was fitted to.")
    problem = _pose_again(fit, frame)
    centre = _centre(fit, problem)
    rng = stream(seed, "posterior")
    walkers = WALKERS_PER_PARAM * len(centre)
    start = centre + _step(fit, problem, len(centre)) * rng.standard_normal((walkers, len(centre)))
    sampler = emcee.EnsembleSampler(
        walkers, len(centre), _log_density, args=(problem,), vectorize=True
    )
    sampler.random_state = np.random.RandomState(int(rng.integers(2**31))).get_state()
    sampler.run_mcmc(start, steps)
    time = float(np.max(sampler.get_autocorr_time(tol=0)))
    if not time * MIN_AUTOCORRELATION_TIMES <= steps:
        raise NotConverged(
            f"The chain of {steps} steps lasts only {steps / time:.0f} autocorrelation times, of "
            f"the {MIN_AUTOCORRELATION_TIMES:.0f} needed; give more steps.",
            residual=time,
            iterations=steps,
        )
    chain = sampler.get_chain(discard=int(5 * time), thin=max(1, int(time / 2)), flat=True)
    theta = problem.from_coordinate(chain[:, :-1])
    named = {name: theta[:, k] for k, name in enumerate(fit.free)}
    named["s" if fit.noise.dof is not None else "tau"] = np.exp(chain[:, -1])
    return Posterior(named, time, float(sampler.acceptance_fraction.mean()))


def _check_fit(fit: Fit) -> None:
    """Raise BadLaw for a fit that has no such posterior."""
    if fit.options.priors:
        raise BadLaw("This posterior has flat priors; the fit was given others.")
    if fit.options.by is not None:
        raise BadLaw(f"This posterior is of independent rows, not of groups by {fit.options.by!r}.")
    if not fit.usable:
        raise BadLaw(f"No posterior of a fit that is {fit.status}: {fit.reason}.")
    stuck = [name for name in fit.free if not fit.law.domains[name].contains(fit.params[name])]
    if stuck:
        raise BadLaw(
            f"{', '.join(stuck)} at its bound has no proper posterior under a flat prior; drop "
            f"that term, or fix it (fixed={{{stuck[0]!r}: {fit.params[stuck[0]]:g}}})."
        )


def _pose_again(fit: Fit, frame: Any) -> Problem:
    options = replace(fit.options, draws=0, start=None, real=(), priors={})
    return pose_rows(fit.law, read_measurements(fit.law, frame, options), options)


def _centre(fit: Fit, problem: Problem) -> Float[np.ndarray, "coordinates"]:
    """Return the fit's own point, with log(tau) (or log(s)) from its residuals."""
    u = problem.to_coordinate(np.array([[fit.params[name] for name in fit.free]]))[0]
    r = problem.differentiate(u[None], False).residual
    scores = evaluate_loss(problem.noise, r, np.ones(1)).psi[0] * r[0]
    tau = float(np.average(scores, weights=problem.weights))
    if fit.noise.dof is not None:
        tau = float(np.median(np.abs(r)) / 0.6745)
    return np.append(u, np.log(max(tau, 1e-300)))


def _step(fit: Fit, problem: Problem, width: int) -> Float[np.ndarray, "coordinates"]:
    """Return a tenth of a standard error in each fitted coordinate."""
    size = np.full(width, 0.01)
    for k, (name, domain) in enumerate(problem.law.domains.items()):
        stretch = float(domain.derivative(domain.to_coordinate(fit.params[name])))
        error = fit.stderr.get(name, np.nan) / stretch if stretch else np.nan
        size[k] = 0.1 * error if np.isfinite(error) and error > 0 else 0.01
    return size


def _log_density(
    point: Float[np.ndarray, "walkers coordinates"], problem: Problem
) -> Float[np.ndarray, "walkers"]:
    u, tau = point[:, :-1], np.exp(point[:, -1])
    floor = np.array([item.floor for item in problem.law.domains.values()])
    outside = (u <= floor).any(axis=1) | (np.abs(point[:, -1]) > 300)
    residual = problem.differentiate(
        np.where(outside[:, None], np.abs(u) + 1e-6, u), False
    ).residual
    with np.errstate(all="ignore"):
        rho = evaluate_loss(problem.noise, residual, tau).rho @ problem.weights
        count = problem.weights.sum()
        if problem.noise.dof is not None:
            value = -rho
        else:
            value = -rho / tau - count * _log_normaliser(tau, problem.noise.delta)
    return np.where(outside | ~np.isfinite(value), -np.inf, value)


def _log_normaliser(
    tau: Float[np.ndarray, "walkers"], delta: float | None
) -> Float[np.ndarray, "walkers"]:
    normal = np.sqrt(2 * np.pi * tau)
    if delta is None:
        return np.log(normal)
    x = delta / np.sqrt(2 * tau)
    return np.log(normal * special.erf(x) + 2 * tau / delta * np.exp(-(x**2)))
