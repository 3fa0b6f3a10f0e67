# SPDX-License-Identifier: Apache-2.0
"""Engines: what evaluates a program and its derivatives for the seam to torch.

An engine has a ``program``, ``evaluate(values) -> (B, O)``, and one of
``differentiation(columns)``, a plan of evaluations that torch differentiates again;
``vjp(values, cotangent, columns) -> (B, C)``; or, the exact engine, gradients and tangents of both
values and gradients. Engines know no torch.
"""

from .cache import EngineCache
from .estimator import EstimatorEngine
from .evaluation import make_evaluation_engine
from .names import engine_named, portable_name
from .plugin import PluginEngine
from .selection import GRADIENTS, make_engine
from .statevector import StatevectorEngine

__all__ = [
    "GRADIENTS",
    "EngineCache",
    "EstimatorEngine",
    "PluginEngine",
    "StatevectorEngine",
    "engine_named",
    "make_engine",
    "make_evaluation_engine",
    "portable_name",
]
