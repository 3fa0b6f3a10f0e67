# SPDX-License-Identifier: Apache-2.0
"""Expectation values from the light cones of their terms: wide circuits of few layers."""

from .find import effective_columns
from .plan import LightConePlan, plan_cones
from .simulator import LightConeSimulator

__all__ = ["LightConePlan", "LightConeSimulator", "effective_columns", "plan_cones"]
