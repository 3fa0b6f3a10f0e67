# SPDX-License-Identifier: Apache-2.0
"""Gradients of expectation values for qiskit-algorithms and for :class:`.TorchQuantumModule`.

Those on an estimator are :class:`qiskit_algorithms.gradients.BaseEstimatorGradient`, so ``VQE``,
``VQD``, ``VarQTE`` and others take them as they take their own. :class:`FiniteDifference` and
:class:`SimultaneousPerturbation` stand for a name with options, and need no estimator.
"""

from ..rules import FiniteDifference, SimultaneousPerturbation
from .adjoint import AdjointEstimatorGradient
from .base import BridgeGradientResult
from .estimator_gradient import EstimatorGradient
from .estimator_rule_gradients import (
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)

__all__ = [
    "AQGDEstimatorGradient",
    "AdjointEstimatorGradient",
    "BridgeGradientResult",
    "EstimatorGradient",
    "FiniteDifference",
    "FiniteDifferenceEstimatorGradient",
    "ParameterShiftEstimatorGradient",
    "SPSAEstimatorGradient",
    "SimultaneousPerturbation",
]
