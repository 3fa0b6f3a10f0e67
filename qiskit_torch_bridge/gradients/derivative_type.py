# SPDX-License-Identifier: Apache-2.0
r"""Which part of :math:`2\langle\psi|O|\partial\psi\rangle` a gradient object is asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms import AlgorithmJob
from qiskit_algorithms.gradients import BaseEstimatorGradient, DerivativeType

from ..arguments import UNREADABLE, require_real_array, shown
from ..exceptions import BridgeError, GradientError

REAL_IN_TORCH = (
    "Derivatives of a module are real. Give it a gradient object of its own, with "
    "derivative_type=DerivativeType.REAL."
)
"""What to do about a gradient object for imaginary parts in a module."""


class WithDerivativeType(BaseEstimatorGradient):
    """A gradient object whose derivative type can be set, as that of ``LinCombEstimatorGradient``.

    The variational principles of qiskit-algorithms set it: the imaginary part for real time.
    """

    @property
    def derivative_type(self) -> DerivativeType:
        """The part of the derivative that is computed: real, imaginary, or both as one number."""
        return self._derivative_type

    @derivative_type.setter
    def derivative_type(self, derivative_type: DerivativeType) -> None:
        self._derivative_type = checked_type(derivative_type)

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
            GradientError: If the arguments are no such lists, or do not belong together.
        """
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


def checked_type(derivative_type: Any) -> DerivativeType:
    """Return a derivative type, or raise :class:`.GradientError` if it is none."""
    if not isinstance(derivative_type, DerivativeType):
        raise GradientError(
            "Expected derivative_type to be DerivativeType.REAL, IMAG or COMPLEX, from "
            f"qiskit_algorithms.gradients; got {shown(derivative_type)}."
        )
    return derivative_type


def require_real(gradient: BaseEstimatorGradient, remedy: str) -> None:
    """Raise :class:`.GradientError` unless a gradient object computes real derivatives."""
    found = getattr(gradient, "derivative_type", DerivativeType.REAL)
    if found != DerivativeType.REAL:
        raise GradientError(
            f"Expected the derivative_type of {type(gradient).__name__} to be "
            f"DerivativeType.REAL; got {found}. {remedy}"
        )
