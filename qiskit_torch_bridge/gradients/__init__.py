# SPDX-License-Identifier: Apache-2.0
"""Gradients for qiskit-algorithms and for :class:`.TorchQuantumModule`.

Those of expectation values are :class:`qiskit_algorithms.gradients.BaseEstimatorGradient`, so
``VQE``, ``VQD``, ``VarQTE`` and others take them as they take their own; those of the probabilities
of outcomes are :class:`qiskit_algorithms.gradients.BaseSamplerGradient`, for ``SamplerQNN`` and
others. :class:`FiniteDifference` and :class:`SimultaneousPerturbation` stand for a name with
options, and need no primitive.
"""

from ..rules import FiniteDifference, SimultaneousPerturbation
from .adjoint import AdjointEstimatorGradient
from .adjoint_sampler import AdjointSamplerGradient
from .base import BridgeGradientResult, BridgeSamplerGradientResult
from .estimator_gradient import EstimatorGradient
from .estimator_rule_gradients import (
    AQGDEstimatorGradient,
    FiniteDifferenceEstimatorGradient,
    ParameterShiftEstimatorGradient,
    SPSAEstimatorGradient,
)
from .sampler_gradient import SamplerGradient
from .sampler_rule_gradients import (
    AQGDSamplerGradient,
    FiniteDifferenceSamplerGradient,
    ParameterShiftSamplerGradient,
    SPSASamplerGradient,
)

__all__ = [
    "AQGDEstimatorGradient",
    "AQGDSamplerGradient",
    "AdjointEstimatorGradient",
    "AdjointSamplerGradient",
    "BridgeGradientResult",
    "BridgeSamplerGradientResult",
    "EstimatorGradient",
    "FiniteDifference",
    "FiniteDifferenceEstimatorGradient",
    "FiniteDifferenceSamplerGradient",
    "ParameterShiftEstimatorGradient",
    "ParameterShiftSamplerGradient",
    "SPSAEstimatorGradient",
    "SPSASamplerGradient",
    "SamplerGradient",
    "SimultaneousPerturbation",
]
