# SPDX-License-Identifier: Apache-2.0
"""Optimizers that quantum circuits need, as ``torch.optim.Optimizer``."""

from .metric import FubiniStudyMetric, StateFidelity
from .natural_gradient import QuantumNaturalGradient
from .rotosolve import Rotosolve
from .scipy_minimize import ScipyMinimize
from .shots_schedule import ShotsSchedule
from .simultaneous_perturbation import QNSPSA, SPSA

__all__ = [
    "QNSPSA",
    "SPSA",
    "FubiniStudyMetric",
    "QuantumNaturalGradient",
    "Rotosolve",
    "ScipyMinimize",
    "ShotsSchedule",
    "StateFidelity",
]
