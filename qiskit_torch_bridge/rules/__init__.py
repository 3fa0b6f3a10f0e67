# SPDX-License-Identifier: Apache-2.0
"""Gradient rules: which displaced points to evaluate, and how to combine what comes back.

This room is pure NumPy. A rule is handed an analysed circuit and says, for the columns that are
wanted, at which displacements the circuit must be evaluated (:class:`~.plan.ShiftPlan`); it never
runs anything itself.
"""

from .finite_difference import FiniteDifferenceRule, recommended_epsilon
from .multi_frequency import MultiFrequencyRule, frequency_shifts
from .parameter_shift import ParameterShiftRule
from .plan import Differentiation, Rule, ShiftPlan
from .spsa import SPSARule

__all__ = [
    "Differentiation",
    "FiniteDifferenceRule",
    "MultiFrequencyRule",
    "ParameterShiftRule",
    "Rule",
    "SPSARule",
    "ShiftPlan",
    "frequency_shifts",
    "recommended_epsilon",
]
