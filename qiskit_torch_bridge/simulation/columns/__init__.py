# SPDX-License-Identifier: Apache-2.0
"""Exact simulation by column networks: circuits that are cut between qubits, not in time."""

from .plan import ColumnPlan, plan_columns
from .simulator import ColumnSimulator
from .tensors import MatrixProduct

__all__ = ["ColumnPlan", "ColumnSimulator", "MatrixProduct", "plan_columns"]
