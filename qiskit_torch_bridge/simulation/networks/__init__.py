# SPDX-License-Identifier: Apache-2.0
"""Expectation values as contractions of general tensor networks, and all their derivatives."""

from .plan import NetworkPlan, plan_networks
from .simulator import NetworkSimulator

__all__ = ["NetworkPlan", "NetworkSimulator", "plan_networks"]
