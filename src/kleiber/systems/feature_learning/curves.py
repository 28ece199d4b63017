"""The columns that `FeatureLearning.solve` predicts, along time, for one set of parameters."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from kleiber.errors import NotConverged
from kleiber.systems.feature_learning import limits
from kleiber.systems.feature_learning.data import make_test_loss
from kleiber.systems.feature_learning.finite import Contour, contour, degrees, floor
from kleiber.systems.feature_learning.flow import Spectrum, State, march, weigh
from kleiber.systems.feature_learning.model import Model
from kleiber.systems.feature_learning.modes import Modes, power_modes
from kleiber.systems.feature_learning.noise import Noisy, NoisyState, march_noisy

Times = Float[np.ndarray, "times"]
FARTHEST = 1e-200  # smallest eigenvalue in the search for the range of modes
SHORTEST = 1e-6  # shortest time over which a flow is followed
UNLEARNED = 1e-6  # lam tau below which the sum over modes is linear in lam
PARTS: tuple[str, ...] = ("time_part", "width_part", "data_part", "batch_part")
FLOORS: tuple[str, ...] = ("model_floor", "data_floor", "floor")


@dataclass(frozen=True)
class LossCurve:
    """A loss along time with its rate dloss/dt, and the scalars of its flow."""

    loss: Times
    rate: Times
    a: Times
    n: Times
    p: Times
    train: Times | None = None


def reduced(model: Model, times: Times) -> dict[str, Times]:
    """Compute every column from the reduced dynamics. Raises NotConverged."""
    narrow = np.isfinite(model.width)
    finite_data, noisy = np.isfinite(model.n_data), np.isfinite(model.batch_size)
    infinite = _flow(_infinite_modes(model, times), model, times)
    finite_width = (
        _flow(_contour_of(model).test(_contour_of(model).modes.power), model, times)
        if narrow
        else infinite
    )
    found = (
        _finite_data_loss(model, times)
        if finite_data
        else _batch_noise_loss(model, times)
        if noisy
        else finite_width
    )
    columns = _scalars(model, found, times)
    if found.train is not None:
        columns["train_loss"] = np.maximum(found.train, 0.0)
    zero = np.zeros(times.size)
    parts = (
        infinite.loss,
        finite_width.loss - infinite.loss if narrow else zero,
        found.loss - finite_width.loss if finite_data else zero,
        found.loss - finite_width.loss if noisy else zero,
    )
    columns |= dict(zip(PARTS, parts, strict=True))
    return columns | {name: np.full(times.size, v) for name, v in floors(model).items()}


def learned(
    model: Model, times: Times, modes: Float[np.ndarray, "modes"]
) -> Float[np.ndarray, "times modes"]:
    """Return the learned fraction of each mode's target, averaged over draws for finite sizes."""
    lam = modes**-model.capacity
    infinite = np.isinf(model.width) and np.isinf(model.n_data)
    if infinite:
        nodes = _infinite_modes(model, times)
        count = np.append(nodes.count, np.zeros(lam.size))
        power = np.append(nodes.power, np.zeros(lam.size))
        nodes = Modes(np.append(nodes.lam, lam), count, power)
        if np.isinf(model.batch_size):
            state = march(_spectrum(nodes), model.richness, model.depth, _end_time(times))
            return np.real(state.at(times).learned[:, -lam.size :])
        return np.real(_run_noisy(model, nodes, None, times).learned[:, -lam.size :])
    path = _contour_of(model)
    response = path.kappa[:, None] / (path.kappa[:, None] + lam)
    rest = path.kappa_0 / (path.kappa_0 + lam)
    weights = path.dx[:, None] * (rest - response) / path.x[:, None]
    if np.isfinite(model.n_data):
        spectrum = path.train(path.modes.power, model.noise)
    else:
        spectrum = path.test(path.modes.power)
    if np.isfinite(model.batch_size):
        share = _run_noisy(model, path.modes, path, times).learned
    else:
        share = march(spectrum, model.richness, model.depth, _end_time(times)).at(times).learned
    return np.real(share @ weights)


