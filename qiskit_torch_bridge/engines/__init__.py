# SPDX-License-Identifier: Apache-2.0
"""Engines: what evaluates a program and its derivatives for the seam to torch.

An engine has a ``program``, ``expval(values) -> (B, O)``, and either
``differentiation(columns)``, a plan of evaluations that torch differentiates again, or
``vjp(values, cotangent, columns) -> (B, C)``. Engines know no torch.
"""

from .cache import EngineCache
from .estimator import EstimatorEngine
from .plugin import PluginEngine
from .selection import GRADIENTS, make_engine

__all__ = ["GRADIENTS", "EngineCache", "EstimatorEngine", "PluginEngine", "make_engine"]
