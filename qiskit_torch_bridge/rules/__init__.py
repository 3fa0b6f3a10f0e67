# SPDX-License-Identifier: Apache-2.0
"""Gradient rules: which displaced points to evaluate, and how to combine what comes back.

This room is pure NumPy. A rule is handed an analysed circuit and says, for the columns that are
wanted, at which displacements the circuit must be evaluated (:class:`~.plan.ShiftPlan`); it never
runs anything itself.
"""

from .analytic_rules import MultiFrequencyRule, ParameterShiftRule, frequency_shifts
from .difference_rules import FiniteDifference, SimultaneousPerturbation, recommended_epsilon
from .plan import Differentiation, Rule, ShiftPlan, StencilRule

__all__ = [
    "Differentiation",
    "FiniteDifference",
    "MultiFrequencyRule",
    "ParameterShiftRule",
    "Rule",
    "ShiftPlan",
    "SimultaneousPerturbation",
    "StencilRule",
    "frequency_shifts",
    "recommended_epsilon",
]