def asymptotic(model: Model, times: Times) -> dict[str, Times]:
    """Compute every column from closed forms, with loss the sum of its parts.

    Raises ValueError if there is no closed form.
    """
    law, lazy = limits.law_of(model), limits.lazy_law(model)
    with np.errstate(divide="ignore"):
        alone = np.minimum(law.loss(times), lazy.loss(times))
        exponent = np.where(law.loss(times) <= lazy.loss(times), law.exponent, lazy.exponent)
        tau = law.tau(times)
        transient = limits.width_transient(model, tau)
        batch, steep = _asymptotic_batch(model, alone, tau)
    rest = floors(model)
    data = rest["floor"] - rest["model_floor"]
    loss = alone + transient + rest["model_floor"] + data + batch
    power = 1 - 1 / model.capacity
    fall = alone * exponent + transient * power + batch * np.where(steep, 1 + power, exponent)
    columns = {
        "loss": loss,
        "local_exponent": np.divide(fall, loss, out=np.zeros_like(loss), where=loss < np.inf),
        "kernel_growth": _asymptotic_growth(model, law, times),
    }
    zero = np.zeros(times.size)
    parts = (alone, transient + rest["model_floor"], zero + data, batch)
    columns |= dict(zip(PARTS, parts, strict=True))
    return columns | {name: np.full(times.size, v) for name, v in rest.items()}


def floors(model: Model) -> dict[str, float]:
    """Return the loss after infinite training for the width alone, the data alone, and both."""
    found: dict[str, float] = dict.fromkeys(FLOORS, 0.0)
    sizes = {
        "model_floor": (model.width, np.inf),
        "data_floor": (np.inf, model.n_data),
        "floor": (model.width, model.n_data),
    }
    for name, (width, n_data) in sizes.items():
        if min(width, n_data) < np.inf:
            path = _contour_of(model)
            noise = model.noise if np.isfinite(n_data) else 0.0
            found[name] = floor(path.modes, model.modes, width=width, n_data=n_data, noise=noise)
    return found


def infinite_loss(model: Model, times: Times) -> Times:
    """Return the loss for infinite sizes."""
    return _flow(_infinite_modes(model, times), model, times).loss


def loss_of(model: Model, times: Times) -> Times:
    """Return the loss without the other columns."""
    if np.isfinite(model.n_data):
        return _finite_data_loss(model, times).loss
    if np.isfinite(model.batch_size):
        return _batch_noise_loss(model, times).loss
    if np.isfinite(model.width):
        path = _contour_of(model)
        return _flow(path.test(path.modes.power), model, times).loss
    return infinite_loss(model, times)


def _end_time(times: Times) -> float:
    return max(float(times.max()), SHORTEST) * (1 + 1e-12)


def _spectrum(modes: Modes) -> Spectrum:
    return Spectrum(modes.lam, modes.power)


def _infinite_modes(model: Model, times: Times) -> Modes:
    """Return the modes of infinite sizes, down to those that are not learned by the last time.

    Raises NotConverged if the kernel has grown beyond floating-point numbers.
    """
    lowest, tau, until = 1e-30, _end_time(times), _end_time(times)
    while True:
        rough = power_modes(model.capacity, model.source, model.modes, lowest)
        for _ in range(500):
            learned_share = np.minimum(1, rough.lam * tau)
            norm = 4 * float((rough.power * learned_share**2 / rough.lam).sum())
            n = limits.readout_of(np.array([norm]), model.richness, model.depth)[0]
            new = until * float(1 + model.richness * n) ** (model.depth - 1)
            if new < 1.5 * tau:
                smallest = min(UNLEARNED / tau, 1e-3)
                return power_modes(model.capacity, model.source, model.modes, smallest)
            if new * lowest > UNLEARNED:
                break
            tau = new
        if lowest < FARTHEST:
            raise NotConverged("The kernel has grown beyond floating-point numbers.", tau, 500)
        lowest = lowest**2


def _contour_of(model: Model) -> Contour:
    return contour(
        model.capacity, model.source, model.modes, width=model.width, n_data=model.n_data
    )


def _flow(of: Modes | Spectrum, model: Model, times: Times) -> LossCurve:
    """Return the loss that a spectrum has along its own flow."""
    spectrum = _spectrum(of) if isinstance(of, Modes) else of
    state = march(spectrum, model.richness, model.depth, _end_time(times)).at(times)
    return _loss_along(spectrum, model, state)


