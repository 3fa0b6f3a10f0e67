# SPDX-License-Identifier: Apache-2.0
"""Finite differences of circuit parameters, and the step that suits a given shot noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from ..arguments import require_choice, require_real_number
from ..exceptions import GradientError, PrecisionError
from .plan import Differentiation, ShiftPlan, check_wanted

if TYPE_CHECKING:
    from ..program import AnalysedCircuit

Method = Literal["central", "forward", "backward"]

STENCILS = {  # shifts and coefficients in units of the step and of its inverse
    "central": (np.array([1.0, -1.0]), np.array([0.5, -0.5])),
    "forward": (np.array([1.0, 0.0]), np.array([1.0, -1.0])),
    "backward": (np.array([0.0, -1.0]), np.array([1.0, -1.0])),
}

EXACT_STEP = 1e-4
"""Central step without noise: its error h**2/6 is 2e-9, and differencing it twice more in double
precision still leaves five digits, so that second derivatives survive."""

EXACT_ONE_SIDED_STEP = 1e-7


def recommended_epsilon(
    precision: float | None, method: Method = "central", max_frequency: float = 1.0
) -> float:
    r"""Return the step that minimises the worst-case error of a difference at a given noise.

    With noise of standard deviation :math:`\sigma` in every evaluation and derivatives bounded by
    powers of the highest frequency :math:`\omega` (an expectation value of unit amplitude), the
    mean squared error of a difference with step :math:`h` is at most

    .. math:: \left(\tfrac{\omega^3 h^2}{6}\right)^2 + \frac{\sigma^2}{2 h^2}
        \quad\text{(central)}, \qquad
        \left(\tfrac{\omega^2 h}{2}\right)^2 + \frac{2\sigma^2}{h^2}
        \quad\text{(one-sided)},

    least at :math:`h = (3\sigma)^{1/3}/\omega` and :math:`h = (2\sqrt2\,\sigma)^{1/2}/\omega`.

    Args:
        precision: The standard deviation of one evaluation (``1/sqrt(shots)``); ``None`` or zero
            for exact evaluations.
        method: ``"central"``, ``"forward"`` or ``"backward"``.
        max_frequency: The highest frequency of the expectation value in the parameter: one for a
            single Pauli rotation, and proportionally more for repeated or scaled parameters.

    Returns:
        The step in radians, at most ``pi / 2 / max_frequency``.

    Example:
        >>> from qiskit_torch_bridge.rules import recommended_epsilon
        >>> round(recommended_epsilon(0.1), 3), round(recommended_epsilon(0.01), 3)
        (0.669, 0.311)
    """
    central = validated_method(method) == "central"
    max_frequency = require_real_number(max_frequency, "max_frequency", error=GradientError)
    if precision is not None:
        precision = require_real_number(precision, "precision", zero=True, error=PrecisionError)
    if not precision:
        return (EXACT_STEP if central else EXACT_ONE_SIDED_STEP) / max_frequency
    step = (3 * precision) ** (1 / 3) if central else math.sqrt(2 * math.sqrt(2) * precision)
    return min(step, math.pi / 2) / max_frequency


def validated_method(method: Any) -> Method:
    """Return the name of a kind of difference, or raise :class:`.GradientError` if it is none."""
    found: Method = require_choice(
        method, "the finite-difference method", get_args(Method), error=GradientError
    )
    return found


def validated_epsilon(epsilon: object, what: str) -> float:
    """Return a step in radians, or raise :class:`.GradientError` if it is none."""
    hint = " recommended_epsilon(precision) gives one that suits the noise."
    return require_real_number(epsilon, f"{what}, in radians,", error=GradientError, hint=hint)


class FiniteDifferenceRule:
    r"""Difference quotients of the circuit's own parameters.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h) - f(v - h)}{2h} + \mathcal{O}(h^2)
        \qquad\text{(central)}

    Cost: two evaluations per wanted column (central), or one per column and one more for all
    (forward, backward; error :math:`\mathcal{O}(h)`). Shot noise is amplified by
    :math:`1/(\sqrt2 h)`; prefer an analytic rule on sampling estimators.

    Args:
        epsilon: The step ``h`` in radians.
        method: ``"central"``, ``"forward"`` or ``"backward"``.
    """

    name = "finite-difference"

    def __init__(self, epsilon: float, method: Method = "central") -> None:
        self.method = validated_method(method)
        self.epsilon = validated_epsilon(epsilon, "the finite-difference step")

    def __repr__(self) -> str:
        return f"{self.name}({self.method}, epsilon={self.epsilon:.3g})"

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return the plan over the wanted columns of ``circuit`` itself."""
        check_wanted(circuit, columns)
        shifts, coefficients = STENCILS[self.method]
        stencils = [
            (column, shifts * self.epsilon, coefficients / self.epsilon)
            if circuit.is_used(column)
            else (column, np.zeros(0), np.zeros(0))
            for column in columns
        ]
        plan = ShiftPlan.from_columns(len(circuit.parameters), stencils)
        return Differentiation(circuit, None, None, plan)
