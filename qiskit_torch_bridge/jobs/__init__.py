# SPDX-License-Identifier: Apache-2.0
"""Jobs: requests cut, submitted, written down, tried again, paid for once, and put together."""

from .budget import Budget
from .dispatch import DispatchingEstimator, Jobs
from .journal import Journal
from .retry import Retry, verdict_on

__all__ = ["Budget", "DispatchingEstimator", "Jobs", "Journal", "Retry", "verdict_on"]
