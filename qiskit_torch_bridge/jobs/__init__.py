# SPDX-License-Identifier: Apache-2.0
"""Jobs: requests cut, submitted, written down, tried again, paid for once, and put together."""

from .budget import Budget
from .dispatch import Dispatching as Dispatching
from .dispatch import DispatchingEstimator, DispatchingSampler, Jobs
from .journal import Journal
from .retry import Retry, verdict_on

__all__ = [
    "Budget",
    "DispatchingEstimator",
    "DispatchingSampler",
    "Jobs",
    "Journal",
    "Retry",
    "verdict_on",
]
