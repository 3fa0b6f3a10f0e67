# SPDX-License-Identifier: Apache-2.0
"""Exact derivatives from evaluations at large shifts, of single gate angles or of parameters.

As a function of one gate angle an expectation value has one frequency, and half the difference of
two displaced evaluations is its derivative. As a function of one parameter of the circuit it is a
trigonometric polynomial whose frequencies are differences of the generators' eigenvalues: two
evaluations for one frequency, ``2 R`` for ``R`` equidistant ones, and the solution of a small
linear system otherwise.

References:
    K. Mitarai et al., Phys. Rev. A 98, 032309 (2018), arXiv:1803.00745.
    M. Schuld et al., Phys. Rev. A 99, 032331 (2019), arXiv:1811.11184.
    D. Wierichs, J. Izaac, C. Wang, C. Y.-Y. Lin, "General parameter-shift rules for quantum
    gradients", Quantum 6, 677 (2022), arXiv:2107.12390 (equidistant rule: its section 3.4).
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import scipy.linalg
import scipy.optimize

from ..arguments import require_real_array, shown
from ..arrays import FloatArray
from ..exceptions import GradientError
from .plan import Differentiation, Rule, ShiftPlan, StencilRule, check_columns
from .vectors import WithVectors, shift_vectors

if TYPE_CHECKING:
    from ..program import AnalysedCircuit


SHIFTS = np.array([np.pi / 2, -np.pi / 2])
COEFFICIENTS = np.array([0.5, -0.5])
POLISHED = 8
"""Up to this many uneven frequencies the shifts are optimised; beyond, pivoting alone chooses."""


class ParameterShiftRule(Rule):
    r"""Half the difference of two evaluations at :math:`\pm\pi/2`, one gate angle at a time.

    .. math:: \frac{\partial f}{\partial v_p}
        = \sum_a \frac{\partial \alpha_a}{\partial v_p}\,
          \frac{f(\alpha + \tfrac{\pi}{2} e_a) - f(\alpha - \tfrac{\pi}{2} e_a)}{2}

    It runs on the form of the circuit in which each angle has a parameter of its own and a
    generator with two eigenvalues one apart. Amplitudes that are prepared are shifted as
    :mod:`.vectors` says. Cost: two evaluations per angle, or component, that depends on a wanted
    column.
    """

    name = "parameter-shift"

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan over the angles that the wanted columns reach."""
        check_columns(circuit, columns)
        target, angle_map = circuit.shift_form
        coordinates = angle_map.angles_of(columns)
        vectors = shift_vectors(target.vector_columns, coordinates)
        components = [c for v in vectors for c in v.columns[v.places].tolist()]
        angles = [a for a in coordinates if a not in set(components)]
        stencils = [(a, SHIFTS, COEFFICIENTS) for a in angles]
        plan = ShiftPlan.from_columns(angle_map.num_angles, stencils)
        pullback = angle_map.pullback([*angles, *components], columns)
        if not vectors:
            return Differentiation(target, angle_map, pullback, plan)
        return WithVectors(target, angle_map, pullback, plan, vectors)


class MultiFrequencyRule(StencilRule):
    r"""AQGD's analytic rule: displace the circuit's own parameters, nothing rewritten.

    .. math:: \frac{\partial f}{\partial v}
        = \sum_{\mu=1}^{R} y_\mu \left[f(v + x_\mu) - f(v - x_\mu)\right],

    with shifts :math:`x` and coefficients :math:`y` from the parameter's ``R`` frequencies
    (:func:`frequency_shifts`). Cost: two evaluations per frequency of each wanted column.
    """

    name = "aqgd"

    def stencil(self, circuit: AnalysedCircuit, column: int) -> tuple[FloatArray, FloatArray]:
        """Return shifts to both sides of a parameter, from its frequencies."""
        x, y = frequency_shifts(tuple(circuit.frequencies(column)))
        return np.concatenate([x, -x]), np.concatenate([y, -y])


