# SPDX-License-Identifier: Apache-2.0
"""What all gradient objects share: checked arguments, the part of the derivative, the result."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.primitives import BaseEstimatorV2, BaseSamplerV2
from qiskit.quantum_info.operators.base_operator import BaseOperator
from qiskit_algorithms import AlgorithmJob
from qiskit_algorithms.gradients import (
    BaseEstimatorGradient,
    BaseSamplerGradient,
    DerivativeType,
    EstimatorGradientResult,
    SamplerGradientResult,
)

from ..arguments import UNREADABLE, require_instance, require_real_array, shown
from ..arrays import FloatArray
from ..exceptions import BridgeError, GradientError

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


Distributions = list[dict[int, float]]
"""For each parameter a number for each outcome; those of outcomes left out are zero."""


@dataclass(frozen=True)
class BridgeSamplerGradientResult(SamplerGradientResult):
    """Gradients of probabilities with their standard errors.

    Attributes:
        stds: For each entry the propagated standard errors of its derivatives, in the same form, or
            ``None`` where they cannot be known: from one shot, or from quasi-probabilities.
    """

    stds: list[Distributions | None] = field(default_factory=list)


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
        with _lists_read(
            parameter_values,
            circuits=circuits,
            observables=observables,
            parameter_values=parameter_values,
            parameters=parameters,
        ):
            return super().run(
                circuits, observables, parameter_values, parameters, precision=precision
            )


class BridgeSamplerGradient(BaseSamplerGradient):
    """A gradient object for the probabilities of outcomes."""

    @property
    def sampler(self) -> BaseSamplerV2:
        """The sampler given."""
        return self._sampler

    def run(
        self,
        circuits: Sequence[QuantumCircuit],
        parameter_values: Sequence[Sequence[float]],
        parameters: Sequence[Sequence[Parameter] | None] | None = None,
        *,
        shots: int | Sequence[int] | None = None,
    ) -> AlgorithmJob[SamplerGradientResult]:
        """Submit gradients; see :meth:`qiskit_algorithms.gradients.BaseSamplerGradient.run`.

        Raises:
            GradientError: If the arguments are no such lists or do not belong together.
        """
        with _lists_read(
            parameter_values,
            circuits=circuits,
            parameter_values=parameter_values,
            parameters=parameters,
        ):
            return super().run(circuits, parameter_values, parameters, shots=shots)


@contextlib.contextmanager
def _lists_read(all_values: Any, **arguments: object) -> Iterator[None]:
    """Turn errors that wrong lists cause into :class:`.GradientError`, which names all of them.

    Nothing is submitted before all of them have been looked at.
    """
    try:
        for position, values in enumerate(all_values):
            require_real_array(values, f"parameter_values[{position}]", (None,))
        yield
    except BridgeError:
        raise
    except UNREADABLE as error:
        *most, last = arguments
        found = " and ".join(shown(given) for given in arguments.values())
        raise GradientError(
            f"Expected lists of {', '.join(most).replace('_', ' ')} and, if not all are wanted, "
            f"{last}, one of each for every gradient; got {found}: {error}"
        ) from error


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
