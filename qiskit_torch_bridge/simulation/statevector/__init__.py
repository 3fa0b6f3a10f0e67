# SPDX-License-Identifier: Apache-2.0
"""Exact simulation in this process: circuits compiled to tapes, and kernels that run them."""

from .cache import SimulatorCache
from .geometry import StateGeometry
from .simulator import FinalStates, StatevectorSimulator

__all__ = ["FinalStates", "SimulatorCache", "StateGeometry", "StatevectorSimulator"]
