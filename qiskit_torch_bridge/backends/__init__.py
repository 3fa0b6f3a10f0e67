# SPDX-License-Identifier: Apache-2.0
"""Backends: what runs a program where, transpiled once, with which noise and at which price."""

from .budget import Budget
from .dispatch import DispatchingEstimator
from .executor import ExecutorEstimator
from .failures import Retry, verdict_on
from .journal import Journal
from .selection import Prepared, kind_of, prepare

__all__ = [
    "Budget",
    "DispatchingEstimator",
    "ExecutorEstimator",
    "Journal",
    "Prepared",
    "Retry",
    "kind_of",
    "prepare",
    "verdict_on",
]
