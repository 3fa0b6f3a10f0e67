# SPDX-License-Identifier: Apache-2.0
"""What all gradient objects share: checked arguments, the part of the derivative, the result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms import AlgorithmJob
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    DerivativeType,
    EstimatorGradientResult,
)

from ..arguments import UNREADABLE, require_instance, require_real_array, shown
from ..arrays import FloatArray
from ..exceptions import BridgeError, GradientError
from ..program.operators import Observable

REAL_IN_TORCH = (
    "Derivatives of a module are real. Give it a gradient object of its own, with "
    "derivative_type=DerivativeType.REAL."
)
"""What to do about a gradient object for imaginary parts in a module."""


@dataclass(frozen=True)
class BridgeGradientResult(EstimatorGradientResult):
    """Gradients with their standard errors.

    Attributes:
        stds: For each gradient the propagated standard errors, or ``None`` where the primitive
            gave none. What they mean is the primitive's: estimated from shots, the requested
            precision (Aer), or an upper bound (``BackendEstimatorV2``).
    """

    stds: list[FloatArray | None] = field(default_factory=list)


class BridgeGradient(BaseEstimatorGradient):
    r"""A gradient object whose derivative type can be set, as that of ``LinCombEstimatorGradient``.

    It says which part of :math:`2\langle\psi|O|\partial\psi\rangle` is computed. The variational
    principles of qiskit-algorithms set it: the imaginary part for real time.
    """

    @property
    def estimator(self) -> BaseEstimatorV2:
        """The estimator given."""
        return self._estimator

    @property
    def derivative_type(self) -> DerivativeType:
        """The part of the derivative that is computed: real, imaginary, or both as one number."""
        return self._derivative_type

    @derivative_type.setter
    def derivative_type(self, derivative_type: DerivativeType) -> None:
        self._derivative_type = check_derivative_type(derivative_type)

    def _check_part(self) -> None:
        """Raise :class:`.GradientError` unless the part of the derivative set can be computed."""

    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        observables: Sequence[BaseOperator],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        precision: float | Sequence[float] | None = None,
    ) -> AlgorithmJob:
        """Submit gradients; see :meth:`qiskit_algorithms.gradients.BaseEstimatorGradient.run`.

        Raises:
            GradientError: If the arguments are no such lists or do not belong together, or if the
                derivative type has been set to one that this gradient does not compute.
        """
        self._check_part()
        try:
            for position, values in enumerate(parameter_values):
                require_real_array(values, f"parameter_values[{position}]", (None,))
            return super().run(
                circuits, observables, parameter_values, parameters, precision=precision
            )
        except BridgeError:
            raise
        except UNREADABLE as error:  # it submits nothing before it has looked at all of them
            raise GradientError(
                "Expected lists of circuits, observables, parameter values and, if not all are "
                "wanted, parameters, one of each for every gradient; got "
                f"{shown(circuits)}, {shown(observables)}, {shown(parameter_values)} and "
                f"{shown(parameters)}: {error}"
            ) from error


def place_among(distinct: list[Observable], operator: Observable) -> int:
    """Return the place of an operator among those that are distinct; append it if it is new."""
    matches = (k for k, o in enumerate(distinct) if o is operator or o == operator)
    place = next(matches, len(distinct))
    if place == len(distinct):
        distinct.append(operator)
    return place


def check_derivative_type(derivative_type: object) -> DerivativeType:
    """Return a derivative type, or raise :class:`.GradientError` if it is none."""
    what = "DerivativeType.REAL, IMAG or COMPLEX, from qiskit_algorithms.gradients"
    return require_instance(
        derivative_type, "derivative_type", DerivativeType, what, error=GradientError
    )


def require_real(gradient: BaseEstimatorGradient, remedy: str) -> None:
    """Raise :class:`.GradientError` unless a gradient object computes real derivatives."""
    found = getattr(gradient, "derivative_type", DerivativeType.REAL)
    if found != DerivativeType.REAL:
        raise GradientError(
            f"Expected the derivative_type of {type(gradient).__name__} to be "
            f"DerivativeType.REAL; got {found}. {remedy}"
        )
