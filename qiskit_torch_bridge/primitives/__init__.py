# SPDX-License-Identifier: Apache-2.0
"""Estimators and samplers: how they are called and checked, and those on the exact engine."""

from .batched_estimator import BatchedStatevectorEstimator
from .batched_sampler import BatchedStatevectorSampler
from .capabilities import is_aer
from .evaluation import Evaluation, evaluate
from .precision import shots_to_precision, validate_precision
from .sampler_estimator import SamplerEstimator
from .usage import Tracker, Usage

__all__ = [
    "BatchedStatevectorEstimator",
    "BatchedStatevectorSampler",
    "Evaluation",
    "SamplerEstimator",
    "Tracker",
    "Usage",
    "evaluate",
    "is_aer",
    "shots_to_precision",
    "validate_precision",
]
