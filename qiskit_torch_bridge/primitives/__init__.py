# SPDX-License-Identifier: Apache-2.0
"""Estimator primitives: how one is called and checked, and the one that is there by default."""

from .batched import BatchedStatevectorEstimator
from .evaluation import Evaluation, evaluate
from .kinds import is_aer
from .precision import shots_to_precision, validated_precision
from .tracking import Tracker, Usage

__all__ = [
    "BatchedStatevectorEstimator",
    "Evaluation",
    "Tracker",
    "Usage",
    "evaluate",
    "is_aer",
    "shots_to_precision",
    "validated_precision",
]