def _loss_along(spectrum: Spectrum, model: Model, state: State) -> LossCurve:
    missing, learned = state.missing, state.learned
    w = spectrum.weight
    mixed = weigh(learned * missing, w)
    beta = _alignment(model, state.n, state.a, mixed)
    loss = weigh(missing * missing, w) + spectrum.atom
    rate = -2 * state.a * (weigh(missing * missing, w * spectrum.x) + beta * mixed)
    return LossCurve(loss, rate, state.a, state.n, state.n * state.a)


def _alignment(model: Model, n: Times, a: Times, mixed: Times) -> Times:
    """Return dlog Phi/dtau."""
    return (model.depth - 1) * model.richness / ((1 + model.richness * n) * a) * mixed


def _finite_data_loss(model: Model, times: Times) -> LossCurve:
    """Return the losses on fresh data and on the training data, for a finite training set."""
    path = _contour_of(model)
    spectrum = path.train(path.modes.power, model.noise)
    state = march(spectrum, model.richness, model.depth, _end_time(times)).at(times)
    train = _loss_along(spectrum, model, state)
    test = make_test_loss(path, model.noise)
    learned, missing = state.learned, state.missing
    mixed = weigh(learned * missing, spectrum.weight)
    beta = _alignment(model, state.n, state.a, mixed)
    change = state.a[:, None] * (spectrum.x * missing + beta[:, None] * learned)
    loss, rate = test.at(learned), test.rate(learned, change)
    return LossCurve(loss, rate, train.a, train.n, train.p, train.loss)


def _run_noisy(model: Model, modes: Modes, path: Contour | None, times: Times) -> NoisyState:
    """Follow the flow with the noise of fresh batches."""
    if path is None:
        spectrum, density = _spectrum(modes), modes.count * modes.lam
    else:
        spectrum = path.test(modes.power)
        density = path.weights(degrees(modes, path.kappa), 0.0)
    rate, labels = model.step_size / model.batch_size, model.noise**2
    noisy = Noisy(spectrum, density, model.richness, model.depth, rate, labels)
    return march_noisy(noisy, _end_time(times)).at(times)


def _batch_noise_loss(model: Model, times: Times) -> LossCurve:
    path = _contour_of(model) if np.isfinite(model.width) else None
    modes = _infinite_modes(model, times) if path is None else path.modes
    state = _run_noisy(model, modes, path, times)
    return LossCurve(state.loss, state.rate, state.a, state.n, state.p)


def _scalars(model: Model, curve: LossCurve, times: Times) -> dict[str, Times]:
    """Return the loss, its local exponent, and the growth and spike of the kernel."""
    spike = (model.depth - 1) * model.richness / (1 + model.richness * curve.n) * curve.p
    loss = np.maximum(curve.loss, 0.0)  # a contour's error may be below 0
    exponent = np.divide(-curve.rate * times, loss, out=np.zeros_like(times), where=loss > 0)
    return {
        "loss": loss,
        "local_exponent": exponent,
        "kernel_growth": curve.a,
        "spike": spike,
    }


def _asymptotic_growth(model: Model, law: limits.AsymptoticLaw, times: Times) -> Times:
    """Return dtau/dt, at least 1."""
    with np.errstate(divide="ignore"):
        return np.maximum(law.power * law.scale * (law.scale * times) ** (law.power - 1), 1.0)


def _asymptotic_batch(model: Model, alone: Times, tau: Times) -> tuple[Times, bool]:
    """Return the part due to the noise of fresh batches, and whether the rest falls faster."""
    share = limits.noise_feedback(model)
    if share == 0:
        return np.zeros(alone.size), False
    if share >= 1:
        raise ValueError(
            "The noise of fresh batches makes the loss grow without end; give smaller steps or "
            "larger batches."
        )
    power, gain = 2 - 1 / model.capacity, share / (1 - share)
    stays = gain * floors(model)["model_floor"]
    if model.source < power:
        return alone * gain + stays, False
    times = np.geomspace(1e-3, 1e8, 600)
    flow = _flow(_infinite_modes(model, times), model, times)
    inside = np.gradient(np.log(times)) * times
    driven = float((inside * flow.a * flow.loss).sum() + 1e-3 * flow.loss[0])
    rate = model.step_size / model.batch_size
    scale = rate * driven / (1 - share) * limits.gamma_function(power) / model.capacity
    return scale * (2 * tau) ** -power + stays, True
