"""NIST StRD: all 27 certified problems of nonlinear regression, from both of their starts."""

from __future__ import annotations

import numpy as np

from kleiber.law import Law, real


@Law
def bennett5(x, *, b1=real(), b2=real(), b3=real()):
    """Bennett, Swartzendruber and Brown. NIST 1994."""
    return b1 * (b2 + x) ** (-1 / b3)


@Law
def box_bod(x, *, b1=real(), b2=real()):
    """Biochemical oxygen demand, of BoxBOD and Misra1a. Box, Hunter and Hunter 1978."""
    return b1 * (1 - np.exp(-b2 * x))


@Law
def chwirut(x, *, b1=real(), b2=real(), b3=real()):
    """Ultrasonic response. Chwirut, NIST 197?."""
    return np.exp(-b1 * x) / (b2 + b3 * x)


@Law
def dan_wood(x, *, b1=real(), b2=real()):
    """Energy radiated from a filament. Daniel and Wood 1980."""
    return b1 * x**b2


@Law
def enso(
    x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real(), b6=real(), b7=real(), b8=real(),
    b9=real(),
):  # fmt: skip
    """Southern oscillation, one annual cycle and two longer ones. Kahaner, Moler and Nash 1989."""
    year, second, third = 2 * np.pi * x / 12, 2 * np.pi * x / b4, 2 * np.pi * x / b7
    annual = b1 + b2 * np.cos(year) + b3 * np.sin(year)
    longer = b5 * np.cos(second) + b6 * np.sin(second) + b8 * np.cos(third) + b9 * np.sin(third)
    return annual + longer


@Law
def eckerle4(x, *, b1=real(), b2=real(), b3=real()):
    """Transmittance. Eckerle, NIST 197?."""
    return (b1 / b2) * np.exp(-0.5 * ((x - b3) / b2) ** 2)


@Law
def gauss(
    x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real(), b6=real(), b7=real(), b8=real()
):
    """Two Gaussians on a decaying baseline. Rust, NIST 1996."""
    peaks = b3 * np.exp(-((x - b4) ** 2) / b5**2) + b6 * np.exp(-((x - b7) ** 2) / b8**2)
    return b1 * np.exp(-b2 * x) + peaks


@Law
def cubics(x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real(), b6=real(), b7=real()):
    """Ratio of two cubics, of Hahn1 and Thurber. Hahn, NIST 197?."""
    return (b1 + b2 * x + b3 * x**2 + b4 * x**3) / (1 + b5 * x + b6 * x**2 + b7 * x**3)


@Law
def kirby2(x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real()):
    """Scanning electron microscope line width. Kirby, NIST 197?."""
    return (b1 + b2 * x + b3 * x**2) / (1 + b4 * x + b5 * x**2)


@Law
def lanczos(x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real(), b6=real()):
    """Three decaying exponentials. Lanczos 1956."""
    return b1 * np.exp(-b2 * x) + b3 * np.exp(-b4 * x) + b5 * np.exp(-b6 * x)


@Law
def mgh09(x, *, b1=real(), b2=real(), b3=real(), b4=real()):
    """Kowalik and Osborne 1978."""
    return b1 * (x**2 + x * b2) / (x**2 + x * b3 + b4)


@Law
def mgh10(x, *, b1=real(), b2=real(), b3=real()):
    """Resistance of a thermistor. Meyer 1970."""
    return b1 * np.exp(b2 / (x + b3))


@Law
def mgh17(x, *, b1=real(), b2=real(), b3=real(), b4=real(), b5=real()):
    """Osborne 1972."""
    return b1 + b2 * np.exp(-x * b4) + b3 * np.exp(-x * b5)


@Law
def misra1b(x, *, b1=real(), b2=real()):
    """Monomolecular adsorption. Misra, NIST 1978."""
    return b1 * (1 - (1 + b2 * x / 2) ** -2)


@Law
def misra1c(x, *, b1=real(), b2=real()):
    """Monomolecular adsorption. Misra, NIST 1978."""
    return b1 * (1 - (1 + 2 * b2 * x) ** -0.5)


@Law
def misra1d(x, *, b1=real(), b2=real()):
    """Monomolecular adsorption. Misra, NIST 1978."""
    return b1 * b2 * x * (1 + b2 * x) ** -1


@Law
def nelson(x1, x2, *, b1=real(), b2=real(), b3=real()):
    """Logarithm of the dielectric breakdown strength. Nelson 1981."""
    return b1 - b2 * x1 * np.exp(-b3 * x2)


@Law
def rat42(x, *, b1=real(), b2=real(), b3=real()):
    """Sigmoidal growth. Ratkowsky 1983."""
    return b1 / (1 + np.exp(b2 - b3 * x))


@Law
def rat43(x, *, b1=real(), b2=real(), b3=real(), b4=real()):
    """Sigmoidal growth. Ratkowsky 1983."""
    return b1 / ((1 + np.exp(b2 - b3 * x)) ** (1 / b4))


@Law
def roszman1(x, *, b1=real(), b2=real(), b3=real(), b4=real()):
    """Quantum defects in iodine. Roszman, NIST 1979."""
    return b1 - b2 * x - np.arctan(b3 / (x - b4)) / np.pi


LAWS = {
    "Bennett5": bennett5,
    "BoxBOD": box_bod,
    "Chwirut1": chwirut,
    "Chwirut2": chwirut,
    "DanWood": dan_wood,
    "ENSO": enso,
    "Eckerle4": eckerle4,
    "Gauss1": gauss,
    "Gauss2": gauss,
    "Gauss3": gauss,
    "Hahn1": cubics,
    "Kirby2": kirby2,
    "Lanczos1": lanczos,
    "Lanczos2": lanczos,
    "Lanczos3": lanczos,
    "MGH09": mgh09,
    "MGH10": mgh10,
    "MGH17": mgh17,
    "Misra1a": box_bod,
    "Misra1b": misra1b,
    "Misra1c": misra1c,
    "Misra1d": misra1d,
    "Nelson": nelson,
    "Rat42": rat42,
    "Rat43": rat43,
    "Roszman1": roszman1,
    "Thurber": cubics,
}
