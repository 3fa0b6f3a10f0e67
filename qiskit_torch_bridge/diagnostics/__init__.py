# SPDX-License-Identifier: Apache-2.0
"""Can this circuit be trained, and what can it express? Functions that give numbers and plots."""

from .effective_dimension import (
    EffectiveDimension,
    ParameterDimension,
    effective_dimension,
    parameter_dimension,
)
from .expressibility import (
    EntanglingCapability,
    Expressibility,
    entangling_capability,
    expressibility,
)
from .fourier import FourierSpectrum, fourier_spectrum
from .gradient_variance import GradientVariance, gradient_variance
from .hessian import HessianSpectrum, hessian_spectrum
from .landscape import LossLandscape, loss_landscape
from .lie_algebra import LieAlgebra, lie_algebra_dimension
from .summary import Diagnosis, diagnose
from .training_log import TrainingLog

__all__ = [
    "Diagnosis",
    "EffectiveDimension",
    "EntanglingCapability",
    "Expressibility",
    "FourierSpectrum",
    "GradientVariance",
    "HessianSpectrum",
    "LieAlgebra",
    "LossLandscape",
    "ParameterDimension",
    "TrainingLog",
    "diagnose",
    "effective_dimension",
    "entangling_capability",
    "expressibility",
    "fourier_spectrum",
    "gradient_variance",
    "hessian_spectrum",
    "lie_algebra_dimension",
    "loss_landscape",
    "parameter_dimension",
]
