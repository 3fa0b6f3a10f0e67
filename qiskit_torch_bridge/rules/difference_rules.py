# SPDX-License-Identifier: Apache-2.0
"""Difference quotients of the circuit's own parameters, one at a time or along random directions.

What the user chooses is a value, :class:`FiniteDifference` or :class:`SimultaneousPerturbation`,
whose options are checked when it is made. It gives the rule once the precision is known, which
decides the step where none was chosen.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, get_args

import numpy as np

from ..arguments import (
    make_random_generator,
    require_choice,
    require_real_number,
    require_seed,
    require_whole_number,
)
from ..arrays import BoolArray, FloatArray, N
from ..exceptions import GradientError, PrecisionError
from .plan import Differentiation, Rule, ShiftPlan, StencilRule, check_columns

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


@dataclass(frozen=True)
class _Differences:
    epsilon: float | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            hint = " recommended_epsilon(precision) gives one that suits the noise."
            name = "epsilon, the step in radians,"
            step = require_real_number(self.epsilon, name, error=GradientError, hint=hint)
            object.__setattr__(self, "epsilon", step)


@dataclass(frozen=True)
class FiniteDifference(_Differences):
    r"""The gradient ``"finite-difference"`` with options, wherever that name is taken.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h) - f(v - h)}{2h} + \mathcal{O}(h^2)
        \qquad\text{(central)}

    Cost: two evaluations for each wanted parameter (central), or one for each and one more for all
    (forward, backward; error :math:`\mathcal{O}(h)`). Shot noise is amplified by
    :math:`1/(\sqrt2 h)`; prefer an analytic rule on sampling estimators.

    Args:
        epsilon: The step ``h`` in radians. Default: :func:`.recommended_epsilon` at the precision
            in use (the requested one, or the estimator's default; 1/64 if it does not tell).
        method: ``"central"``, ``"forward"`` or ``"backward"``.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``method`` unknown.

    Example:
        >>> from qiskit.circuit import Parameter, QuantumCircuit
        >>> from qiskit_torch_bridge import TorchQuantumModule
        >>> from qiskit_torch_bridge.gradients import FiniteDifference
        >>> circuit = QuantumCircuit(1)
        >>> _ = circuit.ry(Parameter("theta"), 0)
        >>> module = TorchQuantumModule(circuit, shots=100, gradient=FiniteDifference(epsilon=0.3))
        >>> module.gradient
        'finite-difference(central, epsilon=0.3)'
    """

    name: ClassVar[str] = "finite-difference"

    method: Method = "central"

    def __post_init__(self) -> None:
        super().__post_init__()
        _validate_method(self.method)

    def rule(self, precision: float | None = None) -> FiniteDifferenceRule:
        """Return the rule with the given step, or with the one that suits ``precision``."""
        step = recommended_epsilon(precision, self.method) if self.epsilon is None else self.epsilon
        return FiniteDifferenceRule(step, self.method)


@dataclass(frozen=True)
class SimultaneousPerturbation(_Differences):
    r"""The gradient ``"spsa"`` with options, wherever that name is taken.

    .. math:: \frac{\partial f}{\partial v} \approx
        \frac{f(v + h\Delta) - f(v - h\Delta)}{2h}\, \Delta

    with random signs :math:`\Delta`, for every row of values its own. The mean over directions is
    the gradient, up to an error of order :math:`h^2`; a single one is wrong by about the length of
    the gradient in each component.

    Cost: ``2 * resamplings`` evaluations, whatever the number of parameters.

    Args:
        epsilon: The step ``h`` in radians. Default: :func:`.recommended_epsilon` at the precision
            in use (the requested one, or the estimator's default; 1/64 if it does not tell).
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible; default: the seed of the module.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``resamplings`` no
            positive whole number.
        InputTypeError: If ``seed`` is no whole number from 0 up.

    References:
        J. C. Spall, IEEE Trans. Autom. Control 37, 332 (1992).

    Example:
        >>> from qiskit_torch_bridge.gradients import SimultaneousPerturbation
        >>> SimultaneousPerturbation(epsilon=0.2, resamplings=8)
        SimultaneousPerturbation(epsilon=0.2, resamplings=8, seed=None)
    """

    name: ClassVar[str] = "spsa"

    resamplings: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        count = require_whole_number(self.resamplings, "resamplings", 1, error=GradientError)
        object.__setattr__(self, "resamplings", count)
        object.__setattr__(self, "seed", require_seed(self.seed))

    def rule(
        self, precision: float | None = None, generator: np.random.Generator | None = None
    ) -> SPSARule:
        """Return the rule with the given step, or with the one that suits ``precision``.

        Args:
            precision: The standard deviation of one evaluation; ``None`` or zero if exact.
            generator: Draws the directions; default: one that begins with the seed.
        """
        step = recommended_epsilon(precision) if self.epsilon is None else self.epsilon
        drawing = make_random_generator(self.seed if generator is None else generator)
        return SPSARule(step, self.resamplings, drawing)


WithOptions: TypeAlias = FiniteDifference | SimultaneousPerturbation


def is_named_gradient(gradient: object) -> bool:
    """Whether a gradient is chosen by its name, with or without options."""
    return isinstance(gradient, (str, FiniteDifference, SimultaneousPerturbation))


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
    central = _validate_method(method) == "central"
    max_frequency = require_real_number(max_frequency, "max_frequency", error=GradientError)
    if precision is not None:
        precision = require_real_number(precision, "precision", zero=True, error=PrecisionError)
    if not precision:
        return (EXACT_STEP if central else EXACT_ONE_SIDED_STEP) / max_frequency
    step = (3 * precision) ** (1 / 3) if central else math.sqrt(2 * math.sqrt(2) * precision)
    return min(step, math.pi / 2) / max_frequency


def _validate_method(method: object) -> Method:
    name = "the finite-difference method"
    found: Method = require_choice(method, name, get_args(Method), error=GradientError)
    return found


class FiniteDifferenceRule(StencilRule):
    """Finite differences with a known step; :meth:`FiniteDifference.rule` makes it."""

    name = FiniteDifference.name

    def __init__(self, epsilon: float, method: Method) -> None:
        self.epsilon, self.method = epsilon, method

    def __repr__(self) -> str:
        return f"{self.name}({self.method}, epsilon={self.epsilon:.3g})"

    def stencil(self, circuit: AnalysedCircuit, column: int) -> tuple[FloatArray, FloatArray]:
        """Return the shifts and coefficients of the method; none if the parameter is not used."""
        if not circuit.is_used(column):
            return np.zeros(0), np.zeros(0)
        shifts, coefficients = STENCILS[self.method]
        return shifts * self.epsilon, coefficients / self.epsilon


class SPSARule(Rule):
    """Differences along random directions; :meth:`SimultaneousPerturbation.rule` makes it.

    Attributes:
        generator: What the directions are drawn from.
    """

    name = SimultaneousPerturbation.name
    is_random = True

    def __init__(self, epsilon: float, resamplings: int, generator: np.random.Generator) -> None:
        self.epsilon, self.resamplings, self.generator = epsilon, resamplings, generator

    def __repr__(self) -> str:
        averaged = f", resamplings={self.resamplings}" if self.resamplings > 1 else ""
        return f"{self.name}(epsilon={self.epsilon:.3g}{averaged})"

    def differentiation(
        self, circuit: AnalysedCircuit, columns: tuple[int, ...]
    ) -> Differentiation:
        """Return a plan for one gradient; its directions are drawn with its points."""
        check_columns(circuit, columns)
        used = np.array([circuit.is_used(c) for c in columns], dtype=bool)
        count = 2 * self.resamplings * int(used.any())
        plan = ShiftPlan.of_points(len(circuit.parameters), count, len(columns))
        if not count:
            return Differentiation(circuit, None, None, plan)
        return _RandomDirections(circuit, None, None, plan, self, columns, used)

    def draw_signs(self, rows: int, count: int) -> FloatArray:
        """Draw directions ``(resamplings, rows, count)``; NumPy's generators lock themselves."""
        drawn = self.generator.integers(0, 2, (self.resamplings, rows, count))
        return np.asarray(2 * drawn - 1, dtype=float)


@dataclass(frozen=True)
class _RandomDirections(Differentiation):
    """Differences along the directions drawn for the points asked for last."""

    rule: SPSARule
    columns: tuple[int, ...]
    used: BoolArray
    drawn: list[FloatArray] = field(default_factory=list)

    def points(self, values: N, m: Any = np) -> N:
        signs = self.rule.draw_signs(values.shape[0], len(self.columns)) * self.used
        self.drawn[:] = [signs]
        displacements = np.zeros((*signs.shape[:2], values.shape[1]))
        displacements[..., list(self.columns)] = self.rule.epsilon * signs
        return values + m.asarray(np.concatenate([displacements, -displacements]))

    def combine(self, values: N, evs: N, m: Any = np) -> N:
        (signs,) = self.drawn
        count = len(signs)
        slopes = (evs[:count] - evs[count:]) / (2 * self.rule.epsilon)
        return (slopes[..., None] * m.asarray(signs)).mean(0)

    def standard_errors(self, values: FloatArray, stds: FloatArray) -> FloatArray:
        errors = np.sqrt((stds**2).sum(0)) / (2 * self.rule.epsilon * self.rule.resamplings)
        return errors[:, None] * self.used
