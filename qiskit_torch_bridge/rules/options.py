# SPDX-License-Identifier: Apache-2.0
"""Gradients by value: what a gradient that has a name is to do, before there is an estimator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

from ..arguments import require_seed, require_whole_number
from ..exceptions import GradientError
from .finite_difference import Method, validated_epsilon, validated_method


@dataclass(frozen=True)
class FiniteDifference:
    """The gradient ``"finite-difference"`` with options, wherever that name is taken.

    Args:
        epsilon: The step in radians; default: the one that suits the precision in use, see
            :func:`~qiskit_torch_bridge.rules.recommended_epsilon`.
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

    epsilon: float | None = None
    method: Method = "central"

    def __post_init__(self) -> None:
        validated_method(self.method)
        if self.epsilon is not None:
            epsilon = validated_epsilon(self.epsilon, "the finite-difference step")
            object.__setattr__(self, "epsilon", epsilon)


@dataclass(frozen=True)
class SimultaneousPerturbation:
    """The gradient ``"spsa"`` with options, wherever that name is taken.

    Args:
        epsilon: The step in radians; default: the one that suits the precision in use, see
            :func:`~qiskit_torch_bridge.rules.recommended_epsilon`.
        resamplings: How many directions are averaged.
        seed: Makes the directions reproducible; default: the seed of the module.

    Raises:
        GradientError: If ``epsilon`` is not a positive finite number, or ``resamplings`` no
            positive whole number.
        InputTypeError: If ``seed`` is no whole number from 0 up.

    Example:
        >>> from qiskit_torch_bridge.gradients import SimultaneousPerturbation
        >>> SimultaneousPerturbation(epsilon=0.2, resamplings=8)
        SimultaneousPerturbation(epsilon=0.2, resamplings=8, seed=None)
    """

    name: ClassVar[str] = "spsa"

    epsilon: float | None = None
    resamplings: int = 1
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.epsilon is not None:
            object.__setattr__(self, "epsilon", validated_epsilon(self.epsilon, "the step"))
        count = require_whole_number(self.resamplings, "resamplings", 1, error=GradientError)
        object.__setattr__(self, "resamplings", count)
        object.__setattr__(self, "seed", require_seed(self.seed))


WithOptions: TypeAlias = FiniteDifference | SimultaneousPerturbation


def named(gradient: Any) -> bool:
    """Whether a gradient is chosen by its name, with or without options."""
    return isinstance(gradient, (str, FiniteDifference, SimultaneousPerturbation))