def frequency_shifts(frequencies: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    r"""Return shifts ``x`` and coefficients ``y`` of an antisymmetric derivative rule.

    The rule :math:`f'(0) = \sum_\mu y_\mu [f(x_\mu) - f(-x_\mu)]` is exact for every
    :math:`f(x) = a_0 + \sum_l a_l \cos(\omega_l x) + b_l \sin(\omega_l x)`.

    Args:
        frequencies: The positive frequencies :math:`\omega_l`, ascending, each once. None at all
            means that ``f`` is constant.

    Returns:
        Two arrays of equal length: no entries for a constant, one for a single frequency, ``R``
        for ``R`` equidistant ones or in general.

    Raises:
        GradientError: If they are no such numbers.

    Example:
        >>> from qiskit_torch_bridge.rules import frequency_shifts
        >>> frequency_shifts((1.0,))
        (array([1.57079633]), array([0.5]))
    """
    omega = require_real_array(frequencies, "frequencies", (None,), error=GradientError)
    if not np.isfinite(omega).all() or (np.diff(omega, prepend=0.0) <= 0).any():
        raise GradientError(
            "Expected frequencies to be positive finite numbers, ascending and each once, such as "
            f"(1.0, 2.0); got {shown(frequencies)}."
        )
    return _solve_shifts(tuple(omega.tolist()))


@lru_cache(maxsize=1024)
def _solve_shifts(frequencies: tuple[float, ...]) -> tuple[FloatArray, FloatArray]:
    omega = np.array(frequencies)
    if not len(omega):
        return np.zeros(0), np.zeros(0)
    multiples = omega / omega[0]
    equidistant = np.allclose(multiples, np.round(multiples), rtol=0, atol=1e-9)
    count = round(float(multiples[-1]))
    # A few missing multiples cost extra points, but the closed form is the best conditioned.
    if equidistant and count <= len(omega) + 1:
        return _equidistant_shifts(float(omega[0]), count)
    return _general_shifts(omega)


def _equidistant_shifts(spacing: float, count: int) -> tuple[FloatArray, FloatArray]:
    """The closed form for frequencies ``spacing * {1, ..., count}``."""
    x = (2 * np.arange(1, count + 1) - 1) * np.pi / (2 * count)
    sign = (-1.0) ** np.arange(count)
    y = sign * spacing / (4 * count * np.sin(x / 2) ** 2)
    # The paper's 2 R points fill one period; x and 2 pi - x are folded into the pair x, -x.
    return x / spacing, y


def _general_shifts(omega: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve for ``y`` at shifts chosen for small noise amplification ``sum(y**2)``."""
    gaps = np.diff(np.concatenate([[0.0], omega]))
    reach = np.pi / min(gaps.min(), omega[0])
    reach = min(reach, 8 * np.pi * len(omega) / omega[-1])
    grid = np.linspace(0, reach, 64 * len(omega) + 1)[1:]

    def system(x: FloatArray) -> FloatArray:
        return 2 * np.sin(np.outer(omega, x)) / omega[:, None]  # rows scaled: right side is one

    def solve(x: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.lstsq(system(x), np.ones(len(omega)), rcond=None)[0], float)

    def amplification(x: FloatArray) -> float:
        matrix = system(x)
        if np.linalg.cond(matrix) > 1e8:
            return 1e16
        return float(np.sum(np.linalg.solve(matrix, np.ones(len(omega))) ** 2))

    pivots = scipy.linalg.qr(system(grid), mode="r", pivoting=True)[1][: len(omega)]
    even = (2 * np.arange(1, len(omega) + 1) - 1) * np.pi / (2 * len(omega)) / omega[0]
    start = min((grid[pivots], even), key=amplification)
    if len(omega) > POLISHED:
        return start, solve(start)
    best = scipy.optimize.minimize(
        amplification, start, method="Nelder-Mead", options={"maxfev": 200 * len(omega)}
    )
    x = np.abs(best.x) if amplification(np.abs(best.x)) <= amplification(start) else start
    return x, solve(x)
