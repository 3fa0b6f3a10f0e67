# SPDX-License-Identifier: Apache-2.0
"""The state vector: circuits compiled to tapes, and kernels that run these."""

from .geometry import StateGeometry
from .simulator import FinalStates, StatevectorSimulator

__all__ = ["FinalStates", "StateGeometry", "StatevectorSimulator"]
