# SPDX-License-Identifier: Apache-2.0
"""Optimizers that quantum circuits need, as ``torch.optim.Optimizer``."""

from .metric import FubiniStudyMetric, StateFidelity
from .natural_gradient import QuantumNaturalGradient
from .qnspsa import QNSPSA
from .rotosolve import Rotosolve
from .scipy_minimize import ScipyMinimize
from .shots import ShotsSchedule
from .spsa import SPSA

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
