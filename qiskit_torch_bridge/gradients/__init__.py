# SPDX-License-Identifier: Apache-2.0
"""Gradients of expectation values for qiskit-algorithms and for :class:`.TorchQuantumModule`.

All of them are :class:`qiskit_algorithms.gradients.BaseEstimatorGradient`, so ``VQE``, ``VQD``,
``VarQTE`` and others take them as they take their own.
"""

from .adjoint import AdjointEstimatorGradient
from .aqgd import AQGDEstimatorGradient
from .base import BridgeGradientResult, EstimatorGradient
from .finite_difference import FiniteDifferenceEstimatorGradient
from .parameter_shift import ParameterShiftEstimatorGradient
from .spsa import SPSAEstimatorGradient

__all__ = [
    "AQGDEstimatorGradient",
    "AdjointEstimatorGradient",
    "BridgeGradientResult",
    "EstimatorGradient",
    "FiniteDifferenceEstimatorGradient",
    "ParameterShiftEstimatorGradient",
    "SPSAEstimatorGradient",
]
